#include "base/ip.h"

#include <gtest/gtest.h>

#include <vector>

namespace sluice {
namespace {

TEST(IpAddress, an_ipv4_mapped_address_is_the_ipv4_address) {
  EXPECT_EQ(IpAddress::parse("::ffff:10.1.2.3"), IpAddress::parse("10.1.2.3"));
  EXPECT_EQ(IpAddress::parse("::ffff:10.1.2.3")->to_string(), "10.1.2.3");
}

TEST(IpAddress, loose_text_is_refused) {
  for (const auto* text : {"", "10.1", "010.1.2.3", "10.1.2.3 ", "fe80::1%eth0", "::1::", "0x0a000001"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
  EXPECT_FALSE(IpAddress::parse(std::string_view("10.0.0.1\0", 9)));
}

TEST(Cidr, contains_follows_the_prefix_bit_by_bit) {
  const auto cidr = *Cidr::parse("10.8.0.0/13");
  EXPECT_TRUE(cidr.contains(*IpAddress::parse("10.15.255.255")));
  EXPECT_FALSE(cidr.contains(*IpAddress::parse("10.16.0.0")));
  EXPECT_FALSE(cidr.contains(*IpAddress::parse("fd00::1")));
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("203.0.113.9")));
  EXPECT_FALSE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("2001:db8::1")));
  EXPECT_FALSE(Cidr::parse("::/0")->contains(*IpAddress::parse("203.0.113.9")));
}

TEST(Cidr, of_several_ranges_one_that_contains_the_address_is_enough_and_none_contains_nothing) {
  const std::vector<Cidr> ranges = {*Cidr::parse("10.0.0.0/8"), *Cidr::parse("fd00::/8")};
  EXPECT_TRUE(contains(ranges, *IpAddress::parse("10.1.2.3")));
  EXPECT_TRUE(contains(ranges, *IpAddress::parse("fd00::1")));
  EXPECT_FALSE(contains(ranges, *IpAddress::parse("11.1.2.3")));
  EXPECT_FALSE(contains({}, *IpAddress::parse("10.1.2.3")));
}

TEST(Cidr, host_bits_and_bad_lengths_are_refused) {
  for (const auto* text : {"10.0.0.1/8", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/8x"}) {
    EXPECT_FALSE(Cidr::parse(text)) << text;
  }
}

TEST(Endpoint, text_round_trips) {
  for (const auto* text : {"10.0.0.1:443", "[fd00::1]:53"}) EXPECT_EQ(Endpoint::parse(text)->to_string(), text);
  for (const auto* text : {"fd00::1:53", "[10.0.0.1]:1", "10.0.0.1", "10.0.0.1:65536", ":1"}) {
    EXPECT_FALSE(Endpoint::parse(text)) << text;
  }
}

}  // namespace
}  // namespace sluice
