// Gateway servers against each other (IST0138, IST0145, SLU0018) and against their VirtualServices (SLU0014, SLU0015).
#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_compared = 16;

struct ServerPlace {
  const Located<Gateway>* gateway;
  std::size_t index;

  const GatewayServer& server() const { return (*gateway)->servers[index]; }
  std::string path() const { return fmt::format("spec.servers[{}]", index); }
};

// The earlier servers under one key, by age of their Gateways.
template <typename Key>
class Earlier {
 public:
  // The first earlier one that `conflicts`; `place` is one of them from now on.
  template <typename Conflicts>
  const ServerPlace* add(const Key& key, const ServerPlace& place, Conflicts conflicts) {
    auto& places = places_[key];
    found_ = std::find_if(places.begin(), places.end(), conflicts) - places.begin();
    const auto count = static_cast<std::ptrdiff_t>(places.size());
    if (places.size() < max_compared) places.push_back(place);
    return found_ < count ? &places[static_cast<std::size_t>(found_)] : nullptr;
  }

 private:
  std::map<Key, std::vector<ServerPlace>> places_;
  std::ptrdiff_t found_ = 0;
};

template <typename Visit>
void each_server(const World& world, Visit visit) {
  for (const auto& gateway : world.gateways) {
    for (std::size_t i = 0; i < gateway->servers.size(); ++i) visit(ServerPlace{&gateway, i});
  }
}

bool share_workloads(const ServerPlace& a, const ServerPlace& b) {
  return selectors_overlap((*a.gateway)->selector, (*b.gateway)->selector);
}

void check_certificates(World& world) {
  Earlier<std::tuple<std::vector<std::string>, std::string, std::string>> earlier;
  each_server(world, [&](const ServerPlace& place) {
    const auto& server = place.server();
    if (!server.tls || (server.tls->credentials.empty() && server.tls->files.empty())) return;
    const auto files = server.tls->files.empty() ? CertificateFiles() : server.tls->files.front();
    const auto* other = earlier.add(
        {server.tls->credentials, files.certificate, files.private_key}, place,
        [&](const ServerPlace& one) { return one.gateway != place.gateway && share_workloads(one, place); });
    if (other == nullptr) return;
    world.warn(*place.gateway, "IST0138", place.path() + ".tls",
               fmt::format("Gateway {} has the same certificate for the same workloads, and HTTP/2 clients reuse "
                           "connections across both: put the hosts into one Gateway",
                           (*other->gateway)->object.to_string()));
  });
}

enum class Kind : std::uint8_t { http, tls, tcp };

Kind kind_of(const GatewayServer& server) {
  if (server.tls) return Kind::tls;
  return server.protocol == ServerProtocol::tcp || server.protocol == ServerProtocol::mongo ? Kind::tcp : Kind::http;
}

constexpr std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::http:
      return "plain HTTP";
    case Kind::tls:
      return "TLS";
    case Kind::tcp:
      return "TCP";
  }
  return "";
}

// Servers with TLS are told apart by SNI alone, whatever namespaces they are open to.
std::string key_of(Kind kind, const ServerHost& host) {
  return kind == Kind::tls ? host.host : host.namespace_name + "/" + host.host;
}

