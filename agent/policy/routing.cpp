#include "policy/routing.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "policy/export_to.h"
#include "policy/gateway_binding.h"
#include "policy/host_match.h"
#include "policy/host_multimap.h"
#include "policy/near_miss.h"
#include "policy/oldest_first.h"

namespace sluice {
namespace {

constexpr std::string_view list_name(RouteKind kind) {
  return kind == RouteKind::tls ? "tls" : kind == RouteKind::http ? "http" : "tcp";
}

}  // namespace

struct Routing::Index {
  // A VirtualService with what the vantage makes of it.
  struct Entry {
    const VirtualService* service = nullptr;
    std::vector<BoundServer> servers;            // at a gateway: all that it may bind to
    std::vector<std::vector<HttpMatcher>> http;  // of each http rule, its matches
  };
  // Where a connection rule stands; of `tls` when `kind` is that.
  struct RulePlace {
    const Entry* entry = nullptr;
    std::uint32_t rule = 0;
    std::uint32_t match = 0;
  };

  Index(const std::vector<Gateway>& gateways, std::vector<VirtualService> its_services, Vantage its_vantage);

  Route route_tls(const RouteQuery& query) const;
  Route route_tcp(const RouteQuery& query) const;
  Route route_http(const RouteQuery& query) const;
  Route conclude(const Entry& entry, RouteKind kind, std::size_t rule, const RouteQuery& query) const;

  // Why does this match not apply? Empty: it does. `host` is the one that the rule's own patterns were found by.
  std::string_view mismatch(const Entry& entry, RouteKind kind, const ConnectionMatch& match,
                            const RouteQuery& query) const;
  std::string_view mismatch(const Entry& entry, const HttpMatch& match, const HttpMatcher& matcher,
                            const RouteQuery& query) const;
  std::string_view source_mismatch(const Labels& labels, const std::string& namespace_name,
                                   const RouteQuery& query) const;
  bool is_visible(const Entry& entry, const RouteQuery& query) const;
  bool is_bound(const Entry& entry, RouteKind kind, const std::optional<std::vector<std::string>>& of_match,
                const RouteQuery& query) const;

  std::optional<std::string> miss_of_service(const Entry& entry, const RouteQuery& query) const;
  void add_rule_misses(const Entry& entry, const RouteQuery& query, std::vector<RouteMiss>& misses) const;
  std::string unbound_text(const Entry& entry, const RouteQuery& query) const;

  static std::vector<std::pair<std::string_view, RulePlace>> tls_places(const std::vector<Entry>& entries);
  static std::vector<std::pair<std::string_view, const Entry*>> places(const std::vector<Entry>& entries,
                                                                       bool (*has_rules)(const VirtualService&));

  const Vantage vantage;
  const std::vector<VirtualService> services;  // oldest first
  const std::vector<Entry> entries;
  const HostMultimap<RulePlace> tls;
  const HostMultimap<const Entry*> http;
  const HostMultimap<const Entry*> tcp;

