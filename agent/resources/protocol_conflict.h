// One host and port that ServiceEntries register with two protocols.
#pragma once

#include <vector>

#include "resources/document.h"

namespace sluice::resources {

// IST0177, for all ServiceEntries among `objects` that some namespace sees together.
std::vector<Problem> find_protocol_conflicts(const std::vector<LocatedObject>& objects);

}  // namespace sluice::resources
