// Crafts packets, sound and broken ones, byte by byte, and checks the checksums of those that come back.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace sluice::test {

using Bytes = std::vector<std::uint8_t>;

inline Bytes join(std::initializer_list<Bytes> parts) {
  Bytes out;
  for (const auto& part : parts) out.insert(out.end(), part.begin(), part.end());
  return out;
}
inline Bytes be16(std::uint32_t value) {
  return {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
}
inline Bytes be32(std::uint32_t value) {
  return join({be16(value >> 16), be16(value)});
}
inline Bytes of(const IpAddress& address) {
  return {address.native().begin(), address.native().end()};
}
inline Bytes text(std::string_view characters) {
  return {characters.begin(), characters.end()};
}
inline IpAddress ip(std::string_view address) {
  return IpAddress::parse(address).value();
}
inline Endpoint endpoint(std::string_view address_and_port) {
  return Endpoint::parse(address_and_port).value();
}

inline std::uint16_t read16(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
inline std::uint32_t read32(std::span<const std::uint8_t> bytes, std::size_t at) {
  return static_cast<std::uint32_t>(read16(bytes, at)) << 16 | read16(bytes, at + 2);
}

// RFC 1071: the one's complement sum, folded, not inverted.
inline std::uint16_t sum16(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t at = 0; at < bytes.size(); ++at) sum += at % 2 == 0 ? bytes[at] << 8U : bytes[at];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}
inline std::uint16_t checksum(std::span<const std::uint8_t> bytes) {
  return static_cast<std::uint16_t>(~sum16(bytes));
}

inline void write16(Bytes& bytes, std::size_t at, std::uint32_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

enum Protocol : std::uint8_t {
  icmp = 1,
  tcp = 6,
  udp = 17,
  icmpv6 = 58,
};

inline Bytes pseudo_header(const IpAddress& from, const IpAddress& to, std::uint8_t protocol, std::size_t length) {
  return join({of(from), of(to), be32(static_cast<std::uint32_t>(length)), be32(protocol)});
}
inline std::uint16_t transport_checksum(const IpAddress& from, const IpAddress& to, std::uint8_t protocol,
                                        const Bytes& segment) {
  return checksum(join({pseudo_header(from, to, protocol, segment.size()), segment}));
}

// What stands between the addresses of an IP header.
struct IpFields {
  std::uint8_t ttl = 64;
  std::uint16_t fragment = 0;  // IPv4 flags and offset, as on the wire
  Bytes options = {};          // IPv4, a multiple of 4 bytes
};

inline Bytes ipv4(const IpAddress& from, const IpAddress& to, std::uint8_t protocol, const Bytes& payload,
                  const IpFields& fields = {}) {
  const std::size_t header_bytes = 20 + fields.options.size();
  Bytes header = join({{static_cast<std::uint8_t>(0x40 | header_bytes / 4), 0},
                       be16(static_cast<std::uint32_t>(header_bytes + payload.size())),
                       be16(0x1234),
                       be16(fields.fragment),
                       {fields.ttl, protocol, 0, 0},
                       of(from),
                       of(to),
                       fields.options});
  write16(header, 10, checksum(header));
  return join({header, payload});
}

// IPv4 addresses appear IPv4-mapped.
inline Bytes ipv6(const IpAddress& from, const IpAddress& to, std::uint8_t next_header, const Bytes& payload,
                  const IpFields& fields = {}) {
  return join({{0x60, 0, 0, 0},
               be16(static_cast<std::uint32_t>(payload.size())),
               {next_header, fields.ttl},
               {from.bytes().begin(), from.bytes().end()},
               {to.bytes().begin(), to.bytes().end()},
               payload});
}

inline constexpr std::uint16_t ethertype_ipv4 = 0x0800;
inline constexpr std::uint16_t ethertype_arp = 0x0806;
inline constexpr std::uint16_t ethertype_vlan = 0x8100;
inline constexpr std::uint16_t ethertype_ipv6 = 0x86dd;
inline const Bytes node_mac = {2, 0, 0, 0, 0, 1};
inline const Bytes pod_mac = {2, 0, 0, 0, 0, 2};

inline Bytes ethernet(std::uint16_t type, const Bytes& payload) {
  return join({node_mac, pod_mac, be16(type), payload});
}
inline Bytes vlan_tag(std::uint16_t id, std::uint16_t type, const Bytes& payload) {
  return join({be16(id), be16(type), payload});
}

// An IP packet of the addresses' family in an Ethernet frame.
inline Bytes frame(const IpAddress& from, const IpAddress& to, std::uint8_t protocol, const Bytes& payload,
                   const IpFields& fields = {}) {
  return from.is_v4() ? ethernet(ethertype_ipv4, ipv4(from, to, protocol, payload, fields))
                      : ethernet(ethertype_ipv6, ipv6(from, to, protocol, payload, fields));
}

enum TcpFlag : std::uint8_t {
  fin = 1,
  syn = 2,
  rst = 4,
  psh = 8,
  ack = 16,
};

struct TcpFields {
  std::uint8_t flags = syn;
  std::uint32_t sequence = 1000;
  std::uint32_t acknowledgement = 0;
  Bytes options = {};  // a multiple of 4 bytes
  Bytes payload = {};
};

inline Bytes tcp_segment(const Endpoint& from, const Endpoint& to, const TcpFields& fields = {}) {
  const auto words = (20 + fields.options.size()) / 4;
  Bytes segment = join({be16(from.port),
                        be16(to.port),
                        be32(fields.sequence),
                        be32(fields.acknowledgement),
                        {static_cast<std::uint8_t>(words << 4), fields.flags},
                        be16(64240),
                        be32(0),
                        fields.options,
                        fields.payload});
  write16(segment, 16, transport_checksum(from.address, to.address, tcp, segment));
  return segment;
}
inline Bytes udp_datagram(const Endpoint& from, const Endpoint& to, const Bytes& payload = {}) {
  Bytes datagram =
      join({be16(from.port), be16(to.port), be16(static_cast<std::uint32_t>(8 + payload.size())), be16(0), payload});
  write16(datagram, 6, transport_checksum(from.address, to.address, udp, datagram));
  return datagram;
}

inline Bytes tcp_frame(const Endpoint& from, const Endpoint& to, const TcpFields& fields = {}) {
  return frame(from.address, to.address, tcp, tcp_segment(from, to, fields));
}
inline Bytes udp_frame(const Endpoint& from, const Endpoint& to, const Bytes& payload = {}) {
  return frame(from.address, to.address, udp, udp_datagram(from, to, payload));
}

inline Bytes icmp_message(std::uint8_t type, std::uint8_t code, const Bytes& rest) {
  Bytes message = join({{type, code, 0, 0}, rest});
  write16(message, 2, checksum(message));
  return message;
}
inline Bytes icmpv6_message(const IpAddress& from, const IpAddress& to, std::uint8_t type, std::uint8_t code,
                            const Bytes& rest) {
  Bytes message = join({{type, code, 0, 0}, rest});
  write16(message, 2, transport_checksum(from, to, icmpv6, message));
  return message;
}

// A received frame, taken apart. Only for frames that a test knows to be whole, without options or tags.
struct Parsed {
  Bytes destination_mac;
  Bytes source_mac;
  std::uint16_t ethertype = 0;
  IpAddress source = {};
  IpAddress destination = {};
  std::uint8_t protocol = 0;
  std::size_t length = 0;  // what the IP header says
  bool header_sound = false;
  Bytes payload = {};  // of IP
};

inline Parsed parse(const Bytes& bytes) {
  const auto part = [&](std::size_t at, std::size_t size) {
    return Bytes(bytes.begin() + static_cast<std::ptrdiff_t>(at),
                 bytes.begin() + static_cast<std::ptrdiff_t>(at + size));
  };
  Parsed parsed{.destination_mac = part(0, 6), .source_mac = part(6, 6), .ethertype = read16(bytes, 12)};
  const bool is_v4 = parsed.ethertype == ethertype_ipv4;
  const std::size_t address_bytes = is_v4 ? 4 : 16;
  const std::size_t source_at = is_v4 ? 26 : 22;
  parsed.source = IpAddress::from_bytes(part(source_at, address_bytes)).value();
  parsed.destination = IpAddress::from_bytes(part(source_at + address_bytes, address_bytes)).value();
  parsed.protocol = bytes[is_v4 ? 23 : 20];
  parsed.length = is_v4 ? read16(bytes, 16) : 40U + read16(bytes, 18);
  parsed.header_sound = is_v4 ? bytes[14] == 0x45 && sum16(part(14, 20)) == 0xffff : bytes[14] == 0x60;
  const std::size_t header_bytes = is_v4 ? 34 : 54;
  parsed.payload = part(header_bytes, bytes.size() - header_bytes);
  return parsed;
}

// Of TCP, UDP and ICMPv6 with the pseudo header, of ICMP without.
inline bool checksum_is_sound(const Parsed& packet) {
  if (packet.protocol == icmp) return sum16(packet.payload) == 0xffff;
  const auto pseudo = pseudo_header(packet.source, packet.destination, packet.protocol, packet.payload.size());
  return sum16(join({pseudo, packet.payload})) == 0xffff;
}

}  // namespace sluice::test
