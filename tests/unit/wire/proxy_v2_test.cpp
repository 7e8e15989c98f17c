#include "wire/proxy_v2.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>

#include "tests/support/hello_builder.h"

namespace sluice::wire {
namespace {

using test::Bytes;
using test::operator+;
using test::to_bytes;
using test::u16;
using test::u8;
using test::vector16;

std::string outcome(const Bytes& bytes) {
  struct Describer {
    std::string operator()(const NeedMore&) const { return "need more"; }
    std::string operator()(const ParsedProxyHeader&) const { return "header"; }
    std::string operator()(const NotProxy&) const { return "not PROXY"; }
    std::string operator()(const Malformed& malformed) const { return "malformed " + std::string(malformed.what); }
  };
  return std::visit(Describer{}, parse_proxy_header(bytes));
}

ParsedProxyHeader parsed(const Bytes& bytes) {
  const auto result = parse_proxy_header(bytes);
  const auto* header = std::get_if<ParsedProxyHeader>(&result);
  EXPECT_TRUE(header) << outcome(bytes);
  return header ? *header : ParsedProxyHeader{};
}

ProxyHeader full_header(std::string_view source, std::string_view destination) {
  return {*Endpoint::parse(source),
          *Endpoint::parse(destination),
          "api.example.com",
          "node-7",
          "shop",
          "cart-5d8f-x2",
          "cart",
          "ServiceEntry shop/api",
          "01JQ8W3V9K",
          "egress.istio-system.svc.cluster.local",
          8443,
          Endpoint::parse("10.9.0.4:51000")};
}

HeaderStamp stamp() {
  HeaderStamp stamp{.key_id = {0xa1, 0xa2, 0xa3, 0xa4}, .time_ms = 0x0102030405060708, .nonce = {}};
  for (std::size_t i = 0; i < stamp.nonce.size(); ++i) stamp.nonce[i] = static_cast<std::uint8_t>(0xb0 + i);
  return stamp;
}

std::vector<ProxyHeader> headers() {
  return {full_header("10.1.2.3:40000", "192.0.2.9:443"), full_header("[fd00::1]:40000", "[2001:db8::9]:443"),
          full_header("10.1.2.3:40000", "[2001:db8::9]:443"), ProxyHeader{}};
}

const Bytes signature = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};
const Bytes ipv4_addresses = {10, 1, 2, 3, 192, 0, 2, 9, 0x9c, 0x40, 0x01, 0xbb};

Bytes value(std::uint8_t type, const Bytes& content) {
  return u8(type) + vector16(content);
}
Bytes ipv4_header(const Bytes& values) {
  return signature + Bytes{0x21, 0x11} + vector16(ipv4_addresses + values);
}

// The authentication with stamp() and a MAC of zeros.
Bytes seal() {
  return Bytes{1, 0xa1, 0xa2, 0xa3, 0xa4, 1, 2, 3, 4, 5, 6, 7, 8} +
         Bytes{0xb0, 0xb1, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf} +
         Bytes(32, 0);
}

TEST(ProxyV2, says_back_what_it_was_told) {
  for (const auto& header : headers()) {
    const auto bytes = encode_proxy_header(header);
    const auto back = parsed(bytes);
    EXPECT_EQ(back.header, header);
    EXPECT_EQ(back.wire_bytes, bytes.size());
    EXPECT_FALSE(back.seal);
  }
}

TEST(ProxyV2, a_signed_header_says_back_its_stamp_its_mac_and_what_it_is_over) {
  for (const auto& header : headers()) {
    auto bytes = encode_proxy_header(header, stamp());
    const auto mac = std::span(bytes).last(header_mac_bytes);
    EXPECT_EQ(Bytes(mac.begin(), mac.end()), Bytes(header_mac_bytes, 0));
    for (std::size_t i = 0; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(i + 1);
    const auto in_front = bytes + to_bytes("behind");
    const auto result = parse_proxy_header(in_front);
    const auto* back = std::get_if<ParsedProxyHeader>(&result);
    ASSERT_TRUE(back && back->seal);
    EXPECT_EQ(back->header, header);
    EXPECT_EQ(back->wire_bytes, bytes.size());
    EXPECT_EQ(back->seal->stamp, stamp());
    EXPECT_TRUE(std::ranges::equal(back->seal->mac, mac));
    EXPECT_EQ(back->seal->signed_bytes.data(), in_front.data());
    EXPECT_EQ(back->seal->signed_bytes.size(), bytes.size() - header_mac_bytes);
  }
}

TEST(ProxyV2, encodes_as_the_specification_says) {
  ProxyHeader header;
  header.source = *Endpoint::parse("10.1.2.3:40000");
  header.destination = *Endpoint::parse("192.0.2.9:443");
  EXPECT_EQ(encode_proxy_header(header), ipv4_header(Bytes()));
  header.authority = "a.example";
  header.connection_id = "id";
  EXPECT_EQ(encode_proxy_header(header), ipv4_header(value(0x02, to_bytes("a.example")) + value(0xe5, to_bytes("id"))));
  header.authority = {};
  header.gateway = "gw";
  header.gateway_port = 8443;
  header.hop_source = Endpoint::parse("10.9.0.4:51000");
  const Bytes hop = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 9, 0, 4, 0xc7, 0x38};
  const auto values =
      value(0xe5, to_bytes("id")) + value(0xe6, to_bytes("gw")) + value(0xe7, u16(8443)) + value(0xe8, hop);
  EXPECT_EQ(encode_proxy_header(header), ipv4_header(values));
  EXPECT_EQ(encode_proxy_header(header, stamp()), ipv4_header(values + value(0xe9, seal())));
  header = {};
  header.source = *Endpoint::parse("10.1.2.3:1");
  header.destination = *Endpoint::parse("[::1]:2");
  const Bytes mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
  const Bytes loopback = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  EXPECT_EQ(encode_proxy_header(header),
            (signature + Bytes{0x21, 0x21} + vector16(mapped + loopback + u16(1) + u16(2))));
}

TEST(ProxyV2, texts_over_255_bytes_are_cut) {
  ProxyHeader header;
  header.source = header.destination = *Endpoint::parse("10.1.2.3:1");
  header.rule = std::string(300, 'r');
  EXPECT_EQ(parsed(encode_proxy_header(header)).header.rule, std::string(255, 'r'));
}

TEST(ProxyV2, the_largest_that_is_sent_is_accepted) {
  auto header = full_header("[fd00::1]:40000", "[2001:db8::9]:443");
  header.authority =
      std::string(63, 'a') + "." + std::string(63, 'a') + "." + std::string(63, 'a') + "." + std::string(63, 'a');
  for (auto* field : {&header.node, &header.pod_namespace, &header.pod_name, &header.service_account, &header.rule,
                      &header.connection_id, &header.gateway}) {
    *field = std::string(255, 'x');
  }
  EXPECT_EQ(parsed(encode_proxy_header(header, stamp())).header, header);
}

TEST(ProxyV2, every_prefix_needs_more_and_what_follows_is_ignored) {
  for (const auto& header : headers()) {
    const auto bytes = encode_proxy_header(header, stamp());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_EQ(outcome(Bytes(bytes.begin(), bytes.begin() + size)), "need more") << size;
    }
    EXPECT_EQ(parsed(bytes + bytes).wire_bytes, bytes.size());
  }
}

