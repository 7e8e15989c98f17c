#include "egress/way.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::egress {
namespace {

Way unrouted(const std::string& route, const Request& request, const settings::Egress& settings) {
  switch (settings.unrouted) {
    case settings::Unrouted::gateway:
      return ByGateway{0, request.port, route};
    case settings::Unrouted::direct:
      return Direct{route};
    case settings::Unrouted::deny:
      break;
  }
  return NoWay{"no VirtualService leads the call to a gateway, and egress.unrouted is deny"};
}

bool is_itself(const std::string& host, const Request& request, const Verdict& verdict) {
  const auto& hosts = verdict.service->hosts;
  return host == request.host || std::find(hosts.begin(), hosts.end(), host) != hosts.end();
}

// Does a DestinationRule want the call inside TLS that somebody begins for it?
bool wants_tls(const Snapshot& snapshot, const Request& request, const Verdict& verdict) {
  if (is_tls(verdict.port->protocol)) return false;
  const auto name = request.host.empty() ? std::string_view(verdict.service->hosts.front()) : request.host;
  const PolicyScope scope{request.pod_namespace, verdict.service->namespace_name};
  const auto policy = snapshot.destination_rules().traffic_policy(name, verdict.port->number, "", scope);
  return policy && policy->tls && policy->tls->mode != ClientTlsMode::disable;
}

}  // namespace

Way find_way(const Snapshot& snapshot, const Request& request, const Verdict& verdict, const Snapshot::Caller& caller,
             const settings::Egress& settings) {
  auto way = choose_way(snapshot.route(request, verdict, caller), request, verdict, settings);
  if (std::holds_alternative<Direct>(way) && wants_tls(snapshot, request, verdict)) {
    return NoWay{"a DestinationRule wants TLS begun, which gateways do: the way is direct"};
  }
  return way;
}

Way choose_way(const Route& route, const Request& request, const Verdict& verdict, const settings::Egress& settings) {
  if (route.kind == Route::Kind::unrouted) return unrouted("default", request, settings);
  if (route.kind == Route::Kind::refused) return NoWay{fmt::format("{}: {}", route.rule, route.why)};
  const auto& destination = *route.destination;
  const auto& gateways = settings.gateways;
  const auto gateway = std::find_if(gateways.begin(), gateways.end(),
                                    [&](const settings::GatewayTarget& one) { return one.name == destination.host; });
  if (gateway != gateways.end()) {
    return ByGateway{static_cast<std::size_t>(gateway - gateways.begin()),
                     destination.port != 0 ? destination.port : request.port, route.rule};
  }
  if (is_itself(destination.host, request, verdict)) {
    const bool as_dialled = (destination.port == 0 || destination.port == request.port) && destination.subset.empty();
    if (settings.unrouted != settings::Unrouted::direct || as_dialled) return unrouted(route.rule, request, settings);
    return NoWay{fmt::format("{} leads to another port or a subset, which only a gateway does", route.rule)};
  }
  return NoWay{fmt::format("{} leads to {}, which is no gateway in egress.gateways", route.rule, destination.host)};
}

std::optional<serving::Refusal> refuse_ech(bool ech, const settings::Egress& settings) {
  if (!ech || settings.ech != settings::EchPolicy::deny) return std::nullopt;
  return serving::Refusal{Reason::ech_not_allowed, "the ClientHello is encrypted: only its outer name is known"};
}

}  // namespace sluice::egress
