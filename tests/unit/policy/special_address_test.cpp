#include "policy/special_address.h"

#include <gtest/gtest.h>

#include <string>

namespace sluice {
namespace {

struct Row {
  const char* address;
  const char* name;
};

void expect_special(std::initializer_list<Row> rows) {
  for (const auto& row : rows) {
    EXPECT_EQ(special_purpose(IpAddress::parse(row.address).value()).value_or("(none)"), row.name) << row.address;
  }
}

TEST(SpecialPurpose, every_ipv4_range_is_known_by_its_first_and_last_address) {
  expect_special({
      {"0.0.0.0", "unspecified"},
      {"0.0.0.1", "this network"},
      {"0.255.255.255", "this network"},
      {"10.0.0.0", "private"},
      {"10.255.255.255", "private"},
      {"100.64.0.0", "shared (carrier-grade NAT)"},
      {"100.127.255.255", "shared (carrier-grade NAT)"},
      {"127.0.0.0", "loopback"},
      {"127.255.255.255", "loopback"},
      {"169.254.0.0", "link-local"},
      {"169.254.169.254", "link-local"},
      {"169.254.255.255", "link-local"},
      {"172.16.0.0", "private"},
      {"172.31.255.255", "private"},
      {"192.0.0.0", "IETF protocol assignments"},
      {"192.0.0.255", "IETF protocol assignments"},
      {"192.88.99.0", "6to4 relay anycast"},
      {"192.88.99.255", "6to4 relay anycast"},
      {"192.168.0.0", "private"},
      {"192.168.255.255", "private"},
      {"198.18.0.0", "benchmarking"},
      {"198.19.255.255", "benchmarking"},
      {"224.0.0.0", "multicast"},
      {"239.255.255.255", "multicast"},
      {"240.0.0.0", "reserved"},
      {"255.255.255.254", "reserved"},
      {"255.255.255.255", "broadcast"},
  });
}

TEST(SpecialPurpose, every_ipv6_range_is_known_by_its_first_and_last_address) {
  expect_special({
      {"::", "unspecified"},
      {"::1", "loopback"},
      {"::2", "IPv4-compatible"},
      {"::8.8.8.8", "IPv4-compatible"},
      {"::ffff:ffff", "IPv4-compatible"},
      {"64:ff9b:1::", "local-use NAT64"},
      {"64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "local-use NAT64"},
      {"64:ff9b:1::8.8.8.8", "local-use NAT64"},
      {"100::", "discard-only"},
      {"100::ffff:ffff:ffff:ffff", "discard-only"},
      {"fc00::", "unique local"},
      {"fd00:ec2::254", "unique local"},
      {"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "unique local"},
      {"fe80::", "link-local"},
      {"febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "link-local"},
      {"fec0::", "site-local"},
      {"feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "site-local"},
      {"ff00::", "multicast"},
      {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "multicast"},
      {"2001:2::", "benchmarking"},
      {"2001:2:0:ffff:ffff:ffff:ffff:ffff", "benchmarking"},
      {"2001:10::", "ORCHID"},
      {"2001:1f:ffff:ffff:ffff:ffff:ffff:ffff", "ORCHID"},
  });
}

TEST(SpecialPurpose, everything_outside_global_unicast_is_reserved) {
  expect_special({
      {"1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "reserved"},
      {"4000::", "reserved"},
      {"5f00::1", "reserved"},
      {"fbff::1", "reserved"},
      {"fe00::1", "reserved"},
      {"::ffff:0:10.0.0.1", "reserved"},
      {"64:ff9b:2::1", "reserved"},
  });
}

TEST(SpecialPurpose, an_ipv4_mapped_address_is_judged_as_ipv4) {
  expect_special({{"::ffff:10.1.2.3", "private"}, {"::ffff:169.254.169.254", "link-local"}});
  EXPECT_FALSE(special_purpose(*IpAddress::parse("::ffff:8.8.8.8")));
}

TEST(SpecialPurpose, an_embedded_ipv4_address_is_judged) {
  expect_special({
      {"64:ff9b::10.0.0.1", "private"},
      {"64:ff9b::169.254.169.254", "link-local"},
      {"64:ff9b::0.0.0.0", "unspecified"},
      {"2002:a00:1::1", "private"},
      {"2002:7f00:1::", "loopback"},
      {"2002:a9fe:a9fe::1", "link-local"},
      // Teredo: first the server, then the inverted client (~10.0.0.1 is f5ff:fffe).
      {"2001:0:a00:1::f7f7:f7f7", "private"},
      {"2001:0:808:808::f5ff:fffe", "private"},
      {"2001:0:808:808::5601:5601", "link-local"},
  });
  for (const auto* text : {"64:ff9b::8.8.8.8", "2002:808:808::1", "2001:0:808:808::f7f7:f7f7"}) {
    EXPECT_FALSE(special_purpose(*IpAddress::parse(text))) << text;
  }
}

TEST(SpecialPurpose, the_neighbours_of_each_range_are_ordinary) {
  for (const auto* text :
       {"1.0.0.0",    "9.255.255.255",   "11.0.0.0",     "100.63.255.255",  "100.128.0.0", "126.255.255.255",
        "128.0.0.0",  "169.253.255.255", "169.255.0.0",  "172.15.255.255",  "172.32.0.0",  "191.255.255.255",
        "192.0.1.0",  "192.88.98.255",   "192.88.100.0", "192.167.255.255", "192.169.0.0", "198.17.255.255",
        "198.20.0.0", "223.255.255.255", "2000::",       "2001:1::1",       "2001:2:1::",  "2001:f:ffff::",
        "2001:20::",  "2003::1",         "2606:4700::1", "3fff:ffff::1"}) {
    EXPECT_FALSE(special_purpose(*IpAddress::parse(text))) << text;
  }
}

TEST(SpecialPurpose, the_documentation_ranges_play_the_outside) {
  for (const auto* text : {"192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"}) {
    EXPECT_FALSE(special_purpose(*IpAddress::parse(text))) << text;
  }
}

}  // namespace
}  // namespace sluice
