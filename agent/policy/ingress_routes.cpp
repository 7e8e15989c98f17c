#include "policy/ingress_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "policy/delegates.h"
#include "policy/export_to.h"
#include "policy/gateway_binding.h"
#include "policy/host_match.h"
#include "policy/host_multimap.h"
#include "policy/oldest_first.h"

namespace sluice {
namespace {

using Content = IngressServer::Content;
using ListenerKind = IngressListener::Kind;

bool is_plain_tcp(ServerProtocol protocol) {
  return protocol == ServerProtocol::tcp || protocol == ServerProtocol::mongo;
}

ListenerKind kind_of(const GatewayServer& server) {
  if (server.tls) return ListenerKind::tls;
  return is_plain_tcp(server.protocol) ? ListenerKind::tcp : ListenerKind::http;
}

Content content_of(const GatewayServer& server) {
  if (!server.tls) return is_plain_tcp(server.protocol) ? Content::tcp : Content::http;
  if (!server.tls->ends_here()) return Content::passthrough;
  return server.protocol == ServerProtocol::https ? Content::http : Content::tcp;
}

constexpr std::string_view name_of(ListenerKind kind) {
  return kind == ListenerKind::tls ? "TLS" : kind == ListenerKind::http ? "plain HTTP" : "TCP";
}

// Servers are added to what is still a table by address and port.
class ListenerTable {
 public:
  std::vector<IngressListener> take() {
    std::vector<IngressListener> all;
    for (auto& [place, listener] : listeners_) {
      listener.number = static_cast<std::uint32_t>(all.size());
      all.push_back(std::move(listener));
    }
    return all;
  }

  // Why the server is left out; empty: it is not.
  std::string add(const IngressServer& server) {
    const auto& settings = *server.server;
    const auto mode = settings.tls_mode();
    if (mode == ServerTlsMode::auto_passthrough || mode == ServerTlsMode::istio_mutual)
      return "its TLS mode is between proxies of a mesh";
    const auto kind = kind_of(settings);
    const std::pair place(settings.port, std::string_view(settings.bind));
    const auto found = listeners_.find(place);
    if (found == listeners_.end()) {
      listeners_.emplace(place, IngressListener{kind, settings.bind, settings.port, {server}, 0});
      if (kind == ListenerKind::tls) take_hosts(place, server);
      return "";
    }
    auto& listener = found->second;
    if (listener.kind != kind || kind == ListenerKind::tcp) {
      return fmt::format("port {} is taken for {} by {}", settings.port, name_of(listener.kind),
                         listener.servers.front().name);
    }
    if (kind == ListenerKind::tls) {
      for (const auto& host : settings.hosts) {
        const auto taken = hosts_.find({place, host.host});
        if (taken != hosts_.end()) return fmt::format("{} has {} at port {}", taken->second, host.host, settings.port);
      }
      take_hosts(place, server);
    }
    listener.servers.push_back(server);
    return "";
  }

 private:
  using Place = std::pair<std::uint16_t, std::string_view>;

  void take_hosts(const Place& place, const IngressServer& server) {
    for (const auto& host : server.server->hosts) hosts_.try_emplace({place, host.host}, server.name);
  }

  std::map<Place, IngressListener> listeners_;
  std::map<std::pair<Place, std::string_view>, std::string_view> hosts_;  // of TLS servers, and whose they are
};

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

template <typename Match>
bool is_for(const Match& match, const VirtualService& service, const std::string& gateway, std::uint16_t port) {
  return has(match.gateways ? *match.gateways : service.gateways, gateway) && (!match.port || *match.port == port);
}

HostMultimap<const IngressServer*> index_servers(std::span<const IngressServer> servers) {
  std::vector<std::pair<std::string_view, const IngressServer*>> all;
  for (const auto& server : servers) {
    for (const auto& host : server.server->hosts) all.emplace_back(host.host, &server);
  }
  return HostMultimap<const IngressServer*>(std::move(all));
}

}  // namespace

std::string_view IngressRoute::reason() const {
  switch (kind) {
    case Kind::bad_path:
      return "ambiguous path";
    case Kind::no_server:
      return "no server";
    case Kind::no_virtual_service:
      return "no VirtualService bound to this gateway";
    case Kind::no_route:
      return "no route matched";
    case Kind::misdirected:
      return "misdirected request";
    case Kind::https_redirect:
    case Kind::redirect:
    case Kind::direct_response:
    case Kind::forward:
      return "";
  }
  return "";
}

struct IngressRoutes::Index {
  // An http rule, compiled once however many hosts have it.
  struct Rule {
    Rule(const HttpRule& its_rule, const VirtualService& service, const std::string& place)
        : rule(its_rule),
          virtual_service(service),
          name(fmt::format("{} {}", service.object.to_string(), place)),
          actions(its_rule) {
      matchers.reserve(rule.matches.size());
      for (const auto& match : rule.matches) matchers.emplace_back(match);
    }
    const HttpRule& rule;
    const VirtualService& virtual_service;
    const std::string name;
    const HttpActions actions;
    std::vector<HttpMatcher> matchers;
  };
  // One way into a rule: by one of its matches, or the only way of a rule without any.
  struct Entrance {
    const Rule* rule = nullptr;
    const HttpMatch* match = nullptr;
    const HttpMatcher* matcher = nullptr;

