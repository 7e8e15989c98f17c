// networking.istio.io Gateway: the fields, and the rules that Istio's validation and CRD schema make about them.
#pragma once

#include "policy/routes.h"
#include "resources/findings.h"

namespace sluice::resources {

// The gateway counts only when `findings` has no errors.
Gateway read_gateway(yaml::Reader spec, ObjectName object, Findings& findings);

}  // namespace sluice::resources
