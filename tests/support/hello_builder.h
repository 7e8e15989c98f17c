// Composes TLS ClientHello messages, sound and broken ones, for tests, benchmarks and fuzzing seeds.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

using Bytes = std::vector<std::uint8_t>;

// Bytes are a standard type: say `using test::operator+;` to find it.
inline Bytes operator+(Bytes left, const Bytes& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

inline Bytes to_bytes(std::string_view text) {
  return {text.begin(), text.end()};
}

inline Bytes u8(std::size_t value) {
  return {static_cast<std::uint8_t>(value)};
}
inline Bytes u16(std::size_t value) {
  return u8(value >> 8) + u8(value & 0xff);
}
inline Bytes u24(std::size_t value) {
  return u8(value >> 16) + u16(value & 0xffff);
}

// `content` behind its length in one or two bytes.
inline Bytes vector8(const Bytes& content) {
  return u8(content.size()) + content;
}
inline Bytes vector16(const Bytes& content) {
  return u16(content.size()) + content;
}

inline Bytes u16_list(const std::vector<std::uint16_t>& values) {
  Bytes out;
  for (const auto value : values) out = std::move(out) + u16(value);
  return out;
}

// A handshake message cut in TLS records of at most `record_bytes` each.
inline Bytes in_records(const Bytes& message, std::size_t record_bytes = 16384) {
  Bytes out;
  for (std::size_t at = 0; at < message.size(); at += record_bytes) {
    const auto end = std::min(at + record_bytes, message.size());
    out = std::move(out) + Bytes{22, 3, 1} + vector16(Bytes(message.begin() + at, message.begin() + end));
  }
  return out;
}

struct HelloExtension {
  std::uint16_t type;
  Bytes data;
};

// The extensions by what they say.
inline HelloExtension server_names(std::initializer_list<std::string_view> names) {
  Bytes list;
  for (const auto name : names) list = std::move(list) + u8(0) + vector16(to_bytes(name));
  return {0x0000, vector16(list)};
}
inline HelloExtension alpn_names(std::initializer_list<std::string_view> names) {
  Bytes list;
  for (const auto name : names) list = std::move(list) + vector8(to_bytes(name));
  return {0x0010, vector16(list)};
}
inline HelloExtension offered_versions(const std::vector<std::uint16_t>& versions) {
  return {0x002b, vector8(u16_list(versions))};
}
inline HelloExtension signature_schemes(const std::vector<std::uint16_t>& schemes) {
  return {0x000d, vector16(u16_list(schemes))};
}
inline HelloExtension groups(const std::vector<std::uint16_t>& values) {
  return {0x000a, vector16(u16_list(values))};
}
// Key shares of the right sizes with constant bytes as keys.
inline HelloExtension key_shares(const std::vector<std::pair<std::uint16_t, std::size_t>>& group_and_bytes) {
  Bytes list;
  for (const auto& [group, size] : group_and_bytes) list = std::move(list) + u16(group) + vector16(Bytes(size, 0x6b));
  return {0x0033, vector16(list)};
}

inline constexpr std::uint16_t x25519 = 0x001d;
inline constexpr std::uint16_t x25519_mlkem768 = 0x11ec;
inline constexpr std::size_t x25519_bytes = 32;
inline constexpr std::size_t x25519_mlkem768_bytes = 1216;

struct Hello {
  std::uint16_t legacy_version = 0x0303;
  Bytes session_id = Bytes(32, 0x5e);
  std::vector<std::uint16_t> ciphers = {0x1301, 0x1302, 0x1303};
  Bytes compression = {0};
  std::vector<HelloExtension> extensions;

  Bytes extension_list() const {
    Bytes list;
    for (const auto& [type, data] : extensions) list = std::move(list) + u16(type) + vector16(data);
    return list;
  }
  // All up to the extensions, which a hello may end before.
  Bytes body_without_extensions() const {
    return u16(legacy_version) + Bytes(32, 0x72) + vector8(session_id) + vector16(u16_list(ciphers)) +
           vector8(compression);
  }
  Bytes body() const { return body_without_extensions() + vector16(extension_list()); }
  Bytes message() const { return u8(1) + u24(body().size()) + body(); }
  Bytes wire(std::size_t record_bytes = 16384) const { return in_records(message(), record_bytes); }
};

// The smallest TLS 1.3 hello that a server would answer.
inline Hello plain_hello(std::string_view name) {
  Hello hello;
  hello.extensions = {server_names({name}), offered_versions({0x0304}), groups({x25519}), signature_schemes({0x0403}),
                      key_shares({{x25519, x25519_bytes}})};
  return hello;
}

// As Chrome 143 sends it: GREASE in every list, ECH, a post-quantum key share; 1,700 bytes and more.
inline Hello chrome_like_hello(std::string_view name) {
  Hello hello;
  hello.ciphers = {0x5a5a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030,
                   0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035};
  hello.extensions = {
      {0x0a0a, {}},
      {0x002d, {1, 1}},  // psk_key_exchange_modes
      key_shares({{0x8a8a, 1}, {x25519_mlkem768, x25519_mlkem768_bytes}, {x25519, x25519_bytes}}),
      alpn_names({"h2", "http/1.1"}),
      {0xfe0d, Bytes(281, 0x0e)},                   // encrypted_client_hello
      {0x0017, {}},                                 // extended_master_secret
      {0x44cd, vector16(vector8(to_bytes("h2")))},  // application_settings
      server_names({name}),
      {0x000b, {1, 0}},  // ec_point_formats
      groups({0x8a8a, x25519_mlkem768, x25519, 0x0017, 0x0018}),
      offered_versions({0x3a3a, 0x0304, 0x0303}),
      {0xff01, {0}},              // renegotiation_info
      {0x0023, {}},               // session_ticket
      {0x0012, {}},               // signed_certificate_timestamp
      {0x0005, {1, 0, 0, 0, 0}},  // status_request
      signature_schemes({0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601}),
      {0x001b, {2, 0, 2}},  // compress_certificate
      {0xdada, {0}},
  };
  return hello;
}

// As Go's crypto/tls sends it since 1.24: no GREASE, the same post-quantum key share.
inline Hello go_like_hello(std::string_view name) {
  Hello hello;
  hello.ciphers = {0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009,
                   0xc013, 0xc00a, 0xc014, 0x1301, 0x1302, 0x1303};
  hello.extensions = {
      server_names({name}),
      {0x0005, {1, 0, 0, 0, 0}},
      groups({x25519_mlkem768, x25519, 0x0017, 0x0018, 0x0019}),
      {0x000b, {1, 0}},
      {0x0023, {}},
      signature_schemes(
          {0x0804, 0x0403, 0x0807, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0503, 0x0603, 0x0201, 0x0203}),
      {0xff01, {0}},
      {0x0017, {}},
      alpn_names({"h2", "http/1.1"}),
      {0x0012, {}},
      offered_versions({0x0304, 0x0303}),
      key_shares({{x25519_mlkem768, x25519_mlkem768_bytes}, {x25519, x25519_bytes}}),
  };
  return hello;
}

}  // namespace sluice::test
