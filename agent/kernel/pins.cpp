#include "kernel/pins.h"

#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "kernel/bpffs.h"
#include "kernel/interception.h"
#include "kernel/links.h"

namespace sluice::kernel {
namespace {

Status remove_links(const std::string& directory) {
  const PinnedLinks links(directory);
  for (const auto& name : links.names()) {
    if (auto done = links.remove(name); !done) return done;
  }
  return Done{};
}

Status remove_maps(const std::string& directory) {
  for (const auto& name : list_directory(directory)) {
    const auto path = fmt::format("{}/{}", directory, name);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno(fmt::format("unpin {}", path), errno);
  }
  return Done{};
}

}  // namespace

std::string maps_directory(const std::string& bpffs) {
  return bpffs + "/maps";
}
std::string links_directory(const std::string& bpffs) {
  return bpffs + "/links";
}

Result<UniqueFd> open_pinned_map(const std::string& path) {
  struct bpf_obj_get_opts options{};
  options.sz = sizeof options;
  options.file_flags = BPF_F_RDONLY;
  UniqueFd fd(::bpf_obj_get_opts(path.c_str(), &options));
  if (!fd) return Error::from_errno(fmt::format("open pin {}", path), errno);
  return fd;
}

Status make_pin_directories(const std::string& bpffs) {
  for (const auto& directory : {maps_directory(bpffs), links_directory(bpffs)}) {
    if (::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
      return Error::from_errno(fmt::format("create {}", directory), errno);
    }
  }
  return Done{};
}

Status detach(const std::string& bpffs) {
  if (!is_on_bpffs(bpffs)) return Done{};
  if (auto done = remove_links(links_directory(bpffs)); !done) return done.error().in("detach");
  if (auto done = remove_maps(maps_directory(bpffs)); !done) return done.error().in("detach");
  for (const auto& directory : {links_directory(bpffs), maps_directory(bpffs)}) {
    if (::rmdir(directory.c_str()) != 0 && errno != ENOENT) {
      return Error::from_errno(fmt::format("detach: remove {}", directory), errno);
    }
  }
  const auto done = remove_pin_directory(bpffs);
  return done ? done : Status(done.error().in("detach"));
}

}  // namespace sluice::kernel
