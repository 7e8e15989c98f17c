// VirtualServices and the Gateways that they name: hosts (IST0132, SLU0012) and namespaces (SLU0016).
#include <algorithm>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

std::string hosts_of(const Gateway& gateway) {
  constexpr std::size_t max_shown = 5;
  std::vector<std::string> hosts;
  for (const auto& server : gateway.servers) {
    for (const auto& host : server.hosts) {
      if (std::find(hosts.begin(), hosts.end(), host.host) == hosts.end()) hosts.push_back(host.host);
    }
  }
  const auto more = hosts.size() > max_shown ? fmt::format(" and {} more", hosts.size() - max_shown) : "";
  hosts.resize(std::min(hosts.size(), max_shown));
  return fmt::format("{}{}", fmt::join(hosts, ", "), more);
}

bool serves_any(const Gateway& gateway, const VirtualService& service) {
  return std::any_of(service.hosts.begin(), service.hosts.end(),
                     [&](const std::string& host) { return serves(gateway, service, host); });
}

// One that is not there is looked at as the one that is probably meant.
void check_gateway(World& world, const Located<VirtualService>& service, const std::string& name) {
  const auto* gateway = world.find_gateway(name);
  const auto* meant = gateway == nullptr ? suggest_gateway(world, name) : gateway;
  if (meant == nullptr || world.is_rejected_gateway(name)) return;
  if (!serves_any(*meant->object, *service.object)) {
    world.warn(service, "IST0132", "spec.hosts",
               fmt::format("none of {} is a host of Gateway {}, which has {}: make them agree",
                           fmt::join(service->hosts, ", "), (*meant)->object.to_string(), hosts_of(*meant->object)));
  }
  if (gateway != nullptr && !is_exported_to(service->export_to, (*gateway)->object.namespace_name)) {
    world.warn(service, "SLU0016", "spec.exportTo",
               fmt::format("namespace {} of Gateway {} does not see this VirtualService: add it",
                           (*gateway)->object.namespace_name, name));
  }
}

// A host is served by any of the gateways; the mesh's own hosts need none.
void check_partial(World& world, const Located<VirtualService>& service) {
  std::vector<const Located<Gateway>*> gateways;
  for (const auto& name : service->gateways) {
    if (name == mesh_gateway) continue;
    const auto* gateway = world.find_gateway(name);
    if (gateway == nullptr || !serves_any(*gateway->object, *service.object)) return;
    gateways.push_back(gateway);
  }
  if (gateways.empty()) return;
  for (std::size_t i = 0; i < service->hosts.size(); ++i) {
    const auto& host = service->hosts[i];
    if (is_mesh(*service.object) && is_cluster_host(host)) continue;
    const bool served = std::any_of(gateways.begin(), gateways.end(), [&](const Located<Gateway>* gateway) {
      return serves(*gateway->object, *service.object, host);
    });
    if (served) continue;
    world.warn(service, "SLU0012", fmt::format("spec.hosts[{}]", i),
               fmt::format("{} is no host of Gateway {}, so no rule applies to it there: add it to the Gateway", host,
                           (*gateways.front())->object.to_string()));
  }
}

}  // namespace

void check_bindings(World& world) {
  for (const auto& service : world.virtual_services) {
    if (service->hosts.empty()) continue;
    for (const auto& name : service->gateways) {
      if (name != mesh_gateway) check_gateway(world, service, name);
    }
    check_partial(world, service);
  }
}

}  // namespace sluice::resources
