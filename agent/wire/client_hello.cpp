#include "wire/client_hello.h"

#include <algorithm>
#include <array>
#include <type_traits>

#include "wire/host_name.h"
#include "wire/ja4.h"
#include "wire/tls_record.h"

namespace sluice::wire {
namespace {

enum Extension : std::uint16_t {
  server_name = 0x0000,
  signature_algorithms = 0x000d,
  alpn = 0x0010,
  supported_versions = 0x002b,
  encrypted_client_hello = 0xfe0d,
};

// The field that is wrong, as static text; empty: none.
using Fault = std::string_view;
constexpr Fault no_fault;

std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The extension types of one hello; each takes four bytes at least.
class TypeList {
 public:
  void add(std::uint16_t type) { types_[count_++] = type; }
  void sort() { std::sort(types_.begin(), types_.begin() + count_); }
  bool has_duplicates() const { return std::adjacent_find(types_.begin(), end()) != end(); }
  std::span<const std::uint16_t> all() const { return std::span(types_).first(count_); }

 private:
  using Types = std::array<std::uint16_t, max_hello_bytes / 4>;
  Types::const_iterator end() const { return types_.begin() + count_; }

  Types types_;  // NOLINT: written before read, and clearing 8 KiB would cost more than the rest
  std::size_t count_ = 0;
};

// RFC 6066 section 3, with a list of exactly one host_name: servers disagree on which of two they take.
Fault read_server_name(ByteReader data, ClientHello& hello) {
  auto list = data.vector16();
  if (!data.at_end()) return "server_name";
  const auto type = list.u8();
  const auto name = list.vector16();
  if (list.failed() || name.failed()) return "server_name";
  if (type != 0 || !list.at_end()) return "server_name: not one host name";
  auto host = normalise_host(as_text(name.rest()));
  if (!host) return "server_name: not a host name";
  hello.sni = std::move(*host);
  return no_fault;
}

Fault read_alpn(ByteReader data, ClientHello& hello) {
  auto list = data.vector16();
  if (list.failed() || list.at_end() || !data.at_end()) return "application_layer_protocol_negotiation";
  while (!list.at_end()) {
    const auto name = list.vector8();
    if (name.failed() || name.at_end()) return "application_layer_protocol_negotiation";
    hello.alpn.emplace_back(as_text(name.rest()));
  }
  return no_fault;
}

Fault read_versions(ByteReader data, ClientHello& hello) {
  auto list = data.vector8();
  if (list.failed() || list.at_end() || list.remaining() % 2 != 0 || !data.at_end()) return "supported_versions";
  hello.versions.clear();
  hello.versions.reserve(list.remaining() / 2);
  while (!list.at_end()) {
    const auto version = list.u16();
    if (!is_grease(version)) hello.versions.push_back(version);
  }
  return no_fault;
}

Fault read_signature_algorithms(ByteReader data, Ja4Facts& facts) {
  const auto list = data.vector16();
  if (list.failed() || list.at_end() || list.remaining() % 2 != 0 || !data.at_end()) return "signature_algorithms";
  facts.signature_algorithms = list.rest();
  return no_fault;
}

Fault read_extension(std::uint16_t type, ByteReader data, ClientHello& hello, Ja4Facts& facts) {
  switch (type) {
    case server_name:
      return read_server_name(data, hello);
    case alpn:
      return read_alpn(data, hello);
    case supported_versions:
      return read_versions(data, hello);
    case signature_algorithms:
      return read_signature_algorithms(data, facts);
    case encrypted_client_hello:
      hello.ech = true;
      return no_fault;
    default:
      return no_fault;
  }
}

Fault read_extensions(ByteReader& body, TypeList& types, ClientHello& hello, Ja4Facts& facts) {
  if (body.at_end()) return no_fault;  // TLS 1.2 and older may have none (RFC 5246 section 7.4.1.2)
  auto list = body.vector16();
  if (list.failed() || !body.at_end()) return "extensions";
  while (!list.at_end()) {
    const auto type = list.u16();
    const auto data = list.vector16();
    if (data.failed()) return "extensions";
    types.add(type);
    if (const auto fault = read_extension(type, data, hello, facts); !fault.empty()) return fault;
  }
  types.sort();
  return types.has_duplicates() ? "extensions: one twice" : no_fault;
}

Fault read_body(ByteSpan bytes, ClientHello& hello) {
  ByteReader body(bytes);
  hello.versions = {body.u16()};
  body.take(32);  // random
  const auto session_id = body.vector8();
  if (session_id.failed() || session_id.remaining() > 32) return "legacy_session_id";
  const auto ciphers = body.vector16();
  if (ciphers.failed() || ciphers.at_end() || ciphers.remaining() % 2 != 0) return "cipher_suites";
  const auto compression = body.vector8();
  if (compression.failed() || compression.at_end()) return "legacy_compression_methods";

  TypeList types;
  Ja4Facts facts;
  if (const auto fault = read_extensions(body, types, hello, facts); !fault.empty()) return fault;
  facts.versions = hello.versions;
  facts.has_server_name = !hello.sni.empty();
  facts.cipher_suites = ciphers.rest();
  facts.extensions = types.all();
  if (!hello.alpn.empty()) facts.first_alpn = hello.alpn.front();
  hello.ja4 = ja4_fingerprint(facts);
  return no_fault;
}

HelloResult parse_message(ByteSpan message, std::size_t wire_bytes) {
  HelloResult result(std::in_place_type<ClientHello>);
  auto& hello = *std::get_if<ClientHello>(&result);
  hello.wire_bytes = wire_bytes;
  if (const auto fault = read_body(message.subspan(handshake_header_bytes), hello); !fault.empty()) {
    return Malformed{fault};
  }
  return result;
}

HelloResult parse_joined(ByteSpan bytes, const HelloExtent& extent) {
  std::array<std::uint8_t, max_hello_bytes> room;
  const auto message = std::span(room).first(extent.message_bytes);
  join_records(bytes, message);
  return parse_message(message, extent.wire_bytes);
}

}  // namespace

HelloResult parse_client_hello(ByteSpan bytes) {
  const auto conclude = [&](const auto& found) -> HelloResult {
    if constexpr (std::is_same_v<decltype(found), const HelloExtent&>) {
      if (!found.in_one_record) return parse_joined(bytes, found);
      return parse_message(bytes.subspan(record_header_bytes, found.message_bytes), found.wire_bytes);
    } else {
      return found;
    }
  };
  return std::visit(conclude, find_hello(bytes));
}

std::string version_name(std::uint16_t version) {
  switch (version) {
    case 0x0301:
      return "1.0";
    case 0x0302:
      return "1.1";
    case 0x0303:
      return "1.2";
    case 0x0304:
      return "1.3";
    default:
      break;
  }
  constexpr std::string_view digits = "0123456789abcdef";
  std::string name = "0x";
  for (int shift = 12; shift >= 0; shift -= 4) name += digits[version >> shift & 15];
  return name;
}

std::vector<std::uint8_t> alert_record(Alert alert) {
  constexpr std::uint8_t alert_content = 21;
  constexpr std::uint8_t fatal = 2;
  return {alert_content, 3, 3, 0, 2, fatal, static_cast<std::uint8_t>(alert)};
}

}  // namespace sluice::wire
