#include "kernel/internal_table.h"

#include <cstring>
#include <map>

namespace sluice::kernel {
namespace {

struct KeyOrder {
  bool operator()(const sluice_internal_key& a, const sluice_internal_key& b) const {
    return std::memcmp(&a, &b, sizeof a) < 0;
  }
};
using Ranges = std::map<sluice_internal_key, std::uint8_t, KeyOrder>;

sluice_internal_key to_key(const Cidr& range) {
  return {.prefix_length = range.mapped_length(), .address = to_kernel(range.address())};
}

Ranges to_ranges(const std::vector<Cidr>& internal, const std::vector<Cidr>& except) {
  Ranges ranges;
  for (const auto& range : internal) ranges[to_key(range)] = SLUICE_INTERNAL;
  for (const auto& range : except) ranges[to_key(range)] = SLUICE_NOT_INTERNAL;
  return ranges;
}

Ranges read(const Tables& tables) {
  Ranges ranges;
  for (const auto& key : tables.internals.keys()) {
    if (const auto kind = tables.internals.find(key)) ranges[key] = *kind;
  }
  return ranges;
}

// Adds or changes those of `kind`.
Status put(const Tables& tables, const Ranges& from, const Ranges& to, std::uint8_t kind) {
  for (const auto& [key, wanted] : to) {
    const auto old = from.find(key);
    if (wanted != kind || (old != from.end() && old->second == kind)) continue;
    if (auto done = tables.internals.put(key, kind); !done) return done;
  }
  return Done{};
}

Status remove(const Tables& tables, const Ranges& from, const Ranges& to, std::uint8_t kind) {
  for (const auto& [key, old] : from) {
    if (old != kind || to.contains(key)) continue;
    if (auto done = tables.internals.remove(key); !done) return done;
  }
  return Done{};
}

// Exceptions come first and go last, so that a wider range never shows without them.
Status change(const Tables& tables, const Ranges& from, const Ranges& to) {
  if (auto done = put(tables, from, to, SLUICE_NOT_INTERNAL); !done) return done;
  if (auto done = put(tables, from, to, SLUICE_INTERNAL); !done) return done;
  if (auto done = remove(tables, from, to, SLUICE_INTERNAL); !done) return done;
  return remove(tables, from, to, SLUICE_NOT_INTERNAL);
}

}  // namespace

Status write_internals(const Tables& tables, const std::vector<Cidr>& internal, const std::vector<Cidr>& except) {
  const auto from = read(tables);
  auto done = change(tables, from, to_ranges(internal, except));
  if (done) return done;
  if (const auto undone = change(tables, read(tables), from); !undone) {
    return done.error().in("and going back: " + undone.error().message());
  }
  return done;
}

}  // namespace sluice::kernel
