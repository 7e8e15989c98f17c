#include "gateway/outgoing.h"

#include <fmt/format.h>

#include "policy/host_match.h"

namespace sluice::gateway {
namespace {

NoOutgoing refuse(const Route& route, std::string_view why) {
  return {fmt::format("{}: {}", route.rule, why)};
}

// What rules and policies know the service by: the name that was called, or the service's own.
std::string name_of(const Outgoing& outgoing) {
  return outgoing.host.empty() && !outgoing.service->hosts.empty() ? outgoing.service->hosts.front() : outgoing.host;
}

}  // namespace

const ClientTls* Outgoing::origination() const {
  if (!policy.tls || is_tls_call) return nullptr;
  return policy.tls->mode == ClientTlsMode::disable ? nullptr : &*policy.tls;
}

std::string Outgoing::key() const {
  return fmt::format("{} {} {}", service->rule(), host, port->number);
}

std::variant<Outgoing, NoOutgoing> choose_outgoing(const Snapshot& snapshot, const Route& route, const Request& request,
                                                   const Verdict& verdict, settings::Unrouted unrouted) {
  Outgoing outgoing{
      verdict.service, verdict.port, std::string(request.host), "default", is_tls(verdict.port->protocol), nullptr, {}};
  std::string subset;
  if (route.kind == Route::Kind::refused) return refuse(route, route.why);
  if (route.kind == Route::Kind::unrouted && unrouted == settings::Unrouted::deny) {
    return NoOutgoing{"no VirtualService routes the call at this gateway, and gateway.unrouted is deny"};
  }
  if (route.kind == Route::Kind::routed) {
    const auto& destination = *route.destination;
    const auto target =
        snapshot.find_destination(request.pod_namespace, destination.host, destination.port, request.port);
    if (!target.allowed()) {
      return refuse(route, fmt::format("destination {} is no service of namespace {} with such a port",
                                       destination.host, request.pod_namespace));
    }
    outgoing.service = target.service;
    outgoing.port = target.port;
    outgoing.route = route.rule;
    if (!is_wildcard(destination.host)) {
      outgoing.host = destination.host;
    } else if (!host_matches(destination.host, request.host)) {
      return refuse(route, fmt::format("destination {} does not cover {}", destination.host, request.host));
    }
    subset = destination.subset;
  }
  // Services that are found by port or address have no name to dial.
  if (!is_tls(outgoing.port->protocol) && !is_http(outgoing.port->protocol)) outgoing.host.clear();
  const auto name = name_of(outgoing);
  const PolicyScope scope{request.pod_namespace, outgoing.service->namespace_name};
  const auto policy = snapshot.destination_rules().traffic_policy(name, outgoing.port->number, subset, scope);
  if (!policy) return refuse(route, fmt::format("no DestinationRule of {} has subset {}", name, subset));
  outgoing.policy = *policy;
  if (!subset.empty()) outgoing.subset = snapshot.destination_rules().subset_labels(name, subset, scope);
  if (!outgoing.is_tls_call && is_tls(outgoing.port->protocol) && !outgoing.origination()) {
    return refuse(
        route, fmt::format("port {} is for TLS, and no DestinationRule of {} begins it", outgoing.port->number, name));
  }
  return outgoing;
}

}  // namespace sluice::gateway
