// PROXY protocol version 2 with type-length-values (the HAProxy "PROXY protocol" specification, section 2.2). Pure.
#pragma once

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
  std::string connection_id;  // the audit id of the agent's record

  bool operator==(const ProxyHeader&) const = default;
};

// The header as bytes; IPv4 form when both addresses are IPv4, else IPv6 (mapped where needed).
std::vector<std::uint8_t> encode_proxy_header(const ProxyHeader& header);

struct ParsedProxyHeader {
  ProxyHeader header;
  std::size_t wire_bytes;
};
struct NotProxy {};  // the bytes do not begin with the signature
using ProxyResult = std::variant<NeedMore, ParsedProxyHeader, NotProxy, Malformed>;
// Accepts command PROXY over TCP only; a repeated type we know, or one whose text is empty, over-long or unprintable, a
// bad length or UDP/UNIX is Malformed; unknown types are skipped; PP2_TYPE_CRC32C, when present, must be right.
// `authority` is normalised or Malformed.
ProxyResult parse_proxy_header(ByteSpan bytes);

}  // namespace sluice::wire
