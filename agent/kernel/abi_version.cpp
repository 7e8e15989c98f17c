#include "kernel/abi_version.h"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/fd.h"
#include "bpf/abi.h"
#include "kernel/pins.h"

namespace sluice::kernel {

// It is the first number of the config map, whatever else has changed there since.
Status check_abi_version(const std::string& directory) {
  const auto path = directory + "/configs";
  const auto fd = open_pinned_map(path);
  if (!fd) return fd.error();
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  const std::uint32_t zero = 0;
  std::uint32_t version = 0;
  std::vector<char> value;
  if (::bpf_obj_get_info_by_fd(fd->get(), &info, &size) == 0) {
    value.resize(std::max<std::size_t>(info.value_size, sizeof version));
  }
  if (info.key_size != sizeof zero || ::bpf_map_lookup_elem(fd->get(), &zero, value.data()) != 0) {
    return Error(fmt::format("pinned map {} cannot be read", path));
  }
  std::memcpy(&version, value.data(), sizeof version);
  if (version == SLUICE_ABI_VERSION) return Done{};
  return Error(fmt::format("maps pinned in {} are of ABI version {}, this agent speaks {}", directory, version,
                           SLUICE_ABI_VERSION));
}

}  // namespace sluice::kernel