// Two Gateways with one host: IST0145. Otherwise Istio keeps the first server and skips the other without a word, when
// they differ in kind or, with TLS, share a host.
void check_ports(World& world) {
  Earlier<std::tuple<std::uint16_t, std::string>> kinds;
  Earlier<std::tuple<std::uint16_t, std::string, std::string>> hosts;
  each_server(world, [&](const ServerPlace& place) {
    const auto& server = place.server();
    const auto kind = kind_of(server);
    const auto* first = kinds.add({server.port, server.bind}, place, [&](const ServerPlace& one) {
      return share_workloads(one, place) && kind_of(one.server()) != kind;
    });
    if (first != nullptr) {
      world.warn(
          *place.gateway, "SLU0018", place.path() + ".port",
          fmt::format("port {} is taken for {} by {} of Gateway {}, and Istio skips this server: use another port",
                      server.port, name_of(kind_of(first->server())), first->path(),
                      (*first->gateway)->object.to_string()));
    }
    for (std::size_t h = 0; h < server.hosts.size(); ++h) {
      const auto& host = server.hosts[h];
      const auto* other = hosts.add({server.port, server.bind, key_of(kind, host)}, place,
                                    [&](const ServerPlace& one) { return share_workloads(one, place); });
      if (other == nullptr) continue;
      const auto path = fmt::format("{}.hosts[{}]", place.path(), h);
      if (other->gateway != place.gateway) {
        world.fail(*place.gateway, "IST0145", path,
                   fmt::format("Gateway {} has {} at port {} of the same workloads already: remove one",
                               (*other->gateway)->object.to_string(), host.host, server.port));
      } else if (kind == Kind::tls && other->index != place.index) {
        world.warn(*place.gateway, "SLU0018", path,
                   fmt::format("{} has {} already, and Istio skips this server: remove one", other->path(), host.host));
      }
    }
  });
}

// What VirtualServices bound to a server have for it.
struct Bound {
  const VirtualService* with_http = nullptr;
  const VirtualService* with_tls = nullptr;
  const VirtualService* with_tcp = nullptr;
};

using ByGateway = std::multimap<std::string, const VirtualService*>;

ByGateway services_by_gateway(const World& world) {
  ByGateway services;
  for (const auto& service : world.virtual_services) {
    std::set<std::string> names;
    each_match(*service.object, [&](const MatchPlace& place, const auto&, const auto*) {
      names.insert(place.gateways->begin(), place.gateways->end());
    });
    for (const auto& name : names) services.emplace(name, service.object);
  }
  return services;
}

template <typename Rule>
bool has_rule_at(const VirtualService& service, const std::vector<Rule>& rules, std::string_view gateway) {
  bool found = false;
  each_match(service, rules, "",
             [&](const MatchPlace& place, const auto&, const auto*) { found = found || applies_at(place, gateway); });
  return found;
}

Bound find_bound(const ByGateway& services, const Gateway& gateway, const GatewayServer& server) {
  Bound bound;
  const auto name = gateway.object.to_string();
  const auto [begin, end] = services.equal_range(name);
  for (auto entry = begin; entry != end; ++entry) {
    const auto& service = *entry->second;
    const bool here = std::any_of(service.hosts.begin(), service.hosts.end(),
                                  [&](const std::string& host) { return serves(server, service, host); });
    if (!here) continue;
    if (has_rule_at(service, service.http, name)) bound.with_http = &service;
    if (has_rule_at(service, service.tls, name)) bound.with_tls = &service;
    if (has_rule_at(service, service.tcp, name)) bound.with_tcp = &service;
  }
  return bound;
}

void check_rules_of_servers(World& world) {
  const auto services = services_by_gateway(world);
  each_server(world, [&](const ServerPlace& place) {
    const auto& server = place.server();
    if (!server.tls) return;
    const auto bound = find_bound(services, *place.gateway->object, server);
    if (bound.with_tcp != nullptr) return;
    if (server.tls->mode == ServerTlsMode::passthrough && bound.with_http != nullptr && bound.with_tls == nullptr) {
      world.warn(*place.gateway, "SLU0014", place.path(),
                 fmt::format("passes TLS through, but VirtualService {} has http rules only, which cannot look inside: "
                             "give it tls rules, or end TLS here",
                             bound.with_http->object.to_string()));
    }
    if (server.tls->ends_here() && bound.with_tls != nullptr && bound.with_http == nullptr) {
      world.warn(*place.gateway, "SLU0015", place.path(),
                 fmt::format("ends TLS, but VirtualService {} has tls rules only, which are for TLS that passes "
                             "through: give it http rules, or set mode PASSTHROUGH",
                             bound.with_tls->object.to_string()));
    }
  });
}

}  // namespace

void check_servers(World& world) {
  check_certificates(world);
  check_ports(world);
  check_rules_of_servers(world);
}

}  // namespace sluice::resources
