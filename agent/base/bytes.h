// A bounded reader of network-order bytes: it never reads past its span, and once a read fails all later ones fail.
#pragma once

#include <cstdint>
#include <span>

namespace sluice {

using ByteSpan = std::span<const std::uint8_t>;

class ByteReader {
 public:
  explicit ByteReader(ByteSpan bytes) : rest_(bytes) {}

  bool failed() const { return failed_; }
  bool at_end() const { return rest_.empty(); }
  std::size_t remaining() const { return rest_.size(); }

  // Big-endian integers; 0 after a failure.
  std::uint8_t u8() { return static_cast<std::uint8_t>(integer(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(integer(2)); }
  std::uint32_t u24() { return integer(3); }
  std::uint32_t u32() { return integer(4); }
  // The next `count` bytes, a view into the original span; empty after a failure.
  ByteSpan take(std::size_t count) {
    if (failed_ || count > rest_.size()) {
      failed_ = true;
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  // Vectors with a length prefix of 1 or 2 bytes (RFC 8446 section 3.4).
  ByteReader vector8() { return vector(u8()); }
  ByteReader vector16() { return vector(u16()); }
  ByteSpan rest() const { return rest_; }

 private:
  std::uint32_t integer(std::size_t size) {
    std::uint32_t value = 0;
    for (const auto byte : take(size)) value = value << 8 | byte;
    return value;
  }
  ByteReader vector(std::size_t size) {
    ByteReader inner(take(size));
    inner.failed_ = failed_;
    return inner;
  }

  ByteSpan rest_;
  bool failed_ = false;
};

}  // namespace sluice
