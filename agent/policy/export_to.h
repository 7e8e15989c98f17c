// Who sees an object, by its spec.exportTo as Service::export_to holds it.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

using ExportTo = std::vector<std::string>;

inline bool is_exported_to(const ExportTo& exports, std::string_view namespace_name) {
  return exports.empty() || std::find(exports.begin(), exports.end(), namespace_name) != exports.end();
}

inline bool is_hidden(const ExportTo& exports) {
  return exports.size() == 1 && exports.front() == "~";
}

// Is there a namespace that sees both?
inline bool exports_overlap(const ExportTo& left, const ExportTo& right) {
  if (is_hidden(left) || is_hidden(right)) return false;
  if (left.empty() || right.empty()) return true;
  return std::find_first_of(left.begin(), left.end(), right.begin(), right.end()) != left.end();
}

}  // namespace sluice