 private:
  std::vector<Entry> make_entries(const std::vector<Gateway>& gateways) const;
};

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

std::vector<std::pair<std::string_view, Routing::Index::RulePlace>> Routing::Index::tls_places(
    const std::vector<Entry>& entries) {
  std::vector<std::pair<std::string_view, RulePlace>> all;
  for (const auto& entry : entries) {
    const auto& rules = entry.service->tls;
    for (std::uint32_t rule = 0; rule < rules.size(); ++rule) {
      for (std::uint32_t match = 0; match < rules[rule].matches.size(); ++match) {
        for (const auto& host : rules[rule].matches[match].sni_hosts)
          all.emplace_back(host, RulePlace{&entry, rule, match});
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

Route Routing::Index::conclude(const Entry& entry, RouteKind kind, std::size_t rule, const RouteQuery& query) const {
  const auto& service = *entry.service;
  Route route;
  route.kind = Route::Kind::refused;
  route.virtual_service = &service;
  route.rule = fmt::format("{} {}[{}]", service.object.to_string(), list_name(kind), rule);
  if (kind == RouteKind::http && !service.http[rule].actions.empty()) {
    route.why = fmt::format("{} is not done to outbound calls", service.http[rule].actions.front());
    return route;
  }
  const auto& destinations = kind == RouteKind::http  ? service.http[rule].destinations
                             : kind == RouteKind::tls ? service.tls[rule].destinations
                                                      : service.tcp[rule].destinations;
  std::uint64_t total = 0;
  for (const auto& destination : destinations) total += destination.weight;
  if (destinations.size() == 1) {
    route.destination = destinations.data();
  } else if (total > 0) {
    auto rest = query.pick % total;
    const auto* chosen = destinations.data();
    while (rest >= chosen->weight) rest -= chosen++->weight;
    route.destination = chosen;
  }
  if (route.destination)
    route.kind = Route::Kind::routed;
  else
    route.why = destinations.empty() ? "it has no destination" : "every weight is 0";
  return route;
}

Route Routing::Index::route_tls(const RouteQuery& query) const {
  const auto patterns = tls.match(query.host);
  for (const auto id : patterns.ids()) {
    for (const auto& [entry, rule, match] : tls.entries(id)) {
      if (!is_visible(*entry, query)) continue;
      if (!mismatch(*entry, RouteKind::tls, entry->service->tls[rule].matches[match], query).empty()) continue;
      return conclude(*entry, RouteKind::tls, rule, query);
    }
  }
  return route_tcp(query);
}

Route Routing::Index::route_tcp(const RouteQuery& query) const {
  static const ConnectionMatch everything;
  std::vector<const Entry*> candidates;
  for (const auto& host : *query.service_hosts) {
    // A wildcard of a service is found by what a VirtualService calls it, or one of its parents.
    const auto patterns = tcp.match(host);
    for (const auto id : patterns.ids()) {
      for (const auto* entry : tcp.entries(id)) candidates.push_back(entry);
    }
  }
  for (const auto* entry : candidates) {
    if (!is_visible(*entry, query)) continue;
    const auto& rules = entry->service->tcp;
    for (std::size_t rule = 0; rule < rules.size(); ++rule) {
      const auto matches = rules[rule].matches.empty() ? std::span(&everything, 1) : std::span(rules[rule].matches);
      const bool fits = std::any_of(matches.begin(), matches.end(), [&](const ConnectionMatch& match) {
        return mismatch(*entry, RouteKind::tcp, match, query).empty();
      });
      if (fits) return conclude(*entry, RouteKind::tcp, rule, query);
    }
  }
  return {};
}

Route Routing::Index::route_http(const RouteQuery& query) const {
  static const HttpMatch everything;
  static const HttpMatcher every_request{everything};
  const auto patterns = http.match(query.host);
  for (const auto id : patterns.ids()) {
    const Entry* tried = nullptr;
    for (const bool catch_all : {false, true}) {
      for (const auto* entry : http.entries(id)) {
        if (!is_visible(*entry, query)) continue;
        const auto& rules = entry->service->http;
        bool covered = false;  // by a rule that takes everything
        for (std::size_t rule = 0; rule < rules.size() && !covered; ++rule) {
          const auto matches = rules[rule].matches.empty() ? std::span(&everything, 1) : std::span(rules[rule].matches);
          const auto matchers =
              rules[rule].matches.empty() ? std::span(&every_request, 1) : std::span(entry->http[rule]);
          for (std::size_t match = 0; match < matches.size(); ++match) {
            if (is_bound(*entry, RouteKind::http, matches[match].gateways, query)) tried = entry;
            if (!mismatch(*entry, matches[match], matchers[match], query).empty()) continue;
            covered = covered || matchers[match].is_catch_all();
            if (matchers[match].is_catch_all() != catch_all) continue;
            return conclude(*entry, RouteKind::http, rule, query);
          }
        }
      }
    }
    if (tried == nullptr) continue;
    Route refused;
    refused.kind = Route::Kind::refused;
    refused.virtual_service = tried->service;
    refused.rule = tried->service->object.to_string();
    refused.why = "none of its http rules matches the request";
    return refused;
  }
  return {};
}

std::string Routing::Index::unbound_text(const Entry& entry, const RouteQuery& query) const {
  const auto names = fmt::format("{}", fmt::join(entry.service->gateways, ", "));
  if (vantage.is_mesh)
    return fmt::format("gateways is {}: mesh is not among them, so no call from a pod follows it", names);
  if (entry.servers.empty()) {
    return fmt::format(
        "gateways is {}: none of them is a Gateway whose selector this gateway satisfies and whose "
        "servers have its hosts",
        names);
  }
  return fmt::format("no server of its Gateways is for {} calls to this host on port {}", list_name(query.kind),
                     query.port);
}

std::optional<std::string> Routing::Index::miss_of_service(const Entry& entry, const RouteQuery& query) const {
  const auto& service = *entry.service;
  const auto covers = [&](const std::string& pattern, std::string_view host) { return host_matches(pattern, host); };
  const auto& hosts = service.hosts;
  const bool by_name = query.kind != RouteKind::tcp;
  const auto overlaps = [&](std::string_view host) {
    return std::any_of(hosts.begin(), hosts.end(), [&](const auto& pattern) { return covers(pattern, host); });
  };
  const bool meant =
      by_name ? overlaps(query.host) : std::any_of(query.service_hosts->begin(), query.service_hosts->end(), overlaps);
  if (!meant) {
    const bool alike = std::any_of(hosts.begin(), hosts.end(), [&](const auto& host) {
      return looks_alike(host, by_name || query.service_hosts->empty() ? query.host : query.service_hosts->front());
    });
    if (!alike) return std::nullopt;
    return fmt::format("hosts is {}: none of them matches", fmt::join(hosts, ", "));
  }
  if (!is_visible(entry, query)) {
    return fmt::format("exportTo does not hold namespace {}",
                       vantage.is_mesh ? query.pod_namespace : vantage.namespace_name);
  }
  return std::string();
}

void Routing::Index::add_rule_misses(const Entry& entry, const RouteQuery& query,
                                     std::vector<RouteMiss>& misses) const {
  const auto& service = *entry.service;
  const auto name = service.object.to_string();
  const auto before = misses.size();
  const auto add = [&](RouteKind kind, std::size_t rule, std::size_t match, std::string_view why) {
    if (!why.empty())
      misses.push_back({fmt::format("{} {}[{}].match[{}]", name, list_name(kind), rule, match), std::string(why)});
  };
  const auto add_rules = [&](RouteKind kind, const std::vector<ConnectionRule>& rules) {
    for (std::size_t rule = 0; rule < rules.size(); ++rule) {
      for (std::size_t match = 0; match < rules[rule].matches.size(); ++match) {
        const auto& wanted = rules[rule].matches[match];
        const bool nameless = kind == RouteKind::tls && wanted.sni_hosts.empty();
        add(kind, rule, match, nameless ? "it has no sniHosts" : mismatch(entry, kind, wanted, query));
      }
    }
  };
  bool bound = is_bound(entry, query.kind, std::nullopt, query);
  const auto look = [&](const auto& rules) {
    for (const auto& rule : rules) {
      for (const auto& match : rule.matches) bound = bound || is_bound(entry, query.kind, match.gateways, query);
    }
  };
  look(service.tls);
  look(service.tcp);
  look(service.http);
  if (!bound) return misses.push_back({name, unbound_text(entry, query)});
  if (query.kind == RouteKind::tls) add_rules(RouteKind::tls, service.tls);
  if (query.kind != RouteKind::http) add_rules(RouteKind::tcp, service.tcp);
  if (query.kind == RouteKind::http) {
    for (std::size_t rule = 0; rule < service.http.size(); ++rule) {
      for (std::size_t match = 0; match < service.http[rule].matches.size(); ++match) {
        add(query.kind, rule, match,
            mismatch(entry, service.http[rule].matches[match], entry.http[rule][match], query));
      }
    }
  }
  if (misses.size() == before)
    misses.push_back({name, fmt::format("it has no {} rule for this call", list_name(query.kind))});
}

Routing::Routing(const std::vector<Gateway>& gateways, std::vector<VirtualService> virtual_services, Vantage vantage)
    : index_(std::make_unique<const Index>(gateways, std::move(virtual_services), std::move(vantage))) {}
Routing::~Routing() = default;

Route Routing::route(const RouteQuery& query) const {
  switch (query.kind) {
    case RouteKind::tls:
      return index_->route_tls(query);
    case RouteKind::http:
      return index_->route_http(query);
    case RouteKind::tcp:
      return index_->route_tcp(query);
  }
  return {};
}

std::vector<RouteMiss> Routing::misses(const RouteQuery& query) const {
  const auto taken = route(query);
  std::vector<RouteMiss> misses;
  for (const auto& entry : index_->entries) {
    if (entry.service == taken.virtual_service) continue;
    const auto miss = index_->miss_of_service(entry, query);
    if (!miss) continue;
    if (!miss->empty())
      misses.push_back({entry.service->object.to_string(), *miss});
    else
      index_->add_rule_misses(entry, query, misses);
  }
  return misses;
}

}  // namespace sluice
