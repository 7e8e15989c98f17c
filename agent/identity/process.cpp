#include "identity/process.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

namespace sluice::identity {
namespace {

std::string read_exe(std::int32_t pid) {
  std::array<char, 4096> target;
  const auto size = ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), target.data(), target.size());
  return size > 0 ? std::string(target.data(), static_cast<std::size_t>(size)) : std::string();
}

}  // namespace

Process describe_process(const std::optional<kernel::Owner>& owner) {
  if (!owner) return {};
  return {owner->pid, owner->comm, read_exe(owner->pid), owner->cgroup_id};
}

Process take_process(const kernel::Interception& kernel, const Endpoint& source, const Endpoint& destination) {
  return describe_process(kernel.take_owner(source, destination));
}

}  // namespace sluice::identity
