#include "policy/host_index.h"

#include <cstring>
#include <random>

#include "base/spread.h"
#include "policy/host_match.h"

namespace sluice {
namespace {

__extension__ using Wide = unsigned __int128;

// A name is the polynomial of its bytes, modulo the Mersenne prime 2^61 - 1, at a random point: nobody who may register
// services can craft names that collide, since two given names do so with a probability below 2^-52.
constexpr std::uint64_t modulus = (std::uint64_t{1} << 61) - 1;

std::uint64_t random_base() {
  std::random_device device;
  return std::uniform_int_distribution<std::uint64_t>(std::uint64_t{1} << 32, modulus - 1)(device);
}

}  // namespace

// A byte in front, so that no record begins at 0.
HostIndex::HostIndex(std::size_t capacity) : base_(random_base()), slots_(capacity * 2 + 1), records_(1) {}

// A record is the id, the number of bytes of the pattern, and the pattern.
HostIndex::Record HostIndex::record_at(std::uint32_t position) const {
  std::uint32_t head[2];
  std::memcpy(head, &records_[position], sizeof head);
  return {head[0], std::string_view(&records_[position] + sizeof head, head[1])};
}

std::uint32_t HostIndex::append_record(const Record& record) {
  const auto position = records_.size();
  const std::uint32_t head[2] = {record.id, static_cast<std::uint32_t>(record.pattern.size())};
  records_.resize(position + sizeof head);
  std::memcpy(&records_[position], head, sizeof head);
  records_.insert(records_.end(), record.pattern.begin(), record.pattern.end());
  return static_cast<std::uint32_t>(position);
}

std::uint64_t HostIndex::extend(std::uint64_t hash, char byte) const {
  const Wide product = Wide{hash} * base_ + static_cast<unsigned char>(byte) + 1;
  const auto folded = (static_cast<std::uint64_t>(product) & modulus) + static_cast<std::uint64_t>(product >> 61);
  return folded >= modulus ? folded - modulus : folded;
}

std::uint64_t HostIndex::hash_of(std::string_view text) const {
  std::uint64_t hash = 0;
  for (auto byte = text.rbegin(); byte != text.rend(); ++byte) hash = extend(hash, *byte);
  return hash;
}

template <typename IsIt>
HostIndex::Id HostIndex::find(std::uint64_t hash, bool wildcard, IsIt is_it, std::size_t& empty_slot) const {
  const std::uint64_t key = spread(hash << 1 | (wildcard ? 1 : 0));
  const auto tag = static_cast<std::uint32_t>(key);
  auto position = static_cast<std::size_t>(Wide{key} * slots_.size() >> 64);
  while (slots_[position].record != 0) {
    const Slot& slot = slots_[position];
    if (slot.tag == tag) {
      if (const Record record = record_at(slot.record); is_it(record.pattern)) return record.id;
    }
    if (++position == slots_.size()) position = 0;
  }
  empty_slot = position;
  return absent;
}

HostIndex::Id HostIndex::find_exact(std::string_view host, std::uint64_t hash) const {
  std::size_t unused = 0;
  return find(hash, false, [&](std::string_view pattern) { return !is_wildcard(pattern) && pattern == host; }, unused);
}

HostIndex::Id HostIndex::find_wildcard(std::string_view host, const Suffix& suffix) const {
  std::size_t unused = 0;
  const auto is_it = [&](std::string_view pattern) {
    return is_wildcard(pattern) && pattern.size() == suffix.length + 1 && host_matches(pattern, host);
  };
  return find(suffix.hash, true, is_it, unused);
}

HostIndex::Matches HostIndex::match(std::string_view host) const {
  Matches matches;
  if (host.size() > max_host_bytes) return matches;
  std::array<Suffix, max_host_bytes + 1> wildcards;  // only the first `count` are ever set
  std::size_t count = 0;
  std::uint64_t hash = 0;
  if (partial_lengths_[0]) wildcards[count++] = {hash, 0};
  for (std::size_t length = 1; length <= host.size(); ++length) {
    const char first = host[host.size() - length];
    hash = extend(hash, first);
    if ((first == '.' ? dotted_lengths_ : partial_lengths_)[length]) wildcards[count++] = {hash, length};
  }
  const auto keep = [&](Id id) {
    if (id != absent) matches.ids_[matches.count_++] = id;
  };
  keep(find_exact(host, hash));
  while (count > 0) keep(find_wildcard(host, wildcards[--count]));
  return matches;
}

HostIndex::Id HostIndex::add(std::string_view pattern) {
  const bool wildcard = is_wildcard(pattern);
  const auto fixed = pattern.substr(wildcard ? 1 : 0);
  const auto hash = hash_of(fixed);
  std::size_t slot = 0;
  const Id known = find(hash, wildcard, [&](std::string_view other) { return other == pattern; }, slot);
  if (known != absent) return known;
  const auto id = static_cast<Id>(size_++);
  const auto key = spread(hash << 1 | (wildcard ? 1 : 0));
  slots_[slot] = {static_cast<std::uint32_t>(key), append_record({id, pattern})};
  if (wildcard && fixed.size() <= max_host_bytes) {
    (fixed.starts_with('.') ? dotted_lengths_ : partial_lengths_).set(fixed.size());
  }
  return id;
}

std::size_t HostIndex::bytes() const {
  return slots_.capacity() * sizeof(Slot) + records_.capacity();
}

}  // namespace sluice
