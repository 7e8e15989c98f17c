// Which signed headers were used already.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <vector>

#include "base/bytes.h"

namespace sluice::gateway {

// Thread-safe; one short lock of one shard a call. At most 48 MiB when full, none while unused.
//
// A header is named by its MAC, which another header of any node has by chance only, and is remembered at least for as
// long as it is good: until `age_ms` after it was signed. Never is one forgotten to make room. Times are milliseconds
// since the Unix epoch; should the clock be set back, headers as old as what was forgotten stay refused.
class ReplayCache {
 public:
  static constexpr std::size_t default_capacity = std::size_t{1} << 20;

  enum class Answer : std::uint8_t {
    fresh,      // seen for the first time; from now on it is replayed
    replayed,   // seen before
    forgotten,  // so old that it may have been seen
    full,       // it could not be remembered
  };

  // `age_ms`: gateway.header_age. `capacity`: headers that are remembered at once, a multiple of 16.
  explicit ReplayCache(std::uint64_t age_ms, std::size_t capacity = default_capacity);

  // `mac`: at least 16 bytes that were found right. `signed_ms` is at most `age_ms` away from `now_ms`.
  Answer admit(ByteSpan mac, std::uint64_t signed_ms, std::uint64_t now_ms);

 private:
  // 127 bits of a MAC; never all zero, which is an empty slot.
  using Name = std::array<std::uint64_t, 2>;

  // An open-addressed set that doubles, at most half full.
  class Names {
   public:
    bool contains(const Name& name, std::uint64_t hash) const;
    void insert(const Name& name, std::uint64_t hash, const Name& salt, std::uint64_t signed_ms);
    std::size_t size() const { return size_; }
    // The latest time that one of them was signed at.
    std::uint64_t newest_ms() const { return newest_ms_; }

   private:
    std::size_t find(const Name& name, std::uint64_t hash) const;
    void grow(const Name& salt);

    std::vector<Name> slots_;
    std::size_t size_ = 0;
    std::uint64_t newest_ms_ = 0;
  };

  // Two generations: when all of the older one are past their time it goes, and the younger one takes its place.
  struct Shard {
    std::mutex mutex;
    Names older;
    Names younger;
    std::uint64_t forgotten_ms = 0;  // the latest time that one of the forgotten was signed at
  };

  static std::uint64_t hash_of(const Name& name, const Name& salt) { return name[0] * salt[0] + name[1] * salt[1]; }
  void forget_old(Shard& shard, std::uint64_t now_ms) const;

  static constexpr std::size_t shard_count = 16;

  const std::uint64_t age_ms_;
  const std::size_t shard_capacity_;
  // A node can choose MACs among many of its own: without a secret in the hash it could make them collide.
  Name salt_{};
  std::array<Shard, shard_count> shards_;
};

}  // namespace sluice::gateway
