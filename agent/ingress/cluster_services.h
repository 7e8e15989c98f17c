#pragma once

#include <functional>
#include <map>
#include <string>

#include "policy/service.h"

namespace sluice::ingress {

// Services that destinations may be besides those of policy, by host; a host may have several, of different ports.
using ClusterServices = std::multimap<std::string, Service, std::less<>>;

}  // namespace sluice::ingress
