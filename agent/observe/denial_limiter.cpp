#include "observe/denial_limiter.h"

#include <algorithm>

namespace sluice::observe {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;

// A namespace holds no slash, so no two pods share a key; the empty key is everybody else.
std::string key_of(const std::optional<PodFacts>& pod) {
  return pod ? pod->namespace_name + "/" + pod->name : "";
}

}  // namespace

DenialLimiter::DenialLimiter(std::uint32_t denials_per_second, std::size_t max_pods)
    : rate_(denials_per_second), max_pods_(max_pods) {}

bool DenialLimiter::admit(const Record& denial, std::uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  auto& pod = pod_of(denial, now_ns);
  refill(pod, now_ns);
  if (pod.tokens >= 1) {
    pod.tokens -= 1;
    return true;
  }
  auto& held = pod.held[static_cast<std::size_t>(denial.reason.value_or(Reason::policy_not_ready))];
  held.verdict = denial.verdict.value_or(Decision::deny);
  held.count += denial.count;
  pod.holds = true;
  return false;
}

std::vector<Record> DenialLimiter::flush(std::uint64_t now_ns) {
  const std::lock_guard lock(mutex_);
  std::vector<Record> records;
  for (auto& [key, pod] : pods_) {
    if (!pod.holds) continue;
    for (std::size_t index = 0; index < reason_count; ++index) {
      auto& held = pod.held[index];
      if (held.count == 0) continue;
      Record record;
      record.event = Event::deny;
      record.pod = pod.facts;
      record.verdict = held.verdict;
      record.reason = static_cast<Reason>(index);
      record.detail = "further calls, over limits.denials_per_second";
      record.count = held.count;
      records.push_back(std::move(record));
      held = {};
    }
    pod.holds = false;
  }
  // After a second of silence an allowance is whole again: as good as new.
  std::erase_if(pods_, [now_ns](const auto& entry) { return now_ns >= entry.second.filled_ns + second_ns; });
  return records;
}

DenialLimiter::Pod& DenialLimiter::pod_of(const Record& denial, std::uint64_t now_ns) {
  auto key = key_of(denial.pod);
  if (const auto found = pods_.find(key); found != pods_.end()) return found->second;
  const bool shared = pods_.size() >= max_pods_;
  if (shared) key.clear();
  const auto [entry, added] = pods_.try_emplace(std::move(key));
  if (added) {
    if (!shared) entry->second.facts = denial.pod;
    entry->second.tokens = rate_;
    entry->second.filled_ns = now_ns;
  }
  return entry->second;
}

void DenialLimiter::refill(Pod& pod, std::uint64_t now_ns) const {
  if (now_ns <= pod.filled_ns) return;
  const auto seconds = static_cast<double>(now_ns - pod.filled_ns) / static_cast<double>(second_ns);
  pod.tokens = std::min(rate_, pod.tokens + seconds * rate_);
  pod.filled_ns = now_ns;
}

}  // namespace sluice::observe
