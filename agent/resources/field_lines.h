// Where the fields of an object stand in its file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::resources {

// Paths are kept as hashes: 16 bytes a field, whatever its name.
class FieldLines {
 public:
  FieldLines() = default;
  // `places`: path ("spec.hosts[0]") and line of each field.
  explicit FieldLines(const std::vector<std::pair<std::string, unsigned>>& places);

  // The line of `path`, or of the innermost field around it that is known; 0 when there is none.
  unsigned find(std::string_view path) const;
  // Is the very field known?
  bool has(std::string_view path) const { return find_exact(path) != nullptr; }

 private:
  struct Place {
    std::uint64_t path_hash = 0;
    unsigned line = 0;
  };
  const Place* find_exact(std::string_view path) const;

  std::vector<Place> places_;  // by hash
};

}  // namespace sluice::resources
