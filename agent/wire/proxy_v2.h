// PROXY protocol version 2 with type-length-values (the HAProxy "PROXY protocol" specification, section 2.2). Pure.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "wire/client_hello.h"  // NeedMore, Malformed

namespace sluice::wire {

inline constexpr std::size_t max_proxy_header_bytes = 4096;

// Who calls whom, as the node's agent says it. Text fields are printable ASCII of at most 255 bytes each (what is
// longer is cut when sent); empty ones are not sent.
struct ProxyHeader {
  Endpoint source;
  Endpoint destination;   // as the pod dialled it
  std::string authority;  // PP2_TYPE_AUTHORITY (0x02): the name that was judged
  // Custom types 0xE0.. (PP2_TYPE_MIN_CUSTOM), one each; the numbers stand in proxy_v2.cpp.
  std::string node;
  std::string pod_namespace;
  std::string pod_name;
  std::string service_account;
  std::string rule;
  std::string connection_id;       // the audit id of the agent's record
  std::string gateway;             // whom the header is for: egress.gateways[].name
  std::uint16_t gateway_port = 0;  // of the Gateway's server that the route chose; 0 is not sent
  // The address and port from which this very connection reaches the gateway, as the gateway sees its TCP peer.
  std::optional<Endpoint> hop_source;

  bool operator==(const ProxyHeader&) const = default;
};

// The authentication of a header, its last type-length-value (0xe9), so that nothing behind it goes unsigned:
//   version (1 byte: 1), key_id (4), time_ms (8, big endian), nonce (16), mac (32)
// mac is HMAC-SHA256 over every byte of the header before it, from the first of the signature on: every length is
// covered. Making and checking it is not wire's business.
struct HeaderStamp {
  std::array<std::uint8_t, 4> key_id{};  // the first bytes of the key's SHA-256
  std::uint64_t time_ms = 0;             // when it was signed, since the Unix epoch
  std::array<std::uint8_t, 16> nonce{};  // random

  bool operator==(const HeaderStamp&) const = default;
};
inline constexpr std::size_t header_mac_bytes = 32;

// The header as bytes; IPv4 form when both addresses are IPv4, else IPv6 (mapped where needed).
std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header);
// The same with its authentication. The last header_mac_bytes are zero: the caller puts the MAC of all before there.
std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header, const HeaderStamp& stamp);

// An authentication as it came: nothing about it is checked but its form.
struct HeaderSeal {
  HeaderStamp stamp;
  std::array<std::uint8_t, header_mac_bytes> mac{};
  ByteSpan signed_bytes;  // what the MAC is over: a view into the bytes that were parsed
};

struct ParsedProxyHeader {
  ProxyHeader header;
  std::size_t wire_bytes = 0;
  std::optional<HeaderSeal> seal;  // nullopt: unsigned, as what other software sends is
};
struct NotProxy {};  // the bytes do not begin with the signature
using ProxyResult = std::variant<NeedMore, ParsedProxyHeader, NotProxy, Malformed>;
// Accepts command PROXY over TCP only; a repeated type we know, or one whose text is empty, over-long or unprintable, a
// bad length or UDP/UNIX is Malformed, and so is an authentication that is not last or of another size or version;
// unknown types are skipped; PP2_TYPE_CRC32C, when present, must be right. `authority` is normalised or Malformed.
ProxyResult parse_proxy_header(ByteSpan bytes);

}  // namespace sluice::wire