    bool is_catch_all() const { return matcher == nullptr || matcher->is_catch_all(); }
    bool takes(const HttpRequest& request) const {
      return matcher == nullptr || matcher->first_mismatch(request).empty();
    }
  };
  using Entrances = std::vector<Entrance>;  // in the order in which they are asked
  // What is there for one host.
  struct VirtualHost {
    std::string host;
    bool https_redirect = false;
    std::shared_ptr<const Entrances> entrances;  // null: no VirtualService
  };
  // What requests are looked up in: those of one TLS server, or of a listener for plain HTTP.
  using Site = HostMultimap<VirtualHost>;

  // The same for connections of one server.
  struct ConnectionPlace {
    const ConnectionRule* rule = nullptr;
    const VirtualService* virtual_service = nullptr;
    std::string name;
  };
  struct Relay {
    bool has_rules = false;
    HostMultimap<ConnectionPlace> by_host;  // by SNI; of tcp servers all are for "*"
  };

  Index(const std::vector<Gateway>& all, std::vector<VirtualService> virtual_services, Vantage its_vantage);

  void add_listeners();
  void add_rules();
  // Visits, oldest first, every VirtualService that may have rules for the server.
  template <typename Visit>
  void each_bound(const IngressServer& server, Visit visit) const;
  bool is_for_proxy(const HttpMatch& match) const;
  Entrances entrances_of(const VirtualService& service, const std::string& gateway, std::uint16_t port) const;
  Site make_site(std::span<const IngressServer> servers) const;
  Relay make_relay(const IngressServer& server) const;
  const std::string& gateway_of(const IngressServer& server) const { return gateway_names[server.number]; }

