// The TLS record layer before encryption (RFC 8446 section 5.1): finding one handshake message in its records.
#pragma once

#include <cstdint>
#include <span>
#include <variant>

#include "base/bytes.h"
#include "wire/client_hello.h"

namespace sluice::wire {

inline constexpr std::size_t record_header_bytes = 5;
inline constexpr std::size_t handshake_header_bytes = 4;

// Where the ClientHello message lies. It is all there.
struct HelloExtent {
  std::size_t message_bytes;  // handshake header included
  std::size_t wire_bytes;     // up to its last byte, record headers included
  bool in_one_record;         // it stands at record_header_bytes, without a gap
};
using ExtentResult = std::variant<NeedMore, HelloExtent, NotTls, Malformed, TooLarge>;

// Looks at record and handshake headers only, and refuses at the first wrong byte: the time it takes depends on the
// number of records, not of bytes, so that a caller may ask again after every segment.
ExtentResult find_hello(ByteSpan bytes);

// Copies the message out of its records. `message` has the size that find_hello() told of the same bytes.
void join_records(ByteSpan bytes, std::span<std::uint8_t> message);

}  // namespace sluice::wire
