// What is wrong with one object, collected while it is read.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "resources/problem.h"
#include "settings/strict_yaml.h"

namespace sluice::resources {

namespace yaml = settings::yaml;

struct Findings {
  yaml::Context context{.null_is_absent = true, .faults = {}, .absent = {}, .wants_places = true, .places = {}};
  std::vector<Problem> warnings;  // with severity, code, line, field and message; at most yaml::max_faults

  void warn(std::string code, unsigned line, std::string field, std::string message) {
    if (warnings.size() == yaml::max_faults) return;
    warnings.push_back({Severity::warning, std::move(code), "", line, std::move(field), "", std::move(message)});
  }
  void warn(std::string code, const yaml::Value& at, std::string message) {
    warn(std::move(code), at.line(), at.path(), std::move(message));
  }
};

}  // namespace sluice::resources
