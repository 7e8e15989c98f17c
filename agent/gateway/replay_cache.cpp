#include "gateway/replay_cache.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "tls/random.h"

namespace sluice::gateway {
namespace {

constexpr std::size_t min_slots = 64;

}  // namespace

ReplayCache::ReplayCache(std::uint64_t age_ms, std::size_t capacity)
    : age_ms_(age_ms), shard_capacity_(capacity / shard_count) {
  std::array<std::uint8_t, sizeof(salt_)> random{};
  tls::fill_random(random);
  salt_ = std::bit_cast<Name>(random);
  for (auto& word : salt_) word |= 1;
}

ReplayCache::Answer ReplayCache::admit(ByteSpan mac, std::uint64_t signed_ms, std::uint64_t now_ms) {
  Name name;
  std::memcpy(name.data(), mac.data(), sizeof(name));
  name[0] |= 1;
  const auto hash = hash_of(name, salt_);
  // The best bits of a product are the upper ones. Those of the slot are below those of the shard.
  auto& shard = shards_[hash >> 60];

  const std::lock_guard lock(shard.mutex);
  forget_old(shard, now_ms);
  if (signed_ms <= shard.forgotten_ms) return Answer::forgotten;
  if (shard.younger.contains(name, hash) || shard.older.contains(name, hash)) return Answer::replayed;
  if (shard.younger.size() + shard.older.size() >= shard_capacity_) return Answer::full;
  shard.younger.insert(name, hash, salt_, signed_ms);
  return Answer::fresh;
}

// Once is enough: a call adds one header, and what goes here is at least one.
void ReplayCache::forget_old(Shard& shard, std::uint64_t now_ms) const {
  if (shard.older.newest_ms() + age_ms_ >= now_ms) return;
  shard.forgotten_ms = std::max(shard.forgotten_ms, shard.older.newest_ms());
  shard.older = std::exchange(shard.younger, Names());
}

bool ReplayCache::Names::contains(const Name& name, std::uint64_t hash) const {
  return !slots_.empty() && slots_[find(name, hash)] == name;
}

void ReplayCache::Names::insert(const Name& name, std::uint64_t hash, const Name& salt, std::uint64_t signed_ms) {
  if (2 * (size_ + 1) > slots_.size()) grow(salt);
  slots_[find(name, hash)] = name;
  ++size_;
  newest_ms_ = std::max(newest_ms_, signed_ms);
}

// Its slot, or the empty one where it would be. There is one: half of them are.
std::size_t ReplayCache::Names::find(const Name& name, std::uint64_t hash) const {
  const auto mask = slots_.size() - 1;
  auto slot = static_cast<std::size_t>(hash << 4 >> (64 - std::countr_zero(slots_.size())));
  while (slots_[slot] != Name{} && slots_[slot] != name) slot = (slot + 1) & mask;
  return slot;
}

void ReplayCache::Names::grow(const Name& salt) {
  const auto before = std::exchange(slots_, std::vector<Name>(std::max(min_slots, slots_.size() * 2)));
  for (const auto& name : before) {
    if (name != Name{}) slots_[find(name, hash_of(name, salt))] = name;
  }
}

}  // namespace sluice::gateway
