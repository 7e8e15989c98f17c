// Host names as peers send them, brought to the one form that policy compares.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace sluice::wire {

// Lower-cases, strips one trailing dot. nullopt for: empty, over 255 bytes, an IP literal (also in the loose forms that
// resolvers take: "127.1", "0x7f.1", any name whose last label is a number), an empty label or one over 63 bytes, or
// any byte but letters, digits, '-', '_' and '.'.
std::optional<std::string> normalise_host(std::string_view name);

// An HTTP Host field or authority (RFC 9110 section 7.2): a host with an optional ":port" (1..65535). IP literals are
// allowed here: IPv4 as text, IPv6 in brackets; `host` is then the address's canonical text.
struct Authority {
  std::string host;
  std::optional<std::uint16_t> port;
  bool is_ip = false;
};
std::optional<Authority> parse_authority(std::string_view text);

}  // namespace sluice::wire
