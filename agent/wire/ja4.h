// The JA4 fingerprint of TLS clients, after FoxIO's specification (technical_details/JA4.md).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace sluice::wire {

// RFC 8701: 0x0a0a, 0x1a1a, ... 0xfafa.
constexpr bool is_grease(std::uint16_t value) {
  return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

// Lists as the hello has them, GREASE included.
struct Ja4Facts {
  std::span<const std::uint16_t> versions;  // GREASE taken out
  bool has_server_name = false;
  ByteSpan cipher_suites;                     // big-endian, two bytes each
  std::span<const std::uint16_t> extensions;  // types in ascending order
  std::string_view first_alpn;                // empty: none
  ByteSpan signature_algorithms;              // big-endian, two bytes each
};

std::string ja4_fingerprint(const Ja4Facts& facts);

}  // namespace sluice::wire
