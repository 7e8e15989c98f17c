#include "wire/client_hello.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/wire/samples.h"

namespace sluice::wire {
namespace {

using test::Bytes;
using test::Hello;
using test::HelloExtension;
using test::operator+;

std::string describe(const HelloResult& result) {
  struct Describer {
    std::string operator()(const NeedMore&) const { return "need more"; }
    std::string operator()(const ClientHello& hello) const { return "hello " + hello.sni; }
    std::string operator()(const NotTls&) const { return "not TLS"; }
    std::string operator()(const Malformed& malformed) const { return "malformed " + std::string(malformed.what); }
    std::string operator()(const TooLarge&) const { return "too large"; }
  };
  return std::visit(Describer{}, result);
}

std::string outcome(const Bytes& bytes) {
  return describe(parse_client_hello(bytes));
}
std::string outcome(const Hello& hello) {
  return outcome(hello.wire());
}

ClientHello parsed(const Bytes& bytes) {
  const auto result = parse_client_hello(bytes);
  const auto* hello = std::get_if<ClientHello>(&result);
  EXPECT_TRUE(hello) << describe(result);
  return hello ? *hello : ClientHello{};
}

Hello hello_with(const HelloExtension& extension) {
  Hello hello;
  hello.extensions = {extension};
  return hello;
}

std::string outcome_of_name(std::string_view name) {
  return outcome(hello_with(test::server_names({name})));
}

struct Sample {
  std::string name;
  Bytes bytes;
};
std::vector<Sample> all_samples() {
  std::vector<Sample> samples;
  for (const char* name :
       {"openssl_tls13", "openssl_tls12_no_sni", "curl_h2", "wget_gnutls", "python", "node", "java"}) {
    samples.push_back({name, test::sample(std::string("client_hello/") + name)});
  }
  samples.push_back({"chrome-like", test::chrome_like_hello("www.example.com").wire()});
  samples.push_back({"go-like", test::go_like_hello("api.example.com").wire()});
  samples.push_back({"plain", test::plain_hello("a.b").wire()});
  return samples;
}

TEST(ClientHello, every_prefix_needs_more_and_the_whole_is_the_hello) {
  for (const auto& [name, bytes] : all_samples()) {
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_EQ(outcome(Bytes(bytes.begin(), bytes.begin() + size)), "need more") << name << " cut at " << size;
    }
    EXPECT_EQ(parsed(bytes).wire_bytes, bytes.size()) << name;
  }
}

TEST(ClientHello, reads_the_same_over_any_split_in_records) {
  for (const auto& [name, bytes] : all_samples()) {
    const auto whole = parsed(bytes);
    const Bytes message(bytes.begin() + 5, bytes.end());
    for (std::size_t record_bytes = 1; record_bytes <= message.size(); record_bytes += record_bytes < 40 ? 1 : 97) {
      const auto split = test::in_records(message, record_bytes);
      auto expected = whole;
      expected.wire_bytes = split.size();
      ASSERT_EQ(parsed(split), expected) << name << " in records of " << record_bytes;
    }
  }
}

TEST(ClientHello, every_prefix_of_many_records_needs_more) {
  for (const std::size_t record_bytes : {1U, 2U, 5U, 64U, 700U}) {
    const auto bytes = test::chrome_like_hello("www.example.com").wire(record_bytes);
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_EQ(outcome(Bytes(bytes.begin(), bytes.begin() + size)), "need more")
          << "records of " << record_bytes << " cut at " << size;
    }
  }
}