TEST(ProxyV2, another_protocol_is_told_by_its_first_wrong_byte) {
  EXPECT_EQ(outcome({0x16}), "not PROXY");
  EXPECT_EQ(outcome(to_bytes("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n")), "not PROXY");
  for (std::size_t at = 0; at < signature.size(); ++at) {
    auto wrong = Bytes(signature.begin(), signature.begin() + at + 1);
    wrong[at] ^= 1;
    EXPECT_EQ(outcome(wrong), "not PROXY") << at;
  }
}

TEST(ProxyV2, wrong_headers_are_refused_without_waiting) {
  EXPECT_EQ(outcome(signature + Bytes{0x20}), "malformed version and command");  // LOCAL
  EXPECT_EQ(outcome(signature + Bytes{0x11}), "malformed version and command");
  EXPECT_EQ(outcome(signature + Bytes{0x22}), "malformed version and command");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x00}), "malformed family and protocol");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x12}), "malformed family and protocol");  // UDP
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x22}), "malformed family and protocol");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x31}), "malformed family and protocol");  // UNIX
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x11, 0, 11}), "malformed length");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x21, 0, 35}), "malformed length");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x11} + u16(max_proxy_header_bytes - 15)), "malformed length");
  EXPECT_EQ(outcome(signature + Bytes{0x21, 0x11} + u16(max_proxy_header_bytes - 16)), "need more");
}

TEST(ProxyV2, wrong_values_are_refused) {
  EXPECT_EQ(outcome(ipv4_header({0x02})), "malformed type-length-value");
  EXPECT_EQ(outcome(ipv4_header({0x02, 0})), "malformed type-length-value");
  EXPECT_EQ(outcome(ipv4_header({0x77, 0, 5, 1})), "malformed type-length-value");
  const auto authority = value(0x02, to_bytes("a.example"));
  EXPECT_EQ(outcome(ipv4_header(authority + authority)), "malformed a repeated type");
  EXPECT_EQ(outcome(ipv4_header(value(0xe0, to_bytes("n")) + value(0xe0, to_bytes("n")))), "malformed a repeated type");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, Bytes(255, 'x')))), "header");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, Bytes(256, 'x')))), "malformed text");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, {}))), "malformed text");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, {'a', '\n'}))), "malformed text");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, {'a', 0}))), "malformed text");
  EXPECT_EQ(outcome(ipv4_header(value(0xe4, {'a', 0xc3, 0xa9}))), "malformed text");
  EXPECT_EQ(outcome(ipv4_header(value(0x02, to_bytes("192.0.2.1")))), "malformed authority");
  EXPECT_EQ(outcome(ipv4_header(value(0x02, to_bytes("a..b")))), "malformed authority");
}

