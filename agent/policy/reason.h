// Why a call was allowed or denied. The names are stable: the same in audit records, metrics, the CLI and HTTP bodies.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sluice {

enum class Reason : std::uint8_t {
  // allow
  registered,
  direct,
  // deny
  host_not_registered,
  port_not_registered,
  address_not_registered,
  not_exported,
  host_missing,
  sni_missing,
  hello_malformed,
  hello_conflict,
  hello_too_large,
  hello_timeout,
  not_tls,
  http_malformed,
  host_mismatch,
  ech_not_allowed,
  udp_not_allowed,
  protocol_not_allowed,
  source_spoofed,
  pod_unknown,
  policy_not_ready,
  no_gateway_route,
  gateway_unreachable,
  gateway_denied,
  address_forbidden,
  dns_failure,
  upstream_refused,
  upstream_timeout,
  policy_changed,
  overloaded,
  draining,
  audit_unavailable,
};
inline constexpr std::size_t reason_count = static_cast<std::size_t>(Reason::audit_unavailable) + 1;

// The stable name, e.g. "host_not_registered".
std::string_view to_string(Reason reason);
// The inverse of to_string().
std::optional<Reason> parse_reason(std::string_view name);
constexpr bool allows(Reason reason) {
  return reason <= Reason::direct;
}

}  // namespace sluice
