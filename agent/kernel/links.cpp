#include "kernel/links.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/bpffs.h"

namespace sluice::kernel {
namespace {

// Of Linux 6.6, which Debian 12's headers are older than.
constexpr auto bpf_tcx_ingress = static_cast<bpf_attach_type>(46);
constexpr auto bpf_tcx_egress = static_cast<bpf_attach_type>(47);
constexpr std::uint32_t bpf_link_type_tcx = 11;
constexpr std::uint32_t bpf_f_before = 1U << 3;

bool is_tcx(const Target& target) {
  return target.type == bpf_tcx_ingress || target.type == bpf_tcx_egress;
}

Result<bpf_link_info> read_info(int link) {
  bpf_link_info info{};
  std::uint32_t size = sizeof info;
  if (::bpf_obj_get_info_by_fd(link, &info, &size) == 0) return info;
  return Error::from_errno("read link information", errno);
}

// All of them become 0 in a link whose target is gone.
std::uint64_t id_of(const bpf_link_info& info) {
  if (info.type == BPF_LINK_TYPE_CGROUP) return info.cgroup.cgroup_id;
  if (info.type == BPF_LINK_TYPE_NETNS) return info.netns.netns_ino;
  return info.type == bpf_link_type_tcx ? info.xdp.ifindex : 0;  // tcx's begins like xdp's: with the ifindex
}

Result<std::uint32_t> program_id(int program) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof info;
  if (::bpf_obj_get_info_by_fd(program, &info, &size) == 0) return info.id;
  return Error::from_errno("read program information", errno);
}

Result<UniqueFd> attach(int program, const Target& target) {
  bpf_link_create_opts options{};
  options.sz = sizeof options;
  // First of its hook: whatever another program there lets pass for good, this one has seen before.
  if (is_tcx(target)) options.flags = bpf_f_before;
  UniqueFd link(::bpf_link_create(program, target.handle, target.type, &options));
  if (link) return link;
  if (is_tcx(target) && errno == EINVAL) return Error("attach by tcx: refused; Linux 6.6 or newer is needed");
  return Error::from_errno("attach", errno);
}

// Runs `program` from the live link; nothing happens to packets in between.
Status update(int link, const bpf_link_info& info, int program) {
  const auto id = program_id(program);
  if (!id) return id.error();
  if (info.prog_id == *id || ::bpf_link_update(link, program, nullptr) == 0) return Done{};
  return Error::from_errno("update the link in place", errno);
}

}  // namespace

Target tcx_ingress(unsigned ifindex) {
  return {bpf_tcx_ingress, static_cast<int>(ifindex), ifindex};
}
Target tcx_egress(unsigned ifindex) {
  return {bpf_tcx_egress, static_cast<int>(ifindex), ifindex};
}

Status PinnedLinks::ensure(const std::string& name, int program, const Target& target) const {
  const UniqueFd old(::bpf_obj_get(path(name).c_str()));
  if (!old && errno != ENOENT) return Error::from_errno(fmt::format("open pin {}", path(name)), errno);
  if (old) {
    const auto info = read_info(old.get());
    if (!info) return info.error().in(name);
    if (id_of(*info) == target.id) {
      const auto done = update(old.get(), *info, program);
      return done ? done : Status(done.error().in(name));
    }
  }
  const auto link = attach(program, target);
  if (!link) return link.error().in(name);
  if (auto done = remove(name); !done) return done;
  if (::bpf_obj_pin(link->get(), path(name).c_str()) == 0) return Done{};
  return Error::from_errno(fmt::format("pin {}", path(name)), errno);
}

Result<std::optional<std::uint64_t>> PinnedLinks::target_id(const std::string& name) const {
  const UniqueFd link(::bpf_obj_get(path(name).c_str()));
  if (!link && errno == ENOENT) return std::optional<std::uint64_t>();
  if (!link) return Error::from_errno(fmt::format("open pin {}", path(name)), errno);
  const auto info = read_info(link.get());
  if (!info) return info.error().in(name);
  return std::optional(id_of(*info));
}

Status PinnedLinks::remove(const std::string& name) const {
  {
    // Unpinning alone would leave the program attached while anyone holds the link.
    const UniqueFd link(::bpf_obj_get(path(name).c_str()));
    if (link) ::bpf_link_detach(link.get());
  }
  if (::unlink(path(name).c_str()) == 0 || errno == ENOENT) return Done{};
  return Error::from_errno(fmt::format("unpin {}", path(name)), errno);
}

std::vector<std::string> PinnedLinks::names() const {
  return list_directory(directory_);
}

}  // namespace sluice::kernel
