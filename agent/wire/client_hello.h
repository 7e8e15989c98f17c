// Reading a TLS ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2) from the first bytes of a connection,
// over any split in records, without terminating TLS. Pure: bytes in, value out; no allocation beyond the result.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"

namespace sluice::wire {

inline constexpr std::size_t max_hello_bytes = std::size_t{16} * 1024;  // bytes on the wire, record headers included

struct ClientHello {
  std::string sni;                      // RFC 6066 host_name, lower-cased, one trailing dot stripped; empty: none sent
  std::vector<std::string> alpn;        // RFC 7301, as sent
  std::vector<std::uint16_t> versions;  // supported_versions without GREASE, as sent; else the legacy version alone
  bool ech = false;                     // encrypted_client_hello (0xfe0d) is there: `sni` is the outer name
  std::string ja4;                      // FoxIO JA4, e.g. "t13d1516h2_8daaf6152771_b186095e22b6"
  std::size_t wire_bytes = 0;           // how many input bytes the hello took, record headers included

  bool operator==(const ClientHello&) const = default;
};

struct NeedMore {};  // the bytes so far are a valid beginning
struct NotTls {};    // the first bytes cannot begin a TLS handshake record
struct TooLarge {};  // the hello does not fit max_hello_bytes
struct Malformed {
  std::string_view what;  // static text: the field that is wrong
};
using HelloResult = std::variant<NeedMore, ClientHello, NotTls, Malformed, TooLarge>;

// Parses the first bytes of a connection. Bytes after the hello are ignored. SNI rules: exactly one host_name entry;
// no IP literal, no empty name, at most 255 bytes, only letters, digits, '-', '_' and '.', labels of 1..63 bytes: else
// Malformed. Duplicate extensions are Malformed (RFC 8446 section 4.2). Cheap to call again after every segment: an
// incomplete hello costs a look at its record headers, and a wrong one is refused at its first wrong header byte. Once
// the result is not NeedMore, more bytes do not change it.
HelloResult parse_client_hello(ByteSpan bytes);

// "1.3", "1.2", ... or "0x7f1c" for what has no name.
std::string version_name(std::uint16_t version);

// A fatal TLS alert record, plaintext, as a server would answer a hello (RFC 8446 section 6): 7 bytes.
enum class Alert : std::uint8_t { access_denied = 49, decode_error = 50, internal_error = 80, unrecognized_name = 112 };
std::vector<std::uint8_t> alert_record(Alert alert);

}  // namespace sluice::wire