  const Vantage vantage;
  const std::vector<Gateway> gateways;  // oldest first
  const MergedServices merged;          // oldest first
  std::deque<std::string> server_names;
  std::vector<std::string> gateway_names;  // of each server
  std::vector<IngressListener> listeners;
  std::vector<SkippedServer> skipped;
  std::map<const VirtualService*, std::deque<Rule>> rules;
  // Of each listener:
  std::vector<HostMultimap<const IngressServer*>> server_hosts;
  std::vector<std::unique_ptr<const Site>> listener_sites;  // null unless it is for plain HTTP
  // Of each server:
  std::vector<std::unique_ptr<const Site>> server_sites;  // null unless it is HTTP within TLS
  std::vector<std::unique_ptr<const Relay>> relays;       // null for HTTP
};

IngressRoutes::Index::Index(const std::vector<Gateway>& all, std::vector<VirtualService> virtual_services,
                            Vantage its_vantage)
    : vantage(std::move(its_vantage)),
      gateways(oldest_first(all)),
      merged(merge_delegates(oldest_first(std::move(virtual_services)))) {
  add_listeners();
  add_rules();
  server_sites.resize(gateway_names.size());
  relays.resize(gateway_names.size());
  for (const auto& listener : listeners) {
    server_hosts.push_back(index_servers(listener.servers));
    const bool plain = listener.kind == ListenerKind::http;
    listener_sites.push_back(plain ? std::make_unique<const Site>(make_site(listener.servers)) : nullptr);
    if (plain) continue;
    for (const auto& server : listener.servers) {
      if (server.content == Content::http)
        server_sites[server.number] = std::make_unique<const Site>(make_site({&server, 1}));
      else
        relays[server.number] = std::make_unique<const Relay>(make_relay(server));
    }
  }
}

void IngressRoutes::Index::add_listeners() {
  ListenerTable table;
  for (const auto& gateway : gateways) {
    if (!has_labels(vantage.labels, gateway.selector)) continue;
    for (std::size_t i = 0; i < gateway.servers.size(); ++i) {
      const auto& settings = gateway.servers[i];
      const auto gateway_name = gateway.object.to_string();
      const auto& name = server_names.emplace_back(fmt::format("{} servers[{}]", gateway_name, i));
      const IngressServer server{content_of(settings), &settings, name,
                                 static_cast<std::uint32_t>(gateway_names.size())};
      if (auto why = table.add(server); !why.empty())
        skipped.push_back({name, std::move(why)});
      else
        gateway_names.push_back(gateway_name);
    }
  }
  listeners = table.take();
}

void IngressRoutes::Index::add_rules() {
  for (std::size_t s = 0; s < merged.services.size(); ++s) {
    const auto& service = merged.services[s];
    if (!is_exported_to(service.export_to, vantage.namespace_name)) continue;
    const bool named = std::any_of(gateway_names.begin(), gateway_names.end(),
                                   [&](const std::string& gateway) { return names_gateway(service, gateway); });
    if (!named) continue;
    auto& compiled = rules[&service];
    for (std::size_t r = 0; r < service.http.size(); ++r)
      compiled.emplace_back(service.http[r], service, merged.rule_names[s][r]);
  }
}

template <typename Visit>
void IngressRoutes::Index::each_bound(const IngressServer& server, Visit visit) const {
  for (const auto& service : merged.services) {
    if (rules.contains(&service) && names_gateway(service, gateway_of(server))) visit(service);
  }
}

// Source labels and namespace are compared with the ingress's own, unless gateways are named, as Istio does: rules for
// the pods of a mesh are none for strangers.
bool IngressRoutes::Index::is_for_proxy(const HttpMatch& match) const {
  if (match.gateways) return true;
  return has_labels(vantage.labels, match.source_labels) &&
         (match.source_namespace.empty() || match.source_namespace == vantage.namespace_name);
}

IngressRoutes::Index::Entrances IngressRoutes::Index::entrances_of(const VirtualService& service,
                                                                   const std::string& gateway,
                                                                   std::uint16_t port) const {
  Entrances entrances;
  for (const auto& rule : rules.at(&service)) {
    const auto& matches = rule.rule.matches;
    if (matches.empty() && has(service.gateways, gateway)) entrances.push_back({&rule, nullptr, nullptr});
    for (std::size_t m = 0; m < matches.size(); ++m) {
      if (is_for(matches[m], service, gateway, port) && is_for_proxy(matches[m]))
        entrances.push_back({&rule, &matches[m], &rule.matchers[m]});
    }
    // What comes behind is never reached.
    if (std::any_of(entrances.begin(), entrances.end(), [](const Entrance& one) { return one.is_catch_all(); })) break;
  }
  return entrances;
}

IngressRoutes::Index::Site IngressRoutes::Index::make_site(std::span<const IngressServer> servers) const {
  // The VirtualServices that have rules for a host, each with the Gateway that binds it.
  using Sources = std::vector<std::pair<const VirtualService*, const std::string*>>;
  struct Found {
    bool https_redirect = false;
    Sources sources;
  };
  std::map<std::string, Found> found;
  std::map<std::pair<const VirtualService*, std::string>, Entrances> by_source;
  for (const auto& server : servers) {
    for (const auto& host : server.server->hosts) {
      if (server.server->https_redirect) found[host.host].https_redirect = true;
    }
    each_bound(server, [&](const VirtualService& service) {
      const auto& gateway = gateway_of(server);
      const auto [place, is_new] = by_source.try_emplace({&service, gateway});
      if (is_new) place->second = entrances_of(service, gateway, server.server->port);
      if (place->second.empty()) return;
      for (const auto& host : shared_hosts(*server.server, service.object.namespace_name, service.hosts)) {
        auto& one = found[host];
        one.https_redirect = one.https_redirect || server.server->https_redirect;
        const std::pair source(&service, &place->first.second);
        if (std::find(one.sources.begin(), one.sources.end(), source) == one.sources.end())
          one.sources.push_back(source);
      }
    });
  }
  std::map<Sources, std::shared_ptr<const Entrances>> shared;
  std::vector<std::pair<std::string_view, VirtualHost>> hosts;
  for (auto& [host, one] : found) {
    // Services stand in one array, oldest first.
    std::sort(one.sources.begin(), one.sources.end());
    auto& entrances = shared[one.sources];
    if (!entrances && !one.sources.empty()) {
      Entrances all;
      for (const auto& [service, gateway] : one.sources) {
        const auto& its = by_source.at({service, *gateway});
        all.insert(all.end(), its.begin(), its.end());
      }
      std::stable_partition(all.begin(), all.end(), [](const Entrance& entrance) { return !entrance.is_catch_all(); });
      entrances = std::make_shared<const Entrances>(std::move(all));
    }
    hosts.emplace_back(host, VirtualHost{host, one.https_redirect, entrances});
  }
  return Site(std::move(hosts));
}

IngressRoutes::Index::Relay IngressRoutes::Index::make_relay(const IngressServer& server) const {
  const auto port = server.server->port;
  const auto& gateway = gateway_of(server);
  const bool by_sni = server.content == Content::passthrough;
  std::vector<std::pair<std::string, ConnectionPlace>> places;
  bool has_rules = false;
  each_bound(server, [&](const VirtualService& service) {
    const auto& own_namespace = service.object.namespace_name;
    if (shared_hosts(*server.server, own_namespace, service.hosts).empty()) return;
    const auto& list = by_sni ? service.tls : service.tcp;
    for (std::size_t r = 0; r < list.size(); ++r) {
      has_rules = true;
      const ConnectionPlace place{&list[r], &service,
                                  fmt::format("{} {}[{}]", service.object.to_string(), by_sni ? "tls" : "tcp", r)};
      if (list[r].matches.empty() && !by_sni && has(service.gateways, gateway)) places.emplace_back("*", place);
      for (const auto& match : list[r].matches) {
        if (!is_for(match, service, gateway, port)) continue;
        if (!by_sni) places.emplace_back("*", place);
        for (auto& host : shared_hosts(*server.server, own_namespace, match.sni_hosts))
          places.emplace_back(std::move(host), place);
      }
    }
  });
  std::vector<std::pair<std::string_view, ConnectionPlace>> views;
  for (auto& [host, place] : places) views.emplace_back(host, std::move(place));
  return {has_rules, HostMultimap<ConnectionPlace>(std::move(views))};
}

IngressRoutes::IngressRoutes(const std::vector<Gateway>& gateways, std::vector<VirtualService> virtual_services,
                             const Vantage& vantage)
    : index_(std::make_unique<const Index>(gateways, std::move(virtual_services), vantage)) {}
IngressRoutes::~IngressRoutes() = default;

std::span<const IngressListener> IngressRoutes::listeners() const {
  return index_->listeners;
}

const std::vector<SkippedServer>& IngressRoutes::skipped() const {
  return index_->skipped;
}

const IngressServer* IngressRoutes::find_server(const IngressListener& listener, std::string_view sni) const {
  const auto& hosts = index_->server_hosts[listener.number];
  const auto found = hosts.match(sni);
  return found.ids().empty() ? nullptr : hosts.entries(found.ids().front()).front();
}

IngressRoute IngressRoutes::route(const IngressListener& listener, const IngressServer* server, std::string_view host,
                                  const HttpRequest& request) const {
  using Kind = IngressRoute::Kind;
  IngressRoute route;
  if (!has_one_reading(request.path)) {
    route.kind = Kind::bad_path;
    return route;
  }
  const auto* own = find_server(listener, host);
  if (own == nullptr) return route;
  if (listener.kind == ListenerKind::tls && own != server) {
    route.kind = Kind::misdirected;
    return route;
  }
  const auto* site =
      server != nullptr ? index_->server_sites[server->number].get() : index_->listener_sites[listener.number].get();
  if (site == nullptr) return route;
  const auto found = site->match(host);
  if (found.ids().empty()) {
    route.kind = Kind::no_virtual_service;
    return route;
  }
  const auto& virtual_host = site->entries(found.ids().front()).front();
  route.host = virtual_host.host;
  route.kind = virtual_host.https_redirect ? Kind::https_redirect
               : virtual_host.entrances    ? Kind::no_route
                                           : Kind::no_virtual_service;
  if (route.kind != Kind::no_route) return route;
  for (const auto& entrance : *virtual_host.entrances) {
    if (!entrance.takes(request)) continue;
    const auto& rule = *entrance.rule;
    route.kind = rule.rule.redirect          ? Kind::redirect
                 : rule.rule.direct_response ? Kind::direct_response
                                             : Kind::forward;
    route.rule = &rule.rule;
    route.actions = &rule.actions;
    route.match = entrance.match;
    route.virtual_service = &rule.virtual_service;
    route.name = rule.name;
    return route;
  }
  return route;
}

IngressConnectionRoute IngressRoutes::route_connection(const IngressServer& server, std::string_view sni) const {
  using Kind = IngressConnectionRoute::Kind;
  IngressConnectionRoute route;
  const auto* relay = index_->relays[server.number].get();
  if (relay == nullptr || !relay->has_rules) return route;
  route.kind = Kind::no_route;
  const auto found = relay->by_host.match(server.content == Content::passthrough ? sni : std::string_view());
  if (found.ids().empty()) return route;
  const auto& place = relay->by_host.entries(found.ids().front()).front();
  return {Kind::forward, place.rule, place.virtual_service, place.name};
}

}  // namespace sluice
