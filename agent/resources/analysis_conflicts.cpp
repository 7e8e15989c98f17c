// Two objects that claim the same: hosts of the mesh (IST0109), SNI hosts (SLU0013), registrations (SLU0017).
#include <algorithm>
#include <map>
#include <tuple>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

// The same host in one scope, or in everybody's and a narrower one with a wildcard around it.
bool conflict(const VirtualService& a, std::string_view a_host, const VirtualService& b, std::string_view b_host) {
  if (a.export_to.empty() != b.export_to.empty()) return hosts_overlap(a_host, b_host);
  return a_host == b_host && exports_overlap(a.export_to, b.export_to);
}

void check_mesh_hosts(World& world) {
  struct Entry {
    const VirtualService* service;
    std::string_view host;
  };
  HostTable<Entry> seen;
  for (const auto& service : world.virtual_services) {
    if (!is_mesh(*service.object)) continue;
    for (std::size_t i = 0; i < service->hosts.size(); ++i) {
      const auto& host = service->hosts[i];
      const auto* other = seen.find_overlap(host, [&](const Entry& entry) {
        return entry.service != service.object && conflict(*entry.service, entry.host, *service.object, host);
      });
      if (other != nullptr) {
        world.fail(
            service, "IST0109", fmt::format("spec.hosts[{}]", i),
            fmt::format("VirtualService {} has {} for the mesh already, and Istio does not say which one counts: "
                        "merge them",
                        other->service->object.to_string(), other->host));
      }
    }
    for (const auto& host : service->hosts) seen.add(host, {service.object, host});
  }
}

std::vector<std::uint16_t> tls_ports(const Gateway& gateway) {
  std::vector<std::uint16_t> ports;
  for (const auto& server : gateway.servers) {
    if (server.tls_mode() == ServerTlsMode::passthrough) ports.push_back(server.port);
  }
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  return ports;
}

void check_sni_hosts(World& world) {
  std::map<std::tuple<std::string, std::uint16_t, std::string>, const VirtualService*> seen;
  const auto claim = [&](const Located<VirtualService>& service, const Gateway& gateway, std::uint16_t port,
                         const ConnectionMatch& match, const std::string& path) {
    for (std::size_t i = 0; i < match.sni_hosts.size(); ++i) {
      const auto [entry, first] =
          seen.try_emplace({gateway.object.to_string(), port, match.sni_hosts[i]}, service.object);
      if (first || entry->second == service.object) continue;
      world.warn(service, "SLU0013", fmt::format("{}.sniHosts[{}]", path, i),
                 fmt::format("VirtualService {} has {} at port {} of Gateway {} already, and Istio skips this one: "
                             "remove one",
                             entry->second->object.to_string(), match.sni_hosts[i], port, gateway.object.to_string()));
    }
  };
  for (const auto& service : world.virtual_services) {
    each_match(*service.object, service->tls, "tls",
               [&](const MatchPlace& place, const ConnectionRule&, const ConnectionMatch* match) {
                 if (match == nullptr) return;
                 for (const auto& name : *place.gateways) {
                   const auto* gateway = world.find_gateway(name);
                   if (gateway == nullptr) continue;
                   for (const auto port : tls_ports(*gateway->object)) {
                     if (match->port.value_or(port) == port)
                       claim(service, *gateway->object, port, *match, place.path());
                   }
                 }
               });
  }
}

// With two protocols it is IST0177.
void check_registrations(World& world) {
  constexpr std::size_t max_compared = 16;
  std::map<std::tuple<std::string_view, std::uint16_t, Protocol>, std::vector<const Service*>> seen;
  for (const auto& service : world.services) {
    for (std::size_t i = 0; i < service->hosts.size(); ++i) {
      const Service* found = nullptr;
      std::uint16_t at = 0;
      for (const auto& port : service->ports) {
        auto& others = seen[{service->hosts[i], port.number, port.protocol}];
        const auto other = std::find_if(others.begin(), others.end(), [&](const Service* one) {
          return one->namespace_name != service->namespace_name && exports_overlap(one->export_to, service->export_to);
        });
        if (found == nullptr && other != others.end()) {
          found = *other;
          at = port.number;
        }
        if (others.size() < max_compared) others.push_back(service.object);
      }
      if (found == nullptr) continue;
      world.warn(service, "SLU0017", fmt::format("spec.hosts[{}]", i),
                 fmt::format("ServiceEntry {} of another namespace registers {}:{} too and counts where both are seen: "
                             "keep one, or narrow exportTo",
                             found->rule(), service->hosts[i], at));
    }
  }
}

}  // namespace

void check_conflicts(World& world) {
  check_mesh_hosts(world);
  check_sni_hosts(world);
  check_registrations(world);
}

}  // namespace sluice::resources
