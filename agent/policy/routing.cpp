#include "policy/routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "policy/routing_index.h"

namespace sluice {

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

const std::vector<VirtualService>& Routing::virtual_services() const {
  return index_->services;
}

Route Routing::Index::conclude(const Entry& entry, RouteKind kind, std::size_t rule, const RouteQuery& query) const {
  const auto& service = *entry.service;
  Route route;
  route.kind = Route::Kind::refused;
  route.virtual_service = &service;
  route.rule = fmt::format("{} {}[{}]", service.object.to_string(), list_name(kind), rule);
  const auto action = kind == RouteKind::http ? altering_action(service.http[rule]) : std::string_view();
  if (!action.empty()) {
    route.why = fmt::format("{} is not done to outbound calls", action);
    return route;
  }
  const auto& destinations = kind == RouteKind::http  ? service.http[rule].destinations
                             : kind == RouteKind::tls ? service.tls[rule].destinations
                                                      : service.tcp[rule].destinations;
  route.destination = choose_destination(destinations, query.pick);
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
  if (tcp.empty()) return {};  // a service may have thousands of hosts
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

Routing::Index::Fit Routing::Index::fit(const Entry& entry, std::size_t rule, const RouteQuery& query) const {
  static const HttpMatch everything;
  static const HttpMatcher every_request{everything};
  const auto& its = entry.service->http[rule].matches;
  const auto matches = its.empty() ? std::span(&everything, 1) : std::span(its);
  const auto matchers = its.empty() ? std::span(&every_request, 1) : std::span(entry.http[rule]);
  auto best = Fit::unbound;
  for (std::size_t match = 0; match < matches.size(); ++match) {
    if (!is_bound(entry, RouteKind::http, matches[match].gateways, query)) continue;
    const bool fits = mismatch(entry, matches[match], matchers[match], query).empty();
    if (fits && !matchers[match].is_catch_all()) return Fit::specific;
    best = std::max(best, fits ? Fit::catch_all : Fit::none);
  }
  return best;
}

Route Routing::Index::route_http(const RouteQuery& query) const {
  const auto patterns = http.match(query.host);
  for (const auto id : patterns.ids()) {
    const Entry* bound = nullptr;
    std::optional<std::pair<const Entry*, std::size_t>> catch_all;  // the first: an entry and its rule
    for (const auto* entry : http.entries(id)) {
      if (!is_visible(*entry, query)) continue;
      for (std::size_t rule = 0; rule < entry->service->http.size(); ++rule) {
        const auto fits = fit(*entry, rule, query);
        if (fits == Fit::specific) return conclude(*entry, RouteKind::http, rule, query);
        if (fits != Fit::unbound) bound = entry;
        if (fits != Fit::catch_all) continue;
        if (!catch_all) catch_all = {entry, rule};
        break;
      }
    }
    if (catch_all) return conclude(*catch_all->first, RouteKind::http, catch_all->second, query);
    if (bound == nullptr) continue;
    Route refused;
    refused.kind = Route::Kind::refused;
    refused.virtual_service = bound->service;
    refused.rule = bound->service->object.to_string();
    refused.why = "none of its http rules matches the request";
    return refused;
  }
  return {};
}

}  // namespace sluice