TEST(ClientHello, bytes_after_it_are_ignored) {
  for (const auto& [name, bytes] : all_samples()) {
    const auto whole = parsed(bytes);
    EXPECT_EQ(parsed(bytes + test::to_bytes("\x17\x03\x03")), whole) << name;
    EXPECT_EQ(parsed(bytes + test::chrome_like_hello("evil.example").wire()), whole) << name;
  }
  // More in the same record, which may still be on its way.
  const auto message = test::plain_hello("a.example").message();
  auto bytes = test::in_records(message + Bytes(10, 0xff));
  EXPECT_EQ(parsed(bytes).wire_bytes, 5 + message.size());
  bytes.resize(5 + message.size());
  EXPECT_EQ(parsed(bytes).sni, "a.example");
  bytes = test::in_records(message + Bytes(100, 0xff), 50);
  EXPECT_EQ(parsed(bytes).sni, "a.example");
}

TEST(ClientHello, tells_what_real_clients_say) {
  const auto curl = parsed(test::sample("client_hello/curl_h2"));
  EXPECT_EQ(curl.sni, "www.example.org");
  EXPECT_EQ(curl.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
  EXPECT_EQ(curl.versions, (std::vector<std::uint16_t>{0x0304, 0x0303, 0x0302, 0x0301}));
  EXPECT_FALSE(curl.ech);
  const auto old = parsed(test::sample("client_hello/openssl_tls12_no_sni"));
  EXPECT_EQ(old.sni, "");
  EXPECT_TRUE(old.alpn.empty());
  EXPECT_EQ(old.versions, std::vector<std::uint16_t>{0x0303});
  EXPECT_EQ(parsed(test::sample("client_hello/wget_gnutls")).sni, "localhost");
  EXPECT_EQ(parsed(test::sample("client_hello/node")).sni, "node.example.net");
  EXPECT_EQ(parsed(test::sample("client_hello/java")).sni, "java.example.net");
}

TEST(ClientHello, a_post_quantum_hello_with_grease_and_ech_is_read) {
  const auto bytes = test::chrome_like_hello("www.example.com").wire();
  EXPECT_GT(bytes.size(), 1700U);
  const auto hello = parsed(bytes);
  EXPECT_EQ(hello.sni, "www.example.com");
  EXPECT_EQ(hello.alpn, (std::vector<std::string>{"h2", "http/1.1"}));
  EXPECT_EQ(hello.versions, (std::vector<std::uint16_t>{0x0304, 0x0303}));
  EXPECT_TRUE(hello.ech);
  EXPECT_FALSE(parsed(test::go_like_hello("www.example.com").wire()).ech);
}

TEST(ClientHello, the_name_is_lower_cased_and_loses_one_trailing_dot) {
  EXPECT_EQ(parsed(test::sample("client_hello/python")).sni, "upper.example.com");
  EXPECT_EQ(outcome_of_name("API.Example.COM."), "hello api.example.com");
  EXPECT_EQ(outcome_of_name("_svc.a-b.example"), "hello _svc.a-b.example");
  EXPECT_EQ(outcome_of_name("xn--bcher-kva.example"), "hello xn--bcher-kva.example");
}

TEST(ClientHello, a_name_that_is_no_host_name_is_refused) {
  const std::string refused = "malformed server_name: not a host name";
  const std::string label(63, 'a');
  EXPECT_EQ(outcome_of_name(""), refused);
  EXPECT_EQ(outcome_of_name("."), refused);
  EXPECT_EQ(outcome_of_name("a.example.."), refused);
  EXPECT_EQ(outcome_of_name(".a.example"), refused);
  EXPECT_EQ(outcome_of_name("a..example"), refused);
  EXPECT_EQ(outcome_of_name("192.0.2.1"), refused);
  EXPECT_EQ(outcome_of_name("2001:db8::1"), refused);
  EXPECT_EQ(outcome_of_name("[2001:db8::1]"), refused);
  EXPECT_EQ(outcome_of_name(std::string_view("a.example\0.evil", 15)), refused);
  EXPECT_EQ(outcome_of_name(std::string_view("a.example\0", 10)), refused);
  EXPECT_EQ(outcome_of_name("a.example:443"), refused);
  EXPECT_EQ(outcome_of_name("a.example/"), refused);
  EXPECT_EQ(outcome_of_name("*.example"), refused);
  EXPECT_EQ(outcome_of_name("a example"), refused);
  EXPECT_EQ(outcome_of_name("b\xc3\xbc"
                            "cher.example"),
            refused);
  EXPECT_EQ(outcome_of_name(label + "a.example"), refused);
  EXPECT_EQ(outcome_of_name(label + ".example"), "hello " + label + ".example");
  const auto longest = label + "." + label + "." + label + "." + label;  // 255 bytes
  EXPECT_EQ(outcome_of_name(longest), "hello " + longest);
  EXPECT_EQ(outcome_of_name(longest + "a"), refused);
  EXPECT_EQ(outcome_of_name(longest + "."), refused);
}

TEST(ClientHello, anything_but_one_host_name_entry_is_refused) {
  using namespace test;
  EXPECT_EQ(outcome(hello_with(server_names({"a.example", "b.example"}))), "malformed server_name: not one host name");
  EXPECT_EQ(outcome(hello_with(server_names({"a.example", "a.example"}))), "malformed server_name: not one host name");
  const Bytes other_type = u8(1) + vector16(to_bytes("a.example"));
  EXPECT_EQ(outcome(hello_with({0, vector16(other_type)})), "malformed server_name: not one host name");
  EXPECT_EQ(outcome(hello_with({0, {}})), "malformed server_name");
  EXPECT_EQ(outcome(hello_with({0, vector16({})})), "malformed server_name");
  EXPECT_EQ(outcome(hello_with({0, server_names({"a.example"}).data + Bytes{0}})), "malformed server_name");
}

TEST(ClientHello, an_extension_sent_twice_is_refused) {
  const std::string refused = "malformed extensions: one twice";
  auto hello = test::plain_hello("a.example");
  hello.extensions.push_back(test::server_names({"b.example"}));
  EXPECT_EQ(outcome(hello), refused);
  hello = test::plain_hello("a.example");
  hello.extensions.push_back({0xfe0d, {}});
  EXPECT_EQ(outcome(hello), "hello a.example");
  hello.extensions.insert(hello.extensions.begin(), {0xfe0d, {}});
  EXPECT_EQ(outcome(hello), refused);
  hello = test::chrome_like_hello("a.example");
  hello.extensions.push_back({0x0a0a, {}});
  EXPECT_EQ(outcome(hello), refused);
}

TEST(ClientHello, unknown_extensions_are_passed_over_whatever_they_hold) {
  auto hello = test::plain_hello("a.example");
  for (std::uint16_t type = 0x4000; type < 0x4000 + 500; ++type)
    hello.extensions.push_back({type, Bytes(type % 7, 0xff)});
  EXPECT_EQ(outcome(hello), "hello a.example");
}

TEST(ClientHello, only_grease_in_supported_versions_leaves_none) {
  EXPECT_TRUE(parsed(hello_with(test::offered_versions({0x0a0a})).wire()).versions.empty());
}

TEST(ClientHello, one_without_extensions_offers_its_legacy_version) {
  Hello hello;
  hello.legacy_version = 0x0302;
  EXPECT_EQ(parsed(hello.wire()).versions, std::vector<std::uint16_t>{0x0302});
  const auto body = hello.body_without_extensions();
  EXPECT_EQ(outcome(test::in_records(test::u8(1) + test::u24(body.size()) + body)), "hello ");
}

TEST(ClientHello, an_inner_vector_of_the_wrong_size_is_refused) {
  using namespace test;
  const auto with_body = [](const Bytes& body) { return outcome(in_records(u8(1) + u24(body.size()) + body)); };
  const Bytes start = Bytes{3, 3} + Bytes(32, 0);
  const Bytes ciphers = vector16({0x13, 0x01});
  EXPECT_EQ(with_body({}), "malformed legacy_session_id");
  EXPECT_EQ(with_body(Bytes{3, 3} + Bytes(20, 0)), "malformed legacy_session_id");
  EXPECT_EQ(with_body(start), "malformed legacy_session_id");
  EXPECT_EQ(with_body(start + vector8(Bytes(33, 0)) + ciphers + vector8({0})), "malformed legacy_session_id");
  EXPECT_EQ(with_body(start + u8(0)), "malformed cipher_suites");
  EXPECT_EQ(with_body(start + u8(0) + vector16({})), "malformed cipher_suites");
  EXPECT_EQ(with_body(start + u8(0) + vector16({0x13, 0x01, 0x13}) + vector8({0})), "malformed cipher_suites");
  EXPECT_EQ(with_body(start + u8(0) + u16(100) + Bytes{0x13, 0x01}), "malformed cipher_suites");
  EXPECT_EQ(with_body(start + u8(0) + ciphers), "malformed legacy_compression_methods");
  EXPECT_EQ(with_body(start + u8(0) + ciphers + vector8({})), "malformed legacy_compression_methods");
  const Bytes head = start + u8(0) + ciphers + vector8({0});
  EXPECT_EQ(with_body(head + u8(0)), "malformed extensions");
  EXPECT_EQ(with_body(head + vector16({}) + u8(0)), "malformed extensions");
  EXPECT_EQ(with_body(head + u16(1)), "malformed extensions");
  EXPECT_EQ(with_body(head + vector16({0x00, 0x17})), "malformed extensions");
  EXPECT_EQ(with_body(head + vector16({0x00, 0x17, 0x00, 0x01})), "malformed extensions");
  EXPECT_EQ(with_body(head + vector16({0x00, 0x17, 0x00, 0x00, 0x00})), "malformed extensions");
}

TEST(ClientHello, a_malformed_extension_that_it_reads_is_refused) {
  using namespace test;
  const std::string alpn = "malformed application_layer_protocol_negotiation";
  EXPECT_EQ(outcome(hello_with({0x0010, {}})), alpn);
  EXPECT_EQ(outcome(hello_with({0x0010, vector16({})})), alpn);
  EXPECT_EQ(outcome(hello_with(alpn_names({"h2", ""}))), alpn);
  EXPECT_EQ(outcome(hello_with({0x0010, vector16({3, 'h', '2'})})), alpn);
  EXPECT_EQ(outcome(hello_with({0x0010, vector16({2, 'h', '2'}) + u8(0)})), alpn);
  const std::string versions = "malformed supported_versions";
  EXPECT_EQ(outcome(hello_with({0x002b, {}})), versions);
  EXPECT_EQ(outcome(hello_with({0x002b, {0}})), versions);
  EXPECT_EQ(outcome(hello_with({0x002b, {3, 3, 4, 3}})), versions);
  EXPECT_EQ(outcome(hello_with({0x002b, {4, 3, 4}})), versions);
  EXPECT_EQ(outcome(hello_with({0x002b, {2, 3, 4, 0}})), versions);
  const std::string signatures = "malformed signature_algorithms";
  EXPECT_EQ(outcome(hello_with({0x000d, {}})), signatures);
  EXPECT_EQ(outcome(hello_with({0x000d, {0, 0}})), signatures);
  EXPECT_EQ(outcome(hello_with({0x000d, {0, 1, 4}})), signatures);
  EXPECT_EQ(outcome(hello_with({0x000d, {0, 2, 4, 3, 0}})), signatures);
}

TEST(ClientHello, what_does_not_begin_as_tls_is_told_at_the_first_byte_that_shows_it) {
  EXPECT_EQ(outcome(test::to_bytes("G")), "not TLS");
  EXPECT_EQ(outcome(test::to_bytes("SSH-2.0-OpenSSH_9.2\r\n")), "not TLS");
  EXPECT_EQ(outcome(Bytes{0x80}), "not TLS");        // an SSL 2.0 hello
  EXPECT_EQ(outcome(Bytes{0x17, 3, 3}), "not TLS");  // application data
  EXPECT_EQ(outcome(Bytes{0x16}), "need more");
  EXPECT_EQ(outcome(Bytes{0x16, 2}), "not TLS");
  EXPECT_EQ(outcome(Bytes{0x16, 3}), "need more");
}

TEST(ClientHello, wrong_record_and_handshake_headers_are_refused_without_waiting) {
  EXPECT_EQ(outcome(Bytes{0x16, 3, 1, 0, 0}), "malformed record length");
  EXPECT_EQ(outcome(Bytes{0x16, 3, 1, 0x40, 0x01}), "malformed record length");
  EXPECT_EQ(outcome(Bytes{0x16, 3, 1, 0x42, 0x00}), "malformed record length");
  EXPECT_EQ(outcome(Bytes{0x16, 3, 1, 0, 9, 2}), "malformed handshake type");  // a ServerHello
  EXPECT_EQ(outcome(Bytes{0x16, 3, 1, 0, 9, 0}), "malformed handshake type");
  const auto message = test::plain_hello("a.example").message();
  auto bytes = test::in_records(message, 60);
  bytes.resize(65);
  EXPECT_EQ(outcome(bytes), "need more");
  EXPECT_EQ(outcome(bytes + Bytes{0x17}), "malformed record type");
  EXPECT_EQ(outcome(bytes + Bytes{0x15, 3, 3, 0, 2, 1, 0}), "malformed record type");
  EXPECT_EQ(outcome(bytes + Bytes{0x16, 4}), "malformed record version");
  EXPECT_EQ(outcome(bytes + Bytes{0x16, 3, 3, 0, 0}), "malformed record length");
}

TEST(ClientHello, one_that_cannot_fit_is_refused_at_its_header) {
  const auto first_bytes = [](std::size_t record_bytes, std::size_t message_bytes) {
    return outcome(Bytes{0x16, 3, 1} + test::u16(record_bytes) + test::u8(1) + test::u24(message_bytes - 4));
  };
  EXPECT_EQ(first_bytes(16384, max_hello_bytes - 5), "need more");
  EXPECT_EQ(first_bytes(16384, max_hello_bytes - 4), "too large");
  EXPECT_EQ(first_bytes(100, 0xffffff), "too large");
  // A second record has a header of its own.
  EXPECT_EQ(first_bytes(100, max_hello_bytes - 10), "need more");
  EXPECT_EQ(first_bytes(100, max_hello_bytes - 9), "too large");
}

TEST(ClientHello, the_largest_that_fits_is_read_and_headers_count) {
  auto hello = test::plain_hello("a.example");
  hello.extensions.push_back({0x0015, {}});  // padding
  hello.extensions.back().data.resize(max_hello_bytes - hello.wire().size());
  EXPECT_EQ(parsed(hello.wire()).wire_bytes, max_hello_bytes);
  EXPECT_EQ(outcome(hello.wire(8192)), "too large");
  hello.extensions.back().data.resize(hello.extensions.back().data.size() - 5);
  EXPECT_EQ(parsed(hello.wire(8192)).wire_bytes, max_hello_bytes);
  EXPECT_EQ(outcome(hello.wire(1)), "too large");
}

TEST(ClientHello, names_versions) {
  EXPECT_EQ(version_name(0x0304), "1.3");
  EXPECT_EQ(version_name(0x0303), "1.2");
  EXPECT_EQ(version_name(0x0302), "1.1");
  EXPECT_EQ(version_name(0x0301), "1.0");
  EXPECT_EQ(version_name(0x0300), "0x0300");
  EXPECT_EQ(version_name(0x7f1c), "0x7f1c");
}

TEST(ClientHello, an_alert_is_one_fatal_record) {
  EXPECT_EQ(alert_record(Alert::unrecognized_name), (Bytes{21, 3, 3, 0, 2, 2, 112}));
  EXPECT_EQ(alert_record(Alert::access_denied), (Bytes{21, 3, 3, 0, 2, 2, 49}));
}

}  // namespace
}  // namespace sluice::wire
