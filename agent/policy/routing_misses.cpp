#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "policy/host_match.h"
#include "policy/near_miss.h"
#include "policy/routing_index.h"

namespace sluice {

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

}  // namespace sluice
