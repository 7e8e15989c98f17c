// All objects that a policy is made of, each in force.
#pragma once

#include <vector>

#include "policy/routes.h"
#include "policy/service.h"

namespace sluice {

// Initialisers, so that a caller may name some of them only (-Wmissing-field-initializers).
// NOLINTBEGIN(readability-redundant-member-init)
struct PolicyObjects {
  std::vector<Service> services{};
  std::vector<Gateway> gateways{};
  std::vector<VirtualService> virtual_services{};
  std::vector<DestinationRule> destination_rules{};
};
// NOLINTEND(readability-redundant-member-init)

}  // namespace sluice
