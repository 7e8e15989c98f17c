#include "identity/process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "base/fd.h"
#include "identity/container.h"

namespace sluice::identity {
namespace {

constexpr std::size_t max_known = 1024;
constexpr std::uint64_t believed_ns = 1'000'000'000;

std::string read_exe(std::int32_t pid) {
  std::array<char, 4096> target;
  const auto size = ::readlink(fmt::format("/proc/{}/exe", pid).c_str(), target.data(), target.size());
  return size > 0 ? std::string(target.data(), static_cast<std::size_t>(size)) : std::string();
}

std::string read_container(std::int32_t pid) {
  UniqueFd file(::open(fmt::format("/proc/{}/cgroup", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return {};
  std::array<char, 8192> text;
  const auto size = ::read(file.get(), text.data(), text.size());
  return size > 0 ? find_container({text.data(), static_cast<std::size_t>(size)}) : std::string();
}

}  // namespace

Process describe_process(const std::optional<kernel::Owner>& owner) {
  if (!owner) return {};
  return {owner->pid, owner->comm, read_exe(owner->pid), read_container(owner->pid), owner->cgroup_id};
}

Process ProcessCache::describe(const std::optional<kernel::Owner>& owner, std::uint64_t now_ns) {
  if (!owner) return {};
  if (by_pid_.size() >= max_known) by_pid_.clear();
  auto& known = by_pid_[owner->pid];
  const bool same = known.process.comm == owner->comm && known.process.cgroup_id == owner->cgroup_id;
  if (!same || now_ns >= known.until_ns) known = {describe_process(owner), now_ns + believed_ns};
  return known.process;
}

Process take_process(const kernel::Interception& kernel, const Endpoint& source, const Endpoint& destination) {
  return describe_process(kernel.take_owner(source, destination));
}

}  // namespace sluice::identity