TEST(ProxyV2, wrong_gateway_ports_and_hop_sources_are_refused) {
  EXPECT_EQ(parsed(ipv4_header(value(0xe7, u16(65535)))).header.gateway_port, 65535);
  EXPECT_EQ(outcome(ipv4_header(value(0xe7, u16(0)))), "malformed gateway port");
  EXPECT_EQ(outcome(ipv4_header(value(0xe7, u8(1)))), "malformed gateway port");
  EXPECT_EQ(outcome(ipv4_header(value(0xe7, {}))), "malformed gateway port");
  EXPECT_EQ(outcome(ipv4_header(value(0xe7, {0, 1, 2}))), "malformed gateway port");
  EXPECT_EQ(outcome(ipv4_header(value(0xe7, u16(1)) + value(0xe7, u16(1)))), "malformed a repeated type");
  const Bytes hop = Bytes(15, 0) + u8(1) + u16(7);
  EXPECT_EQ(parsed(ipv4_header(value(0xe8, hop))).header.hop_source, Endpoint::parse("[::1]:7"));
  EXPECT_EQ(outcome(ipv4_header(value(0xe8, {}))), "malformed hop source");
  EXPECT_EQ(outcome(ipv4_header(value(0xe8, Bytes(17, 1)))), "malformed hop source");
  EXPECT_EQ(outcome(ipv4_header(value(0xe8, Bytes(19, 1)))), "malformed hop source");
  EXPECT_EQ(outcome(ipv4_header(value(0xe8, Bytes(6, 1)))), "malformed hop source");
  EXPECT_EQ(outcome(ipv4_header(value(0xe8, hop) + value(0xe8, hop))), "malformed a repeated type");
}

TEST(ProxyV2, an_authentication_is_last_once_and_of_one_form) {
  const auto node = value(0xe0, to_bytes("node-7"));
  EXPECT_EQ(parsed(ipv4_header(node + value(0xe9, seal()))).header.node, "node-7");
  EXPECT_EQ(outcome(ipv4_header(value(0xe9, seal()) + node)), "malformed authentication before the end");
  EXPECT_EQ(outcome(ipv4_header(value(0xe9, seal()) + value(0x04, {}))), "malformed authentication before the end");
  EXPECT_EQ(outcome(ipv4_header(value(0xe9, seal()) + value(0xe9, seal()))), "malformed authentication before the end");
  EXPECT_EQ(outcome(ipv4_header(value(0xe9, {}))), "malformed authentication");
  EXPECT_EQ(outcome(ipv4_header(value(0xe9, seal() + u8(0)))), "malformed authentication");
  for (std::size_t size = 0; size < seal().size(); ++size) {
    const auto whole = seal();
    EXPECT_EQ(outcome(ipv4_header(value(0xe9, Bytes(whole.begin(), whole.begin() + size)))),
              "malformed authentication");
  }
  for (const int version : {0, 2, 255}) {
    auto other = seal();
    other[0] = static_cast<std::uint8_t>(version);
    EXPECT_EQ(outcome(ipv4_header(value(0xe9, other))), "malformed authentication");
  }
}

TEST(ProxyV2, the_authority_is_normalised) {
  EXPECT_EQ(parsed(ipv4_header(value(0x02, to_bytes("API.Example.")))).header.authority, "api.example");
}

TEST(ProxyV2, unknown_types_are_skipped) {
  const auto bytes = ipv4_header(value(0x04, Bytes(3, 0)) + value(0xef, Bytes(300, 0xff)) + value(0x20, {}) +
                                 value(0xe0, to_bytes("node-7")) + value(0xef, {}));
  EXPECT_EQ(parsed(bytes).header.node, "node-7");
}

// RFC 3720 appendix B.4: the CRC-32C of "123456789" is 0xe3069283. Here over a whole header, by a second
// implementation.
TEST(ProxyV2, a_checksum_must_be_right_wherever_it_stands) {
  const auto with_checksum = [](const Bytes& checksum) {
    return ipv4_header(value(0xe0, to_bytes("node-7")) + value(0x03, checksum) + value(0xe1, to_bytes("shop")));
  };
  const Bytes right = {0xf4, 0x2d, 0x3d, 0x91};
  EXPECT_EQ(parsed(with_checksum(right)).header.pod_namespace, "shop");
  for (std::size_t at = 0; at < right.size(); ++at) {
    auto wrong = right;
    wrong[at] ^= 0x80;
    EXPECT_EQ(outcome(with_checksum(wrong)), "malformed checksum");
  }
  EXPECT_EQ(outcome(with_checksum({0, 0, 0})), "malformed checksum");
  EXPECT_EQ(outcome(with_checksum(right + u8(0))), "malformed checksum");
  const Bytes right_before_another = {0x02, 0xaa, 0x29, 0xbe};
  EXPECT_EQ(outcome(ipv4_header(value(0x03, right_before_another) + value(0x03, Bytes(4, 0)))),
            "malformed a repeated type");
  // Any other bit of the header is covered too.
  const auto sound = with_checksum(right);
  for (std::size_t at = 16; at < sound.size(); ++at) {
    auto flipped = sound;
    flipped[at] ^= 1;
    EXPECT_NE(outcome(flipped), "header") << at;
  }
}

}  // namespace
}  // namespace sluice::wire
