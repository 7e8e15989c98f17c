#include "kernel/programs.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <cerrno>

#include "base/fd.h"
#include "bpf/abi.h"
#include "kernel/abi_version.h"
#include "kernel/bpffs.h"
#include "kernel/libbpf_log.h"
#include "kernel/skeletons.h"

namespace sluice::kernel {
namespace {

constexpr const char* remedy =
    "run `sluice detach` to remove what is pinned (pods are not enforced until the agent is back), then start again";

std::string pin_path(const std::string& directory, const bpf_map* map) {
  return directory + "/" + ::bpf_map__name(map);
}

Result<bpf_map_info> read_info(int map) {
  bpf_map_info info{};
  std::uint32_t size = sizeof info;
  if (::bpf_obj_get_info_by_fd(map, &info, &size) == 0) return info;
  return Error::from_errno("read map information", errno);
}

Status check_shape(const bpf_map* map, const bpf_map_info& pinned) {
  struct Property {
    const char* name;
    std::uint64_t pinned;
    std::uint64_t expected;
  };
  const Property properties[] = {
      {"type", pinned.type, ::bpf_map__type(map)},
      {"key size", pinned.key_size, ::bpf_map__key_size(map)},
      {"value size", pinned.value_size, ::bpf_map__value_size(map)},
      {"max_entries", pinned.max_entries, ::bpf_map__max_entries(map)},
      {"flags", pinned.map_flags, ::bpf_map__map_flags(map)},
  };
  for (const auto& property : properties) {
    if (property.pinned == property.expected) continue;
    return Error(fmt::format("pinned map {} has {} {}, this agent's has {}: {}", ::bpf_map__name(map), property.name,
                             property.pinned, property.expected, remedy));
  }
  return Done{};
}

Status check_abi(const std::string& directory) {
  auto fits = check_abi_version(directory);
  return fits ? fits : Status(Error(fmt::format("{}: {}", fits.error().message(), remedy)));
}

Status adopt_map(bpf_map* map, const std::string& path) {
  const UniqueFd fd(::bpf_obj_get(path.c_str()));
  if (!fd && errno == ENOENT) return Done{};
  if (!fd) return Error::from_errno(fmt::format("open pin {}", path), errno);
  const auto info = read_info(fd.get());
  if (!info) return info.error().in(path);
  if (auto fits = check_shape(map, *info); !fits) return fits;
  if (::bpf_map__reuse_fd(map, fd.get()) == 0) return Done{};
  return Error::from_errno(fmt::format("reuse map {}", path), errno);
}

// The programs' own constants and variables belong to one load; everything else is shared.
template <typename Each>
Status for_each_shared_map(bpf_object* object, Each each) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    if (::bpf_map__is_internal(map)) continue;
    if (Status done = each(map); !done) return done;
  }
  return Done{};
}

Status adopt_maps(bpf_object* object, const std::string& directory) {
  if (list_directory(directory).empty()) return Done{};
  if (auto fits = check_abi(directory); !fits) return fits;
  return for_each_shared_map(object, [&](bpf_map* map) { return adopt_map(map, pin_path(directory, map)); });
}

Status pin_map(const std::string& directory, const bpf_map* map) {
  const auto path = pin_path(directory, map);
  if (::bpf_obj_pin(::bpf_map__fd(map), path.c_str()) == 0 || errno == EEXIST) return Done{};
  return Error::from_errno(fmt::format("pin {}", path), errno);
}

// The config map goes first, with its version in it: whenever there is any pin, it says which ABI it is of.
Status pin_maps(const gate_bpf& gate, const std::string& directory) {
  const std::uint32_t zero = 0;
  const int configs = ::bpf_map__fd(gate.maps.configs);
  sluice_config config{};
  if (::bpf_map_lookup_elem(configs, &zero, &config) != 0) return Error::from_errno("read map configs", errno);
  config.abi_version = SLUICE_ABI_VERSION;
  if (config.audit_prefix == 0 && ::getrandom(&config.audit_prefix, sizeof config.audit_prefix, 0) < 0) {
    return Error::from_errno("choose the prefix of the flows' record ids", errno);
  }
  if (::bpf_map_update_elem(configs, &zero, &config, BPF_ANY) != 0) {
    return Error::from_errno("write map configs", errno);
  }
  if (auto done = pin_map(directory, gate.maps.configs); !done) return done;
  return for_each_shared_map(gate.obj, [&](bpf_map* map) { return pin_map(directory, map); });
}

Status share_maps(bpf_object* from, bpf_object* to) {
  return for_each_shared_map(to, [&](bpf_map* map) -> Status {
    const int fd = ::bpf_object__find_map_fd_by_name(from, ::bpf_map__name(map));
    if (fd >= 0 && ::bpf_map__reuse_fd(map, fd) == 0) return Done{};
    return Error(fmt::format("share map {}: the gate has no such map", ::bpf_map__name(map)));
  });
}

}  // namespace

void GateFree::operator()(gate_bpf* programs) const {
  gate_bpf__destroy(programs);
}
void IdentityFree::operator()(identity_bpf* programs) const {
  identity_bpf__destroy(programs);
}

Result<Programs> load_programs(const std::string& directory) {
  const LibbpfLog log;
  Programs programs;
  programs.gate.reset(gate_bpf__open());
  programs.identity.reset(identity_bpf__open());
  if (!programs.gate || !programs.identity) return log.error("open the BPF programs", errno);
  if (auto done = adopt_maps(programs.gate->obj, directory); !done) return done.error();
  if (gate_bpf__load(programs.gate.get()) != 0) return log.error("load the gate programs", errno);
  if (auto done = share_maps(programs.gate->obj, programs.identity->obj); !done) return done.error();
  if (identity_bpf__load(programs.identity.get()) != 0) return log.error("load the identity programs", errno);
  if (auto done = pin_maps(*programs.gate, directory); !done) return done.error();
  return programs;
}

}  // namespace sluice::kernel
