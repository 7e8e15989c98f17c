#include "kernel/capabilities.h"

#include <fmt/format.h>
#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <string>

namespace sluice::kernel {
namespace {

// In force now; none when the kernel does not say.
std::uint64_t effective() {
  __user_cap_header_struct header{};
  header.version = _LINUX_CAPABILITY_VERSION_3;
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};
  if (::syscall(SYS_capget, &header, data) != 0) return 0;
  return std::uint64_t{data[1].effective} << 32 | data[0].effective;
}

bool has(std::uint64_t capabilities, unsigned capability) {
  return (capabilities >> capability & 1) != 0;
}

}  // namespace

Status check_capabilities() {
  struct Needed {
    const char* name;
    unsigned capability;
    bool by_admin;  // CAP_SYS_ADMIN does as well
  };
  constexpr Needed all[] = {{"CAP_BPF", CAP_BPF, true},
                            {"CAP_PERFMON", CAP_PERFMON, true},
                            {"CAP_NET_ADMIN", CAP_NET_ADMIN, false},
                            {"CAP_NET_RAW", CAP_NET_RAW, false}};
  const auto ours = effective();
  std::string missing;
  for (const auto& needed : all) {
    if (has(ours, needed.capability) || (needed.by_admin && has(ours, CAP_SYS_ADMIN))) continue;
    missing += (missing.empty() ? "" : ", ") + std::string(needed.name);
  }
  if (missing.empty()) return Done{};
  return Error(
      fmt::format("the agent lacks {}: run it as root, or add them to the capabilities of its container", missing));
}

bool can_read_executables() {
  return has(effective(), CAP_SYS_PTRACE);
}

}  // namespace sluice::kernel
