#include "resources/analysis.h"

#include <algorithm>
#include <tuple>

#include "resources/analysis_world.h"

namespace sluice::resources {

std::vector<Problem> analyze(const Registry& registry) {
  World world(registry);
  check_references(world);
  check_bindings(world);
  check_rules(world);
  check_conflicts(world);
  check_servers(world);
  check_steering(world);
  check_policies(world);
  check_gate(world);
  check_delegates(world);
  check_http_actions(world);
  check_redirects(world);
  std::sort(world.problems.begin(), world.problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line, a.field, a.code, a.message) < std::tie(b.file, b.line, b.field, b.code, b.message);
  });
  return std::move(world.problems);
}

}  // namespace sluice::resources
