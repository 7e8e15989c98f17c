// What Routing looks things up in. For routing*.cpp only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/gateway_binding.h"
#include "policy/host_multimap.h"
#include "policy/routing.h"

namespace sluice {

constexpr std::string_view list_name(RouteKind kind) {
  return kind == RouteKind::tls ? "tls" : kind == RouteKind::http ? "http" : "tcp";
}

struct Routing::Index {
  // A VirtualService with what the vantage makes of it.
  struct Entry {
    const VirtualService* service = nullptr;
    std::vector<BoundServer> servers;            // at a gateway: all that it may bind to
    std::vector<std::vector<HttpMatcher>> http;  // of each http rule, its matches
  };
  // Where a match of a `tls` rule stands.
  struct TlsPlace {
    const Entry* entry = nullptr;
    std::uint32_t rule = 0;
    std::uint32_t match = 0;
  };

  // How well an http rule suits a request, by the best of its matches.
  enum class Fit : std::uint8_t {
    unbound,    // none applies at this vantage
    none,       // those that do ask for something else
    catch_all,  // one that takes every request
    specific,   // one that looks at it
  };

  // The gateways are bound and not kept.
  Index(const std::vector<Gateway>& gateways, std::vector<VirtualService> its_services, Vantage its_vantage);

  // Routing::route()
  Route route_tls(const RouteQuery& query) const;
  Route route_tcp(const RouteQuery& query) const;
  Route route_http(const RouteQuery& query) const;
  Fit fit(const Entry& entry, std::size_t rule, const RouteQuery& query) const;
  Route conclude(const Entry& entry, RouteKind kind, std::size_t rule, const RouteQuery& query) const;

  bool is_visible(const Entry& entry, const RouteQuery& query) const;
  // `of_match`: the gateways of a match, which go before the VirtualService's.
  bool is_bound(const Entry& entry, RouteKind kind, const std::optional<std::vector<std::string>>& of_match,
                const RouteQuery& query) const;
  // Why does this match not apply? Empty: it does.
  std::string_view mismatch(const Entry& entry, RouteKind kind, const ConnectionMatch& match,
                            const RouteQuery& query) const;
  std::string_view mismatch(const Entry& entry, const HttpMatch& match, const HttpMatcher& matcher,
                            const RouteQuery& query) const;
  std::string_view source_mismatch(const Labels& labels, const std::string& namespace_name,
                                   const RouteQuery& query) const;

  // Routing::misses(). Why the VirtualService as a whole does not apply; empty: it does, and its rules are to be asked;
  // nullopt: it was not meant.
  std::optional<std::string> miss_of_service(const Entry& entry, const RouteQuery& query) const;
  void add_rule_misses(const Entry& entry, const RouteQuery& query, std::vector<RouteMiss>& misses) const;
  std::string unbound_text(const Entry& entry, const RouteQuery& query) const;

  const Vantage vantage;
  const std::vector<VirtualService> services;  // oldest first
  const std::vector<Entry> entries;            // of each service
  const HostMultimap<TlsPlace> tls;            // by SNI host
  const HostMultimap<const Entry*> http;       // by host, with http rules
  const HostMultimap<const Entry*> tcp;        // by host, with tcp rules

 private:
  std::vector<Entry> make_entries(const std::vector<Gateway>& gateways) const;
  static std::vector<std::pair<std::string_view, TlsPlace>> tls_places(const std::vector<Entry>& entries);
  static std::vector<std::pair<std::string_view, const Entry*>> places(const std::vector<Entry>& entries,
                                                                       bool (*has_rules)(const VirtualService&));
};

}  // namespace sluice
