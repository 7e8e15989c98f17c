// Host patterns with entries each, found by name: the entries of one pattern stand together, in the order they came.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "policy/host_index.h"

namespace sluice {

template <typename Entry>
class HostMultimap {
 public:
  // The patterns are copied, the entries moved.
  explicit HostMultimap(std::vector<std::pair<std::string_view, Entry>> all) : hosts_(all.size()) {
    std::vector<std::pair<HostIndex::Id, std::size_t>> order;
    order.reserve(all.size());
    for (std::size_t index = 0; index < all.size(); ++index) order.emplace_back(hosts_.add(all[index].first), index);
    hosts_.shrink();
    std::sort(order.begin(), order.end());
    entries_.reserve(all.size());
    ends_.resize(hosts_.size());
    for (const auto& [host, index] : order) {
      entries_.push_back(std::move(all[index].second));
      ends_[host] = entries_.size();
    }
  }

  bool empty() const { return entries_.empty(); }
  HostIndex::Matches match(std::string_view host) const { return hosts_.match(host); }
  std::span<const Entry> entries(HostIndex::Id id) const {
    const auto begin = id == 0 ? 0 : ends_[id - 1];
    return std::span(entries_).subspan(begin, ends_[id] - begin);
  }

 private:
  HostIndex hosts_;
  std::vector<Entry> entries_;
  std::vector<std::size_t> ends_;  // of each pattern's part
};

}  // namespace sluice
