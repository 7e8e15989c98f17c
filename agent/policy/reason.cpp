#include "policy/reason.h"

#include <array>

namespace sluice {
namespace {

constexpr std::array<std::string_view, reason_count> names = {
    "registered",
    "direct",
    "host_not_registered",
    "port_not_registered",
    "address_not_registered",
    "not_exported",
    "host_missing",
    "sni_missing",
    "hello_malformed",
    "hello_conflict",
    "hello_too_large",
    "hello_timeout",
    "not_tls",
    "http_malformed",
    "host_mismatch",
    "ech_not_allowed",
    "udp_not_allowed",
    "protocol_not_allowed",
    "source_spoofed",
    "pod_unknown",
    "policy_not_ready",
    "no_gateway_route",
    "gateway_unreachable",
    "gateway_denied",
    "address_forbidden",
    "dns_failure",
    "upstream_refused",
    "upstream_timeout",
    "policy_changed",
    "overloaded",
    "draining",
    "audit_unavailable",
};

}  // namespace

std::string_view to_string(Reason reason) {
  return names[static_cast<std::size_t>(reason)];
}

std::optional<Reason> parse_reason(std::string_view name) {
  for (std::size_t index = 0; index < names.size(); ++index) {
    if (names[index] == name) return static_cast<Reason>(index);
  }
  return std::nullopt;
}

}  // namespace sluice
