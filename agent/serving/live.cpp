#include "serving/live.h"

#include <algorithm>
#include <utility>

namespace sluice::serving {

LiveTable::Place::Place(LiveTable& table, Live& live) : table_(&table), live_(&live) {
  table_->live_.emplace(live_, std::nullopt);
}

LiveTable::Place::Place(Place&& other) noexcept
    : table_(std::exchange(other.table_, nullptr)), live_(other.live_), source_(other.source_) {}

LiveTable::Place::~Place() {
  if (!table_) return;
  table_->live_.erase(live_);
  if (source_) --table_->sources_.find(*source_)->second.count;
}

std::string_view LiveTable::Place::claim(const IpAddress& source, std::uint64_t now_ns) {
  const auto& limits = table_->limits_;
  auto& entry = table_->sources_.try_emplace(source, Source{0, Rate(limits.rate_per_source)}).first->second;
  if (!entry.rate.take(now_ns)) return "the pod's connections come too fast (limits.connections_per_second_per_pod)";
  if (entry.count >= limits.connections_per_source) {
    return "the pod has too many connections (limits.connections_per_pod)";
  }
  // Last, so that a source that is over its share takes nothing from the others'.
  if (!table_->rate_.take(now_ns)) return "connections come too fast (limits.connections_per_second)";
  ++entry.count;
  source_ = source;
  table_->live_[live_] = source;
  return {};
}

double LiveTable::Rate::available(std::uint64_t now_ns) const {
  const auto elapsed_ns = now_ns - std::min(now_ns, last_ns_);
  return std::min(per_second_, tokens_ + per_second_ * static_cast<double>(elapsed_ns) / 1e9);
}

bool LiveTable::Rate::take(std::uint64_t now_ns) {
  tokens_ = available(now_ns);
  last_ns_ = now_ns;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

std::variant<LiveTable::Place, std::string_view> LiveTable::admit(Live& live, std::uint64_t now_ns) {
  if (now_ns >= next_sweep_ns_) forget_idle_sources(now_ns);
  if (live_.size() >= limits_.connections) return "too many connections (limits.connections)";
  return Place(*this, live);
}

void LiveTable::forget_idle_sources(std::uint64_t now_ns) {
  constexpr std::uint64_t second_ns = 1'000'000'000;
  next_sweep_ns_ = now_ns + second_ns;
  std::erase_if(sources_,
                [&](const auto& entry) { return entry.second.count == 0 && entry.second.rate.is_full(now_ns); });
}

std::vector<Flow> LiveTable::flows() const {
  std::vector<Flow> flows;
  flows.reserve(live_.size());
  for (const auto& [live, source] : live_) flows.push_back(live->flow());
  return flows;
}

std::size_t LiveTable::recheck(const Snapshot& snapshot) {
  std::vector<Live*> condemned;
  for (const auto& [live, source] : live_) {
    if (!live->still_allowed(snapshot)) condemned.push_back(live);
  }
  for (auto* live : condemned) live->cut(to_string(Reason::policy_changed));
  return condemned.size();
}

void LiveTable::cut_all(std::string_view why) {
  std::vector<Live*> all;
  all.reserve(live_.size());
  for (const auto& [live, source] : live_) all.push_back(live);
  for (auto* live : all) live->cut(why);
}

void LiveTable::cut_of(const std::set<IpAddress>& sources, std::string_view why) {
  std::vector<Live*> condemned;
  for (const auto& [live, source] : live_) {
    if (source && sources.contains(*source)) condemned.push_back(live);
  }
  for (auto* live : condemned) live->cut(why);
}

}  // namespace sluice::serving
