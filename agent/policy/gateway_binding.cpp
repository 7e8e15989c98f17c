#include "policy/gateway_binding.h"

#include <algorithm>
#include <optional>

#include "policy/host_match.h"
#include "policy/routing.h"

namespace sluice {
namespace {

constexpr std::uint8_t only(RouteKind kind) {
  return static_cast<std::uint8_t>(1U << static_cast<unsigned>(kind));
}

std::uint8_t kinds_of(const GatewayServer& server) {
  const bool names_tls = server.protocol == ServerProtocol::https || server.protocol == ServerProtocol::tls;
  if (server.tls_mode() == ServerTlsMode::istio_mutual) {
    const auto tcp = only(RouteKind::tcp);
    return server.protocol == ServerProtocol::https ? static_cast<std::uint8_t>(tcp | only(RouteKind::http)) : tcp;
  }
  if (names_tls)
    return server.tls_mode().value_or(ServerTlsMode::passthrough) == ServerTlsMode::passthrough ? only(RouteKind::tls)
                                                                                                : 0;
  if (server.protocol == ServerProtocol::tcp || server.protocol == ServerProtocol::mongo) return only(RouteKind::tcp);
  return only(RouteKind::http);
}

// The narrower of two names that overlap (pkg/config/host/names.go, Intersection).
std::optional<std::string> intersect(const std::string& left, const std::string& right) {
  if (host_covers(left, right)) return right;
  if (host_covers(right, left)) return left;
  return std::nullopt;
}

template <typename Rules>
bool any_match_names(const Rules& rules, const std::string& gateway) {
  for (const auto& rule : rules) {
    for (const auto& match : rule.matches) {
      if (match.gateways &&
          std::find(match.gateways->begin(), match.gateways->end(), gateway) != match.gateways->end()) {
        return true;
      }
    }
  }
  return false;
}

}  // namespace

bool names_gateway(const VirtualService& service, const std::string& gateway) {
  return std::find(service.gateways.begin(), service.gateways.end(), gateway) != service.gateways.end() ||
         any_match_names(service.http, gateway) || any_match_names(service.tls, gateway) ||
         any_match_names(service.tcp, gateway);
}

std::vector<std::string> shared_hosts(const GatewayServer& server, const std::string& namespace_name,
                                      const std::vector<std::string>& hosts) {
  std::vector<std::string> shared;
  for (const auto& own : server.hosts) {
    if (own.namespace_name != "*" && own.namespace_name != namespace_name) continue;
    for (const auto& wanted : hosts) {
      if (auto narrower = intersect(own.host, wanted)) shared.push_back(*std::move(narrower));
    }
  }
  return shared;
}

std::vector<BoundServer> bind_servers(const std::vector<Gateway>& gateways, const Labels& labels,
                                      const VirtualService& service) {
  std::vector<BoundServer> bound;
  for (const auto& gateway : gateways) {
    const auto name = gateway.object.to_string();
    if (!names_gateway(service, name) || !has_labels(labels, gateway.selector)) continue;
    for (const auto& server : gateway.servers) {
      const auto kinds = kinds_of(server);
      if (kinds == 0) continue;
      for (auto& host : shared_hosts(server, service.object.namespace_name, service.hosts))
        bound.push_back({server.port, kinds, std::move(host), name});
    }
  }
  return bound;
}

bool serves_host(const BoundServer& server, std::string_view host, const std::vector<std::string>& service_hosts) {
  if (!host.empty()) return host_matches(server.host, host);
  return std::any_of(service_hosts.begin(), service_hosts.end(),
                     [&](const std::string& one) { return hosts_overlap(server.host, one); });
}

}  // namespace sluice
