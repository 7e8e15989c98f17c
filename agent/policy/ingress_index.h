// What IngressRoutes looks things up in. For ingress_*.cpp only.
#pragma once

#include <fmt/format.h>

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "policy/delegates.h"
#include "policy/host_multimap.h"
#include "policy/ingress_routes.h"

namespace sluice {

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

}  // namespace sluice
