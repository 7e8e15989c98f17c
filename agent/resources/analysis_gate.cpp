// Which ports cannot be gated: SLU0019.
#include <map>
#include <set>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

// A rule of the mesh that leads calls of a port into the cluster.
struct Lead {
  const Located<VirtualService>* service;
  std::string path;
  std::string host;
};

// The ports that a match without one is about: those of the services behind the VirtualService's hosts.
std::set<std::uint16_t> ports_of(const World& world, const Located<VirtualService>& service,
                                 const ConnectionMatch* match) {
  if (match != nullptr && match->port) return {*match->port};
  std::set<std::uint16_t> ports;
  for (const auto& host : service->hosts) {
    const auto* found = world.service_hosts.find_overlap(host, [](const auto*) { return true; });
    if (found == nullptr) continue;
    for (const auto& port : (**found)->ports) ports.insert(port.number);
  }
  return ports;
}

}  // namespace

// The name comes after the connection is begun, so a port whose calls may go to different gateways is relayed.
void check_gate(World& world) {
  std::map<std::uint16_t, Lead> leads;
  for (const auto& service : world.virtual_services) {
    const auto consider = [&](const MatchPlace& place, const ConnectionRule& rule, const ConnectionMatch* match) {
      if (!applies_at(place, mesh_gateway)) return;
      for (const auto& destination : rule.destinations) {
        if (!is_cluster_host(destination.host)) continue;
        for (const auto port : ports_of(world, service, match)) {
          const auto& first = leads.try_emplace(port, Lead{&service, place.path(), destination.host}).first->second;
          if (first.host == destination.host) continue;
          world.warn(service, "SLU0019", place.path(),
                     fmt::format("calls at port {} go to {} here and to {} by {} {}: where they may go to different "
                                 "gateways the node relays them instead of deciding in flight; one gateway for a port "
                                 "is faster",
                                 port, destination.host, first.host, (*first.service)->object.to_string(), first.path));
          return;
        }
      }
    };
    each_match(*service.object, service->tls, "tls", consider);
    each_match(*service.object, service->tcp, "tcp", consider);
  }
}

}  // namespace sluice::resources
