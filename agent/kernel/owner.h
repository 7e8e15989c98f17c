// Who opens connections.
#pragma once

#include <cstdint>
#include <string>

namespace sluice::kernel {

// The process that owns a connection.
struct Owner {
  std::int32_t pid = 0;  // in the initial pid namespace
  std::string comm;
  std::uint64_t cgroup_id = 0;
};

}  // namespace sluice::kernel
