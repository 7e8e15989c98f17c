#include "kernel/pinned_flows.h"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <utility>

#include "bpf/abi.h"
#include "kernel/abi_version.h"
#include "kernel/pins.h"

namespace sluice::kernel {
namespace {

template <typename Key, typename Value>
Result<UniqueFd> open_table(const std::string& path) {
  auto fd = open_pinned_map(path);
  if (!fd) return fd;
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (::bpf_obj_get_info_by_fd(fd->get(), &info, &size) == 0 && info.key_size == sizeof(Key) &&
      info.value_size == sizeof(Value)) {
    return fd;
  }
  return Error(fmt::format("pinned map {} is not what it should be", path));
}

}  // namespace

PinnedFlows::PinnedFlows(UniqueFd flows, UniqueFd hosts)
    : flows_(std::move(flows)),
      hosts_(std::move(hosts)),
      entries_({flows_.get(), "flows", SLUICE_MAX_FLOWS}, {hosts_.get(), "hosts", SLUICE_MAX_HOSTS}) {}

Result<PinnedFlows> PinnedFlows::open(const std::string& bpffs) {
  const auto directory = maps_directory(bpffs);
  if (auto fits = check_abi_version(directory); !fits) return fits.error();
  auto flows = open_table<sluice_tuple, sluice_flow>(directory + "/flows");
  if (!flows) return flows.error();
  auto hosts = open_table<std::uint64_t, sluice_host>(directory + "/hosts");
  if (!hosts) return hosts.error();
  return PinnedFlows(std::move(*flows), std::move(*hosts));
}

}  // namespace sluice::kernel
