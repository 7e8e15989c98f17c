#include "resources/destination_rule.h"

#include <set>

#include "resources/fields.h"
#include "resources/names.h"

namespace sluice::resources {
namespace {

constexpr std::size_t max_subsets = 1024;

std::string read_host(yaml::Reader& spec, const std::string& own_namespace) {
  const auto value = spec.find("host");
  if (!value) {
    spec.fault("host", "is required: the name of a service");
    return {};
  }
  const auto text = value->text();
  if (!text) return {};
  auto host = complete_host(normalise_name(*text), own_namespace);
  if (!is_wildcard_dns_name(host)) {
    value->fault("expected a DNS name, with \"*\" at most as its first label, found " + value->shown());
  }
  return host;
}

DestinationSubset read_subset(const yaml::Value& value, Findings& findings) {
  DestinationSubset subset;
  yaml::Reader reader(value);
  if (!reader.present()) return subset;
  reader.read("name", subset.name);
  if (!is_label(subset.name)) {
    reader.fault("name", "is required: at most 63 letters, digits and '-', found " + yaml::quote(subset.name));
  }
  subset.labels = read_labels(reader.section("labels"));
  auto policy = reader.section("trafficPolicy");
  if (policy.present()) {
    auto read = read_traffic_policy(policy, findings);
    subset.policy = std::move(read.policy);
    subset.port_policies = std::move(read.ports);
  }
  reader.finish();
  return subset;
}

void read_subsets(yaml::Reader& spec, DestinationRule& rule, Findings& findings) {
  std::set<std::string> names;
  for (const auto& item : spec.list("subsets", max_subsets)) {
    auto subset = read_subset(item, findings);
    if (!subset.name.empty() && !names.insert(subset.name).second) {
      item.fault("subset " + yaml::quote(subset.name) + " is there already: keep one of them");
    }
    rule.subsets.push_back(std::move(subset));
  }
}

// A rule for chosen workloads is seen in their namespace only.
void read_selector(yaml::Reader& spec, DestinationRule& rule) {
  auto selector = spec.section("workloadSelector");
  if (!selector.present()) return;
  rule.workload_selector = read_labels(selector.section("matchLabels"));
  if (rule.workload_selector.empty()) selector.fault("matchLabels", "is required: at least one label");
  selector.finish();
  const auto& exports = rule.export_to;
  const bool own = exports.size() == 1 && exports.front() == rule.object.namespace_name;
  if (!exports.empty() && !own) spec.fault("exportTo", "takes \".\" only beside workloadSelector");
}

}  // namespace

DestinationRule read_destination_rule(yaml::Reader spec, ObjectName object, Findings& findings) {
  DestinationRule rule;
  rule.object = std::move(object);
  rule.host = read_host(spec, rule.object.namespace_name);
  rule.export_to = read_export_to(spec, rule.object.namespace_name, false);
  auto policy = read_traffic_policy(spec.section("trafficPolicy"), findings);
  rule.policy = std::move(policy.policy);
  rule.port_policies = std::move(policy.ports);
  read_subsets(spec, rule, findings);
  read_selector(spec, rule);
  spec.finish();
  return rule;
}

}  // namespace sluice::resources
