#include "policy/routing_index.h"

#include <algorithm>

#include "policy/export_to.h"
#include "policy/host_match.h"
#include "policy/oldest_first.h"

namespace sluice {

Routing::Index::Index(const std::vector<Gateway>& gateways, std::vector<VirtualService> its_services,
                      Vantage its_vantage)
    : vantage(std::move(its_vantage)),
      services(oldest_first(std::move(its_services))),
      entries(make_entries(gateways)),
      tls(tls_places(entries)),
      http(places(entries, [](const VirtualService& service) { return !service.http.empty(); })),
      tcp(places(entries, [](const VirtualService& service) { return !service.tcp.empty(); })) {}

std::vector<Routing::Index::Entry> Routing::Index::make_entries(const std::vector<Gateway>& gateways) const {
  std::vector<Entry> made;
  made.reserve(services.size());
  for (const auto& service : services) {
    Entry entry{&service, {}, {}};
    if (!vantage.is_mesh) entry.servers = bind_servers(gateways, vantage.labels, service);
    for (const auto& rule : service.http) {
      std::vector<HttpMatcher> matchers;
      matchers.reserve(rule.matches.size());
      for (const auto& match : rule.matches) matchers.emplace_back(match);
      entry.http.push_back(std::move(matchers));
    }
    made.push_back(std::move(entry));
  }
  return made;
}

std::vector<std::pair<std::string_view, Routing::Index::TlsPlace>> Routing::Index::tls_places(
    const std::vector<Entry>& entries) {
  std::vector<std::pair<std::string_view, TlsPlace>> all;
  for (const auto& entry : entries) {
    const auto& rules = entry.service->tls;
    for (std::uint32_t rule = 0; rule < rules.size(); ++rule) {
      for (std::uint32_t match = 0; match < rules[rule].matches.size(); ++match) {
        for (const auto& host : rules[rule].matches[match].sni_hosts)
          all.emplace_back(host, TlsPlace{&entry, rule, match});
      }
    }
  }
  return all;
}

std::vector<std::pair<std::string_view, const Routing::Index::Entry*>> Routing::Index::places(
    const std::vector<Entry>& entries, bool (*has_rules)(const VirtualService&)) {
  std::vector<std::pair<std::string_view, const Entry*>> all;
  for (const auto& entry : entries) {
    if (!has_rules(*entry.service)) continue;
    for (const auto& host : entry.service->hosts) all.emplace_back(host, &entry);
  }
  return all;
}

bool Routing::Index::is_visible(const Entry& entry, const RouteQuery& query) const {
  return is_exported_to(entry.service->export_to, vantage.is_mesh ? query.pod_namespace : vantage.namespace_name);
}

bool Routing::Index::is_bound(const Entry& entry, RouteKind kind,
                              const std::optional<std::vector<std::string>>& of_match, const RouteQuery& query) const {
  const auto& names = of_match ? *of_match : entry.service->gateways;
  const auto named = [&](std::string_view name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (vantage.is_mesh) return named(mesh_gateway);
  return std::any_of(entry.servers.begin(), entry.servers.end(), [&](const BoundServer& server) {
    return server.port == query.port && server.serves(kind) && named(server.gateway) &&
           serves_host(server, query.host, *query.service_hosts);
  });
}

std::string_view Routing::Index::source_mismatch(const Labels& labels, const std::string& namespace_name,
                                                 const RouteQuery& query) const {
  if (!vantage.is_mesh) return {};
  if (!namespace_name.empty() && namespace_name != query.pod_namespace) return "sourceNamespace is another";
  if (labels.empty()) return {};
  return query.pod_labels && has_labels(*query.pod_labels, labels) ? "" : "the pod does not have the sourceLabels";
}

std::string_view Routing::Index::mismatch(const Entry& entry, RouteKind kind, const ConnectionMatch& match,
                                          const RouteQuery& query) const {
  if (!is_bound(entry, kind, match.gateways, query)) return "gateways does not name the one at hand";
  if (match.port && *match.port != query.port) return "port is another";
  const bool sni_fits = std::any_of(match.sni_hosts.begin(), match.sni_hosts.end(),
                                    [&](const std::string& host) { return host_matches(host, query.host); });
  if (!match.sni_hosts.empty() && !sni_fits) return "none of sniHosts matches";
  if (!vantage.is_mesh) return {};
  if (!match.destination_subnets.empty() && !contains(match.destination_subnets, query.destination)) {
    return "the address is in none of destinationSubnets";
  }
  return source_mismatch(match.source_labels, match.source_namespace, query);
}

std::string_view Routing::Index::mismatch(const Entry& entry, const HttpMatch& match, const HttpMatcher& matcher,
                                          const RouteQuery& query) const {
  if (!is_bound(entry, RouteKind::http, match.gateways, query)) return "gateways does not name the one at hand";
  if (match.port && *match.port != query.port) return "port is another";
  if (const auto source = source_mismatch(match.source_labels, match.source_namespace, query); !source.empty()) {
    return source;
  }
  return query.http ? matcher.first_mismatch(*query.http) : std::string_view();
}

}  // namespace sluice
