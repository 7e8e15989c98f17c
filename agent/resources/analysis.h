// What only shows when all objects in force are seen together. Pure.
#pragma once

#include <vector>

#include "resources/registry.h"

namespace sluice::resources {

// Sorted by file, line and field. Codes and their meaning: problem.h.
std::vector<Problem> analyze(const Registry& registry);

}  // namespace sluice::resources
