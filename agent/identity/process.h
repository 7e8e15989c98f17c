// Which process opened a connection: the kernel's word, completed from /proc while the process lives.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/ip.h"
#include "kernel/interception.h"

namespace sluice::identity {

struct Process {
  std::int32_t pid = 0;  // 0: unknown
  std::string comm;
  std::string exe;        // empty: the process is gone or may not be read
  std::string container;  // the runtime's id; empty: none, or the process is gone
  std::uint64_t cgroup_id = 0;
};

// `owner` is what the kernel says.
Process describe_process(const std::optional<kernel::Owner>& owner);
// The same for many calls of few processes: what /proc said is believed for a second. Belongs to one thread.
class ProcessCache {
 public:
  Process describe(const std::optional<kernel::Owner>& owner, std::uint64_t now_ns);

 private:
  struct Known {
    Process process;
    std::uint64_t until_ns = 0;
  };
  std::unordered_map<std::int32_t, Known> by_pid_;
};

// To be asked once, when the connection is accepted: see kernel::Interception::take_owner.
Process take_process(const kernel::Interception& kernel, const Endpoint& source, const Endpoint& destination);

}  // namespace sluice::identity
