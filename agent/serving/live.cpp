#include "serving/live.h"

#include <utility>

namespace sluice::serving {

LiveTable::Place::Place(LiveTable& table, Live& live, const IpAddress& source)
    : table_(&table), live_(&live), source_(source) {
  table_->live_.insert(live_);
  ++table_->per_source_[source_];
}

LiveTable::Place::Place(Place&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), live_(other.live_), source_(other.source_) {}

LiveTable::Place::~Place() {
  if (!table_) return;
  table_->live_.erase(live_);
  const auto count = table_->per_source_.find(source_);
  if (--count->second == 0) table_->per_source_.erase(count);
}

LiveTable::Place LiveTable::admit(Live& live, const IpAddress& source) {
  if (live_.size() >= limits_.connections) return {};
  const auto count = per_source_.find(source);
  if (count != per_source_.end() && count->second >= limits_.connections_per_source) return {};
  return {*this, live, source};
}

std::vector<Flow> LiveTable::flows() const {
  std::vector<Flow> flows;
  flows.reserve(live_.size());
  for (const auto* live : live_) flows.push_back(live->flow());
  return flows;
}

std::size_t LiveTable::recheck(const Snapshot& snapshot) {
  std::vector<Live*> condemned;
  for (auto* live : live_) {
    if (!live->still_allowed(snapshot)) condemned.push_back(live);
  }
  for (auto* live : condemned) live->cut(to_string(Reason::policy_changed));
  return condemned.size();
}

void LiveTable::cut_all(std::string_view why) {
  const std::vector<Live*> all(live_.begin(), live_.end());
  for (auto* live : all) live->cut(why);
}

}  // namespace sluice::serving
