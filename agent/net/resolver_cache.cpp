#include "net/resolver_cache.h"

#include <algorithm>

namespace sluice::net {

Addresses interleave(const Addresses& v6, const Addresses& v4, std::size_t max) {
  Addresses result;
  const auto add = [&](const Addresses& from, std::size_t index) {
    if (index >= from.size() || result.size() >= max) return;
    if (std::find(result.begin(), result.end(), from[index]) == result.end()) result.push_back(from[index]);
  };
  for (std::size_t i = 0; i < std::max(v6.size(), v4.size()) && result.size() < max; ++i) {
    add(v6, i);
    add(v4, i);
  }
  return result;
}

const Result<Addresses>* ResolverCache::find(const std::string& name, std::uint64_t now_ns) {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return nullptr;
  if (found->second->expires_ns <= now_ns) {
    erase(found->second);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, found->second);
  return &found->second->answer;
}

void ResolverCache::put(const std::string& name, Result<Addresses> answer, std::uint64_t expires_ns) {
  if (max_entries_ == 0) return;
  if (const auto found = by_name_.find(name); found != by_name_.end()) erase(found->second);
  if (entries_.size() >= max_entries_) erase(std::prev(entries_.end()));
  entries_.push_front({name, std::move(answer), expires_ns});
  by_name_[name] = entries_.begin();
}

void ResolverCache::erase(Entries::iterator entry) {
  by_name_.erase(entry->name);
  entries_.erase(entry);
}

}  // namespace sluice::net
