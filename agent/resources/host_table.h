// Host names and patterns with values, found by overlap with another name or pattern.
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "policy/host_match.h"

namespace sluice::resources {

template <typename Value>
class HostTable {
 public:
  void add(std::string_view pattern, Value value) {
    if (is_wildcard(pattern)) {
      wildcards_.emplace(reverse(pattern.substr(1)), std::move(value));
      lengths_.insert(pattern.size() - 1);
    } else {
      names_.emplace(reverse(pattern), std::move(value));
    }
  }

  // The first value whose pattern overlaps `pattern` (hosts_overlap) and that `accept` takes, those that cover it
  // first; null when there is none.
  template <typename Accept>
  const Value* find_overlap(std::string_view pattern, Accept accept) const {
    const auto* found = find_cover(pattern, accept);
    if (found != nullptr || !is_wildcard(pattern)) return found;
    const auto suffix = reverse(pattern.substr(1));
    for (const auto* table : {&names_, &wildcards_}) {
      for (auto entry = table->lower_bound(suffix); entry != table->end() && entry->first.starts_with(suffix);
           ++entry) {
        if (accept(entry->second)) return &entry->second;
      }
    }
    return nullptr;
  }

  // The same for patterns that cover it (host_covers), the longest first.
  template <typename Accept>
  const Value* find_cover(std::string_view pattern, Accept accept) const {
    const auto suffix = is_wildcard(pattern) ? pattern.substr(1) : pattern;
    const auto reversed = reverse(suffix);
    if (!is_wildcard(pattern)) {
      if (const auto* found = find(names_, reversed, accept)) return found;
    }
    for (auto length = lengths_.rbegin(); length != lengths_.rend(); ++length) {
      if (*length > reversed.size()) continue;
      if (const auto* found = find(wildcards_, reversed.substr(0, *length), accept)) return found;
    }
    return nullptr;
  }

 private:
  using Table = std::multimap<std::string, Value>;

  static std::string reverse(std::string_view text) { return {text.rbegin(), text.rend()}; }

  template <typename Accept>
  static const Value* find(const Table& table, const std::string& key, Accept accept) {
    const auto [begin, end] = table.equal_range(key);
    const auto found = std::find_if(begin, end, [&](const auto& entry) { return accept(entry.second); });
    return found == end ? nullptr : &found->second;
  }

  Table names_;
  Table wildcards_;                // by what follows the "*"
  std::set<std::size_t> lengths_;  // of that
};

}  // namespace sluice::resources
