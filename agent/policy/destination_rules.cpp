#include "policy/destination_rules.h"

#include <algorithm>
#include <utility>

#include "policy/export_to.h"
#include "policy/oldest_first.h"

namespace sluice {
namespace {

std::vector<std::pair<std::string_view, const DestinationRule*>> hosts_of(const std::vector<DestinationRule>& rules) {
  std::vector<std::pair<std::string_view, const DestinationRule*>> all;
  all.reserve(rules.size());
  for (const auto& rule : rules) all.emplace_back(rule.host, &rule);
  return all;
}

const DestinationSubset* find_subset(const DestinationRule& rule, const std::string& name) {
  const auto found = std::find_if(rule.subsets.begin(), rule.subsets.end(),
                                  [&](const DestinationSubset& one) { return one.name == name; });
  return found == rule.subsets.end() ? nullptr : &*found;
}

}  // namespace

DestinationRules::DestinationRules(std::vector<DestinationRule> rules, Vantage vantage)
    : vantage_(std::move(vantage)), rules_(oldest_first(std::move(rules))), by_host_(hosts_of(rules_)) {}

bool DestinationRules::applies(const DestinationRule& rule, const PolicyScope& scope) const {
  const bool exported =
      is_exported_to(rule.export_to, scope.pod_namespace) || is_exported_to(rule.export_to, vantage_.namespace_name);
  if (!exported || rule.workload_selector.empty() || vantage_.is_mesh) return exported;
  return rule.object.namespace_name == vantage_.namespace_name && has_labels(vantage_.labels, rule.workload_selector);
}

const DestinationRule* DestinationRules::find(std::string_view host, const PolicyScope& scope) const {
  constexpr std::string_view root_namespace = "istio-system";
  const auto patterns = by_host_.match(host);
  for (const std::string_view owner :
       {std::string_view(vantage_.namespace_name), scope.pod_namespace, scope.service_namespace, root_namespace}) {
    for (const auto id : patterns.ids()) {
      for (const auto* rule : by_host_.entries(id)) {
        if (rule->object.namespace_name == owner && applies(*rule, scope)) return rule;
      }
    }
  }
  return nullptr;
}

std::optional<TrafficPolicy> DestinationRules::traffic_policy(std::string_view host, std::uint16_t port,
                                                              const std::string& subset,
                                                              const PolicyScope& scope) const {
  const auto* rule = find(host, scope);
  if (!rule) return subset.empty() ? std::optional(TrafficPolicy{}) : std::nullopt;
  const auto of_port = rule->port_policies.find(port);
  auto policy = of_port == rule->port_policies.end() ? rule->policy : of_port->second;
  if (subset.empty()) return policy;
  const auto* own = find_subset(*rule, subset);
  if (!own) return std::nullopt;
  if (const auto own_of_port = own->port_policies.find(port); own_of_port != own->port_policies.end()) {
    return own_of_port->second;
  }
  if (!own->policy) return policy;
  if (own->policy->tls) policy.tls = own->policy->tls;
  if (own->policy->connect_timeout_ms) policy.connect_timeout_ms = own->policy->connect_timeout_ms;
  if (own->policy->idle_timeout_ms) policy.idle_timeout_ms = own->policy->idle_timeout_ms;
  if (own->policy->max_connections) policy.max_connections = own->policy->max_connections;
  if (own->policy->http) policy.http = own->policy->http;
  if (own->policy->balancing) policy.balancing = own->policy->balancing;
  if (own->policy->outliers) policy.outliers = own->policy->outliers;
  return policy;
}

const Labels* DestinationRules::subset_labels(std::string_view host, const std::string& subset,
                                              const PolicyScope& scope) const {
  const auto* rule = find(host, scope);
  const auto* own = rule ? find_subset(*rule, subset) : nullptr;
  return own ? &own->labels : nullptr;
}

}  // namespace sluice
