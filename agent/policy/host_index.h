// All host patterns of a snapshot, found by name. One hash table holds exact names and the fixed parts of wildcards; a
// name is hashed from its last byte to its first, so that the hash of each of its suffixes falls out on the way, and
// the table is asked only for suffixes of a length that some wildcard has.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sluice {

class HostIndex {
 public:
  // Patterns are numbered from 0 as they are added.
  using Id = std::uint32_t;
  // Longer names do not exist (RFC 1035 section 2.3.4): they match nothing.
  static constexpr std::size_t max_host_bytes = 255;

  // An index for at most `capacity` distinct patterns.
  explicit HostIndex(std::size_t capacity);

  // The number of `pattern`, the same one if it was added before.
  Id add(std::string_view pattern);

  // The patterns that match one name, most specific first: the exact name, then wildcards from the longest to the
  // shortest.
  class Matches {
   public:
    std::span<const Id> ids() const { return std::span(ids_).first(count_); }

   private:
    friend class HostIndex;
    // The name itself, and a wildcard for each of its suffixes with the empty one. Only the first `count_` are set.
    std::array<Id, max_host_bytes + 2> ids_;
    std::size_t count_ = 0;
  };
  Matches match(std::string_view host) const;

  std::size_t size() const { return size_; }
  // Heap bytes.
  std::size_t bytes() const;
  // Gives back what was set aside for patterns to come.
  void shrink() { records_.shrink_to_fit(); }

 private:
  // The hash of a suffix, and how many bytes it has.
  struct Suffix {
    std::uint64_t hash;
    std::size_t length;
  };
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t record = 0;  // where it begins; 0: the slot is empty
  };
  struct Record {
    Id id;
    std::string_view pattern;
  };
  static constexpr Id absent = UINT32_MAX;

  std::uint64_t extend(std::uint64_t hash, char byte) const;
  std::uint64_t hash_of(std::string_view text) const;
  Record record_at(std::uint32_t position) const;
  std::uint32_t append_record(const Record& record);
  // The id of the pattern with that fixed part, checked by `is_it(pattern)`; else `absent`, and `empty_slot` is where
  // it belongs.
  template <typename IsIt>
  Id find(std::uint64_t hash, bool wildcard, IsIt is_it, std::size_t& empty_slot) const;
  Id find_exact(std::string_view host, std::uint64_t hash) const;
  Id find_wildcard(std::string_view host, const Suffix& suffix) const;

  // The set of lengths to ask for when a suffix begins with a dot, as in "*.foo.com", or with any other byte, as in
  // "*foo.com".
  using Lengths = std::bitset<max_host_bytes + 1>;
  Lengths dotted_lengths_;
  Lengths partial_lengths_;
  std::uint64_t base_;
  std::vector<Slot> slots_;
  std::vector<char> records_;
  std::size_t size_ = 0;
};

}  // namespace sluice
