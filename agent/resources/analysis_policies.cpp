// DestinationRules: IST0128, IST0129, IST0173, IST0174.
#include <algorithm>

#include "resources/analysis_world.h"

namespace sluice::resources {
namespace {

// A credential's CA counts only where the rule says whose it is.
bool is_unverified(const DestinationRule& rule, const TrafficPolicy& policy) {
  if (!policy.tls || (policy.tls->mode != ClientTlsMode::simple && policy.tls->mode != ClientTlsMode::mutual)) {
    return false;
  }
  return policy.tls->ca_certificates.empty() && (policy.tls->credential_name.empty() || rule.workload_selector.empty());
}

void check_verification(World& world, const Located<DestinationRule>& rule) {
  constexpr auto advice = "the certificates of {} are checked against the system's roots at best: set caCertificates";
  if (is_unverified(*rule.object, rule->policy)) {
    world.warn(rule, "IST0128", "spec.trafficPolicy.tls", fmt::format(advice, rule->host));
  }
  for (const auto& [port, policy] : rule->port_policies) {
    if (!is_unverified(*rule.object, policy)) continue;
    world.warn(rule, "IST0129", "spec.trafficPolicy.portLevelSettings",
               fmt::format(advice, fmt::format("{}:{}", rule->host, port)));
  }
}

bool has_endpoint(const Service& service, const Labels& labels) {
  return std::any_of(service.endpoints.begin(), service.endpoints.end(), [&](const ServiceEndpoint& endpoint) {
    return std::includes(endpoint.labels.begin(), endpoint.labels.end(), labels.begin(), labels.end());
  });
}

// Without endpoints of its own a service is what its name resolves to, and nothing can be said.
void check_subsets(World& world, const Located<DestinationRule>& rule) {
  const auto* service = world.find_service(rule->host, rule->object.namespace_name);
  if (service == nullptr || (*service)->endpoints.empty()) return;
  for (std::size_t i = 0; i < rule->subsets.size(); ++i) {
    if (has_endpoint(*service->object, rule->subsets[i].labels)) continue;
    world.fail(rule, "IST0173", fmt::format("spec.subsets[{}].labels", i),
               fmt::format("no endpoint of ServiceEntry {} has these labels: give them to one, or change the subset",
                           (*service)->rule()));
  }
}

}  // namespace

void check_policies(World& world) {
  for (const auto& rule : world.destination_rules) {
    check_verification(world, rule);
    check_subsets(world, rule);
    if (is_cluster_host(rule->host)) continue;
    if (world.service_hosts.find_overlap(rule->host, [](const auto*) { return true; }) != nullptr) continue;
    world.warn(rule, "IST0174", "spec.host",
               fmt::format("no ServiceEntry has {}: register it, or change the host", rule->host));
  }
}

}  // namespace sluice::resources
