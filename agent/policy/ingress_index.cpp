#include "policy/ingress_index.h"

#include <algorithm>
#include <iterator>

#include "policy/export_to.h"
#include "policy/gateway_binding.h"
#include "policy/listener_table.h"
#include "policy/oldest_first.h"

namespace sluice {
namespace {

using Content = IngressServer::Content;

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
    const bool plain = listener.kind == IngressListener::Kind::http;
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
      for (const bool catch_all : {false, true}) {  // those that take any request come last
        for (const auto& [service, gateway] : one.sources) {
          const auto& its = by_source.at({service, *gateway});
          std::copy_if(its.begin(), its.end(), std::back_inserter(all),
                       [&](const Entrance& entrance) { return entrance.is_catch_all() == catch_all; });
        }
      }
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
  views.reserve(places.size());
  for (auto& [host, place] : places) views.emplace_back(host, std::move(place));
  return {has_rules, HostMultimap<ConnectionPlace>(std::move(views))};
}

}  // namespace sluice
