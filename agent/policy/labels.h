// Labels of workloads and objects, and what selects by them.
#pragma once

#include <algorithm>
#include <map>
#include <string>

namespace sluice {

using Labels = std::map<std::string, std::string>;

// Is each of `wanted` there, with the very value? Where nothing is wanted, it is.
inline bool has_labels(const Labels& labels, const Labels& wanted) {
  return std::includes(labels.begin(), labels.end(), wanted.begin(), wanted.end());
}

}  // namespace sluice
