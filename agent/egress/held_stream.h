// The beginning of one direction of a TCP connection, put together from held segments by sequence number (RFC 9293
// section 3.4). Pure.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "wire/tls_record.h"

namespace sluice::egress {

// Memory: one buffer, as long as the furthest byte held and never longer than max_bytes, and max_gaps places of gaps.
class HeldStream {
 public:
  // The longest hello, with the header of the record after it.
  static constexpr std::size_t max_bytes = wire::max_hello_bytes + wire::record_header_bytes;
  // What would make one gap more is not taken. What continues bytes() always is, so the sender's repetitions get there.
  static constexpr std::size_t max_gaps = 32;

  // `first`: sequence number of the connection's first byte, the one after the SYN's.
  explicit HeldStream(std::uint32_t first) : first_(first) {}

  enum class Added {
    nothing_new,  // every byte is held already, lies before the first byte, or would make a gap too many
    more,         // bytes are held that were not before; bytes() grew unless they lie beyond a gap
    conflict,     // a held byte, also one beyond a gap, came with another value: nothing is taken
    too_large,    // it goes beyond max_bytes; what lies before that is taken all the same
  };
  // In any order, with any overlap. Bytes before the first one are ignored: keep-alive probes have one (RFC 9293
  // section 3.8.4).
  Added add(std::uint32_t sequence, ByteSpan payload);

  // What is there without a gap, from the first byte on. The view is good until the next add().
  ByteSpan bytes() const { return ByteSpan(buffer_).first(pieces_.front().end); }
  // The sequence number after bytes().
  std::uint32_t end() const { return first_ + pieces_.front().end; }

 private:
  // Held bytes as offsets from the first one.
  struct Piece {
    std::uint32_t begin = 0;
    std::uint32_t end = 0;
  };
  using Pieces = std::array<Piece, max_gaps + 1>;

  bool contradicts(Piece piece, ByteSpan payload) const;
  Added take(Piece piece, ByteSpan payload);
  void store(Piece piece, ByteSpan payload);

  std::uint32_t first_;
  std::vector<std::uint8_t> buffer_;  // by offset; what lies in a gap means nothing
  Pieces pieces_{};                   // in order, never touching; the first begins at 0, maybe empty
  std::size_t count_ = 1;             // of pieces_
};

}  // namespace sluice::egress
