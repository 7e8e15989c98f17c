#include "kernel/listener_table.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::kernel {
namespace {

constexpr std::uint32_t first_v4 = 0;
constexpr std::uint32_t first_v6 = SLUICE_MAX_LISTENERS;

Status put(const Tables& tables, std::span<const int> sockets, std::uint32_t first) {
  for (std::uint32_t n = 0; n < sockets.size(); ++n) {
    if (auto done = tables.listeners.put(first + n, static_cast<std::uint64_t>(sockets[n])); !done) return done;
  }
  return Done{};
}

Status remove_from(const Tables& tables, std::size_t count, std::uint32_t first) {
  for (auto n = static_cast<std::uint32_t>(count); n < SLUICE_MAX_LISTENERS; ++n) {
    // A map of sockets calls an empty place an invalid argument.
    if (auto done = tables.listeners.remove(first + n, EINVAL); !done) return done;
  }
  return Done{};
}

}  // namespace

Status write_listeners(const Tables& tables, std::span<const int> v4, std::span<const int> v6) {
  const auto count = static_cast<std::uint32_t>(std::max(v4.size(), v6.size()));
  if (count > SLUICE_MAX_LISTENERS) {
    return Error(fmt::format("{} listeners: at most {} of a family", count, static_cast<int>(SLUICE_MAX_LISTENERS)));
  }
  if (v4.size() != v6.size() && !v4.empty() && !v6.empty()) {
    return Error(
        fmt::format("{} IPv4 and {} IPv6 listeners: as many of each are needed, or none", v4.size(), v6.size()));
  }
  if (auto done = put(tables, v4, first_v4); !done) return done;
  if (auto done = put(tables, v6, first_v6); !done) return done;
  const auto set_count = [count](sluice_config& config) { config.listener_count = count; };
  if (auto done = tables.change_config(set_count); !done) return done;
  if (auto done = remove_from(tables, v4.size(), first_v4); !done) return done;
  return remove_from(tables, v6.size(), first_v6);
}

}  // namespace sluice::kernel
