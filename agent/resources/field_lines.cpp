#include "resources/field_lines.h"

#include <algorithm>
#include <functional>

namespace sluice::resources {
namespace {

std::uint64_t hash(std::string_view path) {
  return std::hash<std::string_view>{}(path);
}

}  // namespace

FieldLines::FieldLines(const std::vector<std::pair<std::string, unsigned>>& places) {
  places_.reserve(places.size());
  for (const auto& [path, line] : places) places_.push_back({hash(path), line});
  std::sort(places_.begin(), places_.end(), [](const Place& a, const Place& b) { return a.path_hash < b.path_hash; });
}

const FieldLines::Place* FieldLines::find_exact(std::string_view path) const {
  const auto wanted = hash(path);
  const auto place = std::lower_bound(places_.begin(), places_.end(), wanted,
                                      [](const Place& p, std::uint64_t value) { return p.path_hash < value; });
  return place != places_.end() && place->path_hash == wanted ? &*place : nullptr;
}

unsigned FieldLines::find(std::string_view path) const {
  while (!path.empty()) {
    if (const auto* place = find_exact(path)) return place->line;
    const auto end = path.find_last_of(".[");
    path = path.substr(0, end == path.npos ? 0 : end);
  }
  return 0;
}

}  // namespace sluice::resources
