// What DestinationRules say of connections to a host. Compiled once for one vantage.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "policy/host_multimap.h"
#include "policy/routes.h"
#include "policy/vantage.h"

namespace sluice {

// Whose DestinationRules count for a connection.
struct PolicyScope {
  std::string_view pod_namespace;
  std::string_view service_namespace;
};

// Of a host one rule counts: one of the gateway's namespace, else of the pod's, else of the service's, else of the root
// namespace istio-system; no other namespace has a say. Of those that are exported to the pod's or the gateway's
// namespace the most specific, then the oldest. One with a workloadSelector is for gateways of its namespace with those
// labels; for pods it counts as well.
class DestinationRules {
 public:
  DestinationRules(std::vector<DestinationRule> rules, Vantage vantage);
  DestinationRules(const DestinationRules&) = delete;
  DestinationRules& operator=(const DestinationRules&) = delete;

  // Port level goes before the whole, subset before both. Nothing is set when no rule counts; nullopt: `subset` is
  // named and not defined.
  std::optional<TrafficPolicy> traffic_policy(std::string_view host, std::uint16_t port, const std::string& subset,
                                              const PolicyScope& scope) const;
  // The labels of a subset; null when it is not defined.
  const Labels* subset_labels(std::string_view host, const std::string& subset, const PolicyScope& scope) const;

 private:
  const DestinationRule* find(std::string_view host, const PolicyScope& scope) const;
  bool applies(const DestinationRule& rule, const PolicyScope& scope) const;

  const Vantage vantage_;
  const std::vector<DestinationRule> rules_;  // oldest first
  const HostMultimap<const DestinationRule*> by_host_;
};

}  // namespace sluice
