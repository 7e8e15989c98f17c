// Do calls to registered hosts get to an egress gateway, and on from there? SLU0008, SLU0009, SLU0010.
#include <algorithm>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

bool leaves_to_gateway(const std::vector<Destination>& destinations) {
  return std::any_of(destinations.begin(), destinations.end(),
                     [](const Destination& destination) { return is_cluster_host(destination.host); });
}

bool takes_sni(const ConnectionMatch& match, std::string_view host) {
  return std::any_of(match.sni_hosts.begin(), match.sni_hosts.end(),
                     [&](const std::string& sni) { return hosts_overlap(sni, host); });
}

// Has the VirtualService a rule at mesh that sends calls to this port of the host into the cluster, where gateways are?
bool steers(const VirtualService& service, std::string_view host, const ServicePort& port) {
  bool found = false;
  const auto consider = [&](const MatchPlace& place, const auto& rule, const auto* match, bool fits) {
    const bool at_port = match == nullptr || match->port.value_or(port.number) == port.number;
    found = found || (fits && at_port && applies_at(place, mesh_gateway) && leaves_to_gateway(rule.destinations));
  };
  each_match(service, service.http, "http", [&](const auto& place, const auto& rule, const auto* match) {
    consider(place, rule, match, is_http(port.protocol));
  });
  each_match(service, service.tls, "tls", [&](const auto& place, const auto& rule, const auto* match) {
    consider(place, rule, match, is_tls(port.protocol) && match != nullptr && takes_sni(*match, host));
  });
  each_match(service, service.tcp, "tcp", [&](const auto& place, const auto& rule, const auto* match) {
    consider(place, rule, match, !is_http(port.protocol));
  });
  return found;
}

bool is_steered(const World& world, const Service& service, const std::string& host, const ServicePort& port) {
  const auto* found = world.mesh_hosts.find_overlap(host, [&](const Located<VirtualService>* other) {
    return exports_overlap((*other)->export_to, service.export_to) && steers(*other->object, host, port);
  });
  return found != nullptr;
}

std::string describe_fix(const HostTable<const Located<Gateway>*>& gateways, const std::string& host) {
  const auto* gateway = gateways.find_overlap(host, [](const auto*) { return true; });
  return fmt::format("add a VirtualService with gateways [mesh, {}]",
                     gateway == nullptr ? "a Gateway" : (**gateway)->object.to_string());
}

void check_registered(World& world, const HostTable<const Located<Gateway>*>& gateways) {
  for (const auto& service : world.services) {
    if (service->location != Location::mesh_external || is_hidden(service->export_to)) continue;
    for (std::size_t i = 0; i < service->hosts.size(); ++i) {
      const auto& host = service->hosts[i];
      std::vector<std::uint16_t> unsteered;
      for (const auto& port : service->ports) {
        if (!is_steered(world, *service.object, host, port)) unsteered.push_back(port.number);
      }
      if (unsteered.empty()) continue;
      world.warn(service, "SLU0008", fmt::format("spec.hosts[{}]", i),
                 fmt::format("no VirtualService steers calls to {} at port {} to a gateway: with Istio they bypass it, "
                             "here `unrouted` decides; {}",
                             host, fmt::join(unsteered, ", "), describe_fix(gateways, host)));
    }
  }
}

// The first gateway, by its name in the VirtualService, that any rule applies at.
std::string first_gateway(const VirtualService& service) {
  std::string found;
  each_match(service, [&](const MatchPlace& place, const auto&, const auto*) {
    for (const auto& gateway : *place.gateways) {
      if (found.empty() && gateway != mesh_gateway) found = gateway;
    }
  });
  return found;
}

// A rule at a gateway that sends a host on to itself waits for calls that only the mesh's half can bring.
void check_mesh_half(World& world, const Located<VirtualService>& service) {
  const auto gateway = first_gateway(*service.object);
  if (gateway.empty() || applies_at(*service.object, mesh_gateway)) return;
  for (const auto& host : service->hosts) {
    if (!sends_on(*service.object, host)) continue;
    if (world.mesh_hosts.find_overlap(host, [](const auto*) { return true; }) != nullptr) continue;
    world.warn(
        service, "SLU0009", "spec.gateways",
        fmt::format("calls to {} never come to {}, since no rule for it applies to pods: add mesh, and a rule for "
                    "it that leads to the gateway's Service",
                    host, gateway));
    return;
  }
}

void check_gateway_half(World& world, const Located<VirtualService>& service,
                        const HostTable<const Located<Gateway>*>& gateways,
                        const HostTable<const Located<VirtualService>*>& gateway_halves) {
  std::string path;
  each_match(*service.object, [&](const MatchPlace& place, const auto& rule, const auto*) {
    if (path.empty() && applies_at(place, mesh_gateway) && leaves_to_gateway(rule.destinations)) path = place.path();
  });
  if (path.empty()) return;
  const auto any = [](const auto*) { return true; };
  for (const auto& host : service->hosts) {
    // A name of the outside that a Gateway waits for; anything else may well end at the Service itself.
    if (is_cluster_host(host) || world.service_hosts.find_overlap(host, any) == nullptr) continue;
    const auto* gateway = gateways.find_overlap(host, any);
    if (gateway == nullptr || gateway_halves.find_overlap(host, any) != nullptr) continue;
    const auto name = (**gateway)->object.to_string();
    world.warn(service, "SLU0010", path,
               fmt::format("leads calls to {} to a gateway where no rule is for them, and they end there: add {} to "
                           "spec.gateways, and a rule for it that leads to {}",
                           host, name, host));
    return;
  }
}

}  // namespace

void check_steering(World& world) {
  HostTable<const Located<Gateway>*> gateways;
  for (const auto& gateway : world.gateways) {
    for (const auto& server : gateway->servers) {
      for (const auto& host : server.hosts) gateways.add(host.host, &gateway);
    }
  }
  HostTable<const Located<VirtualService>*> gateway_halves;
  for (const auto& service : world.virtual_services) {
    if (first_gateway(*service.object).empty()) continue;
    for (const auto& host : service->hosts) gateway_halves.add(host, &service);
  }
  check_registered(world, gateways);
  for (const auto& service : world.virtual_services) {
    check_mesh_half(world, service);
    check_gateway_half(world, service, gateways, gateway_halves);
  }
}

}  // namespace sluice::resources
