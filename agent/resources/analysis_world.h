// All objects in force as analysis looks at them, with what it has found. For analysis*.cpp only.
#pragma once

#include <fmt/format.h>

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "policy/export_to.h"
#include "resources/fields.h"
#include "resources/host_table.h"
#include "resources/registry.h"

namespace sluice::resources {

template <typename T>
struct Located {
  const T* object;
  LocatedObject place;

  const T* operator->() const { return object; }
};

// A rule's match, or the rule itself when it has none.
struct MatchPlace {
  std::string_view list;  // "http", "tls" or "tcp"
  std::size_t rule;
  std::optional<std::size_t> match;
  const std::vector<std::string>* gateways;  // it applies at

  // "spec.tls[0].match[1]" or "spec.tls[0]"
  std::string path() const;
};

class World {
 public:
  explicit World(const Registry& registry);

  // Each sorted by age, name and namespace.
  std::vector<Located<Service>> services;
  std::vector<Located<Gateway>> gateways;
  std::vector<Located<VirtualService>> virtual_services;
  std::vector<Located<DestinationRule>> destination_rules;
  HostTable<const Located<Service>*> service_hosts;
  HostTable<const Located<VirtualService>*> mesh_hosts;  // of VirtualServices with a rule at mesh
  std::vector<Problem> problems;

  // Null when it is not in force.
  const Located<Gateway>* find_gateway(std::string_view name) const;
  bool is_rejected_gateway(const std::string& name) const;
  bool is_rejected_virtual_service(const DelegateName& name) const;
  // The service entry of a destination as seen from a namespace: of that very host, else of a wildcard around it.
  const Located<Service>* find_service(std::string_view host, std::string_view from_namespace) const;

  template <typename T>
  void report(const Located<T>& at, Severity severity, std::string code, std::string field, std::string message) {
    problems.push_back({severity, std::move(code), *at.place.file, at.place.line_of(field), std::move(field),
                        at.place.key->to_string(), std::move(message)});
  }
  template <typename T>
  void warn(const Located<T>& at, std::string code, std::string field, std::string message) {
    report(at, Severity::warning, std::move(code), std::move(field), std::move(message));
  }
  template <typename T>
  void fail(const Located<T>& at, std::string code, std::string field, std::string message) {
    report(at, Severity::error, std::move(code), std::move(field), std::move(message));
  }

 private:
  const Registry& registry_;
  std::map<std::string, const Located<Gateway>*, std::less<>> gateways_by_name_;
};

// A Kubernetes Service, which files do not show.
bool is_cluster_host(std::string_view host);
// Does one of them select every workload that the other one does?
bool selectors_overlap(const Labels& left, const Labels& right);
bool is_mesh(const VirtualService& service);
bool serves_namespace(const ServerHost& host, const std::string& namespace_name);
// Has the server a host for one of the VirtualService's?
bool serves(const GatewayServer& server, const VirtualService& service, std::string_view host);
bool serves(const Gateway& gateway, const VirtualService& service, std::string_view host);

// Every match of every rule of one list with the gateways that it applies at. `list`: "http", "tls" or "tcp".
template <typename Rule, typename Visit>
void each_match(const VirtualService& service, const std::vector<Rule>& rules, std::string_view list, Visit visit) {
  for (std::size_t r = 0; r < rules.size(); ++r) {
    const auto& matches = rules[r].matches;
    using Match = typename std::remove_cvref_t<decltype(matches)>::value_type;
    if (matches.empty()) {
      visit(MatchPlace{list, r, std::nullopt, &service.gateways}, rules[r], static_cast<const Match*>(nullptr));
    }
    for (std::size_t m = 0; m < matches.size(); ++m) {
      const auto* gateways = matches[m].gateways ? &*matches[m].gateways : &service.gateways;
      visit(MatchPlace{list, r, m, gateways}, rules[r], &matches[m]);
    }
  }
}
// The same for all three lists. `visit` takes the rule and its match generically.
template <typename Visit>
void each_match(const VirtualService& service, Visit visit) {
  each_match(service, service.http, "http", visit);
  each_match(service, service.tls, "tls", visit);
  each_match(service, service.tcp, "tcp", visit);
}
// Has it a rule that applies at this gateway?
bool applies_at(const VirtualService& service, std::string_view gateway);
bool applies_at(const MatchPlace& match, std::string_view gateway);

// The one of `names` that is most like `name`; empty when none is.
std::string find_similar(std::string_view name, const std::vector<std::string_view>& names);
// The Gateway that is probably meant by a name that there is none of; null when none is like it.
const Located<Gateway>* suggest_gateway(const World& world, std::string_view name);
// Does some rule send the host on to itself, outside the cluster? That is what an egress gateway does.
bool sends_on(const VirtualService& service, std::string_view host);

void check_references(World& world);
void check_bindings(World& world);
void check_rules(World& world);
void check_conflicts(World& world);
void check_servers(World& world);
void check_steering(World& world);
void check_policies(World& world);
void check_gate(World& world);
void check_delegates(World& world);
void check_http_actions(World& world);
void check_redirects(World& world);

}  // namespace sluice::resources
