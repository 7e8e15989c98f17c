// All objects that a policy is made of, each in force.
#pragma once

#include <vector>

#include "policy/routes.h"
#include "policy/service.h"

namespace sluice {

struct PolicyObjects {
  std::vector<Service> services{};
  std::vector<Gateway> gateways{};
  std::vector<VirtualService> virtual_services{};
  std::vector<DestinationRule> destination_rules{};
};

}  // namespace sluice
