// One TCP segment (RFC 9293) as an Ethernet frame over IPv4 (RFC 791) or IPv6 (RFC 8200): reading what was held of a
// pod's connection and writing what takes its place. Pure: bytes in, value out, and back.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"

namespace sluice::wire {

// Sequence numbers count modulo 2^32 (RFC 9293 section 3.4): these hold while two of them are less than 2^31 apart.
// How many bytes after `from` `to` is; negative: before it.
constexpr std::int32_t sequence_distance(std::uint32_t from, std::uint32_t to) {
  return static_cast<std::int32_t>(to - from);
}
constexpr bool sequence_before(std::uint32_t a, std::uint32_t b) {
  return sequence_distance(b, a) < 0;
}

// The timestamps option (RFC 7323 section 3.2): TSval and TSecr, host byte order.
struct TcpTimestamps {
  std::uint32_t value = 0;
  std::uint32_t echo = 0;

  bool operator==(const TcpTimestamps&) const = default;
};

// The urgent flag and pointer are not told and never written: an urgent byte would be read apart from its stream.
struct TcpSegment {
  std::array<std::uint8_t, 14> ethernet{};  // destination, source, type, as on the wire
  std::uint8_t traffic_class = 0;           // TOS or traffic class: DSCP and the ECN bits (RFC 2474, RFC 3168)
  Endpoint source;                          // of one family, both
  Endpoint destination;
  std::uint32_t sequence = 0;  // host byte order, as all numbers here
  std::uint32_t acknowledgement = 0;
  std::uint16_t window = 0;  // as on the wire: unscaled
  bool syn = false;
  bool fin = false;
  bool rst = false;
  bool psh = false;
  bool ack = false;
  bool ece = false;
  bool cwr = false;
  bool ae = false;                          // accurate ECN (RFC 9768), the bit that was NS
  std::optional<TcpTimestamps> timestamps;  // nullopt: none, or the list of options is malformed
  ByteSpan payload;                         // a view into the frame, or of the bytes to send
};

// A frame of plain IPv4 (no options, no fragment) or plain IPv6 (no extension header, no mapped address) with TCP.
// nullopt: it is cut off, contradicts itself, or is something else, VLAN tags included. The payload ends where the IP
// header says; what follows is padding. Checksums are not looked at: one of a held packet is partial.
std::optional<TcpSegment> parse_tcp_frame(ByteSpan frame);
// The same for a frame of which only a beginning was copied: the headers must be whole, options included, and the
// payload is what is there of it.
std::optional<TcpSegment> parse_cut_tcp_frame(ByteSpan frame);

// Writes the whole frame to the beginning of `out`, which must not overlap the payload, and tells its size. 0, with
// nothing written: it does not fit, in `out` or in an IP packet, or the two addresses are of different families. The
// Ethernet type is that of the addresses. Checksums are complete; TTL or hop limit is 64; IPv4 has Don't Fragment and
// identification 0 (RFC 6864), IPv6 flow label 0; of options only the timestamps (NOP, NOP, TS), if there are any.
std::size_t write_tcp_frame(const TcpSegment& segment, std::span<std::uint8_t> out);
// The same in a buffer of its own; empty instead of 0.
std::vector<std::uint8_t> build_tcp_frame(const TcpSegment& segment);

// Puts a complete TCP checksum into a whole frame that may have a partial one, with its options as they are. False, and
// nothing changed: it is no frame that parse_tcp_frame() reads.
bool complete_tcp_checksum(std::span<std::uint8_t> frame);

}  // namespace sluice::wire
