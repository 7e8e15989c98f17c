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

}  // namespace

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

}  // namespace sluice::egress
