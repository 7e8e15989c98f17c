// networking.istio.io DestinationRule: the fields, and the rules that Istio's validation and CRD schema make about
// them.
#pragma once

#include "policy/routes.h"
#include "resources/findings.h"

namespace sluice::resources {

// The rule counts only when `findings` has no errors.
DestinationRule read_destination_rule(yaml::Reader spec, ObjectName object, Findings& findings);

// DestinationRule.spec.trafficPolicy, and the same of a subset.
struct PolicyOfPorts {
  TrafficPolicy policy;
  std::map<std::uint16_t, TrafficPolicy> ports;  // portLevelSettings
};
PolicyOfPorts read_traffic_policy(yaml::Reader reader, Findings& findings);

}  // namespace sluice::resources
