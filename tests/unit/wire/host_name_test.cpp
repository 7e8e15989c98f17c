#include "wire/host_name.h"

#include <gtest/gtest.h>

namespace sluice::wire {
namespace {

std::string normal(std::string_view name) {
  return normalise_host(name).value_or("refused");
}

std::string authority(std::string_view text) {
  const auto parsed = parse_authority(text);
  if (!parsed) return "refused";
  return (parsed->is_ip ? "ip " : "name ") + parsed->host + (parsed->port ? " " + std::to_string(*parsed->port) : "");
}

TEST(HostName, is_lower_cased_without_its_trailing_dot) {
  EXPECT_EQ(normal("WWW.Example.COM"), "www.example.com");
  EXPECT_EQ(normal("www.example.com."), "www.example.com");
  EXPECT_EQ(normal("localhost"), "localhost");
  EXPECT_EQ(normal("_dmarc.a-b.example"), "_dmarc.a-b.example");
  EXPECT_EQ(normal("1.2.3.4.in-addr.arpa"), "1.2.3.4.in-addr.arpa");
  EXPECT_EQ(normal("0xyz"), "0xyz");
}

TEST(HostName, normalising_twice_changes_nothing) {
  for (const char* name : {"WWW.Example.COM.", "a", "A_b.c-"}) EXPECT_EQ(normal(normal(name)), normal(name));
}

TEST(HostName, what_resolvers_take_for_an_address_is_refused) {
  for (const char* name : {"127.0.0.1", "127.1", "127.0.0.1.", "2130706433", "0x7f000001", "0x7f.1", "127.0.0.0x1",
                           "1.0X1F", "a.0x", "010.0.0.1", "999.999.999.999", "a.1", "::1", "[::1]", "fe80::1%eth0"}) {
    EXPECT_EQ(normal(name), "refused") << name;
  }
}

TEST(HostName, empty_and_over_long_labels_are_refused) {
  const std::string label(63, 'x');
  for (const std::string& name : {std::string(), std::string("."), std::string(".."), std::string("a..b"),
                                  std::string(".a"), std::string("a.."), label + "x", "a." + label + "x.b"}) {
    EXPECT_EQ(normal(name), "refused") << name;
  }
  EXPECT_EQ(normal(label + "." + label), label + "." + label);
}

TEST(HostName, every_byte_but_those_of_names_is_refused) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto c = static_cast<char>(byte);
    const bool allowed =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    EXPECT_EQ(normalise_host(std::string("a") + c + "b").has_value(), allowed) << byte;
  }
}

TEST(Authority, is_a_name_or_an_address_with_an_optional_port) {
  EXPECT_EQ(authority("Example.com"), "name example.com");
  EXPECT_EQ(authority("example.com.:8080"), "name example.com 8080");
  EXPECT_EQ(authority("example.com:1"), "name example.com 1");
  EXPECT_EQ(authority("example.com:65535"), "name example.com 65535");
  EXPECT_EQ(authority("192.0.2.1"), "ip 192.0.2.1");
  EXPECT_EQ(authority("192.0.2.1:80"), "ip 192.0.2.1 80");
  EXPECT_EQ(authority("[2001:DB8:0::1]"), "ip 2001:db8::1");
  EXPECT_EQ(authority("[2001:db8::1]:443"), "ip 2001:db8::1 443");
  EXPECT_EQ(authority("[::ffff:192.0.2.1]:443"), "ip 192.0.2.1 443");
}

TEST(Authority, anything_else_is_refused) {
  for (const char* text : {"",
                           ":80",
                           "a.example:",
                           "a.example:0",
                           "a.example:65536",
                           "a.example:000080",
                           "a.example:8o",
                           "a.example:+80",
                           "a.example:-1",
                           "a.example: 80",
                           "a.example:80:80",
                           "user@a.example",
                           "a.example/",
                           "a.example,b.example",
                           "a.example b.example",
                           " a.example",
                           "2001:db8::1",
                           "::1",
                           "[::1",
                           "::1]",
                           "[::1]x",
                           "[::1]x80",
                           "[::1]:",
                           "[]",
                           "[192.0.2.1]",
                           "[a.example]",
                           "[fe80::1%25eth0]",
                           "[fe80::1%eth0]",
                           "127.1",
                           "0x7f.1:80",
                           "a..example",
                           "a.example..",
                           "*.example",
                           "[[::1]]",
                           "192.0.2.1.",
                           "192.0.2.256"}) {
    EXPECT_EQ(authority(text), "refused") << text;
  }
}

}  // namespace
}  // namespace sluice::wire
