#include "kernel/bpffs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace sluice::kernel {
namespace {

namespace fs = std::filesystem;

constexpr const char* mount_source = "sluice";  // by which our own mount is told from the system's

bool is_on(const std::string& path, decltype(statfs::f_type) type) {
  struct statfs info{};
  return ::statfs(path.c_str(), &info) == 0 && info.f_type == type;
}

bool is_empty_directory(const std::string& path) {
  std::error_code error;
  return fs::is_directory(path, error) && fs::is_empty(path, error) && !error;
}

// Names with a dot are the kernel's own (maps.debug, progs.debug): no program can pin by such a name.
bool holds_no_pins(const std::string& mounted) {
  const auto names = list_directory(mounted);
  return std::all_of(names.begin(), names.end(), [](const auto& name) { return name.find('.') != name.npos; });
}

std::string parent_of(const std::string& directory) {
  return fs::path(directory).parent_path();
}

Status mount_bpffs(const std::string& target) {
  if (::mount(mount_source, target.c_str(), "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") == 0) return Done{};
  return Error::from_errno(fmt::format("mount a bpffs at {}", target), errno);
}

// Is the bpffs at `target` one that mount_bpffs() made? See proc_pid_mountinfo(5) for the format.
bool is_own_mount(const std::string& target) {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string skipped;
    std::string point;
    std::string type;
    std::string source;
    fields >> skipped >> skipped >> skipped >> skipped >> point;
    while (fields >> skipped && skipped != "-") {
    }
    fields >> type >> source;
    if (point == target && type == "bpf" && source == mount_source) return true;
  }
  return false;
}

// Detached rather than unmounted: an agent that still runs has the directory open.
Status unmount(const std::string& target) {
  if (::umount2(target.c_str(), MNT_DETACH) == 0) return Done{};
  return Error::from_errno(fmt::format("unmount {}", target), errno);
}

Status remove_directory(const std::string& directory) {
  if (::rmdir(directory.c_str()) == 0 || errno == ENOENT) return Done{};
  return Error::from_errno(fmt::format("remove {}", directory), errno);
}

}  // namespace

bool is_on_bpffs(const std::string& path) {
  return is_on(path, BPF_FS_MAGIC);
}

Status make_pin_directory(const std::string& directory) {
  if (directory.empty() || directory.front() != '/' || directory == "/") {
    return Error(fmt::format("bpffs directory {}: must be an absolute path", directory));
  }
  if (is_on_bpffs(directory)) return Done{};
  const auto parent = parent_of(directory);
  std::error_code error;
  if (!is_on_bpffs(parent)) {
    const bool in_sysfs = is_on(parent, SYSFS_MAGIC) && is_empty_directory(parent);
    if (!in_sysfs) fs::create_directories(directory, error);
    if (error) return Error(fmt::format("create {}: {}", directory, error.message()));
    if (auto done = mount_bpffs(in_sysfs ? parent : directory); !done) return done;
  }
  if (::mkdir(directory.c_str(), 0700) == 0 || errno == EEXIST) return Done{};
  return Error::from_errno(fmt::format("create {}", directory), errno);
}

Status remove_pin_directory(const std::string& directory) {
  if (is_own_mount(directory)) {
    if (auto done = unmount(directory); !done) return done;
  }
  if (auto done = remove_directory(directory); !done) return done;
  const auto parent = parent_of(directory);
  return is_own_mount(parent) && holds_no_pins(parent) ? unmount(parent) : Status(Done{});
}

Result<UniqueFd> lock_pin_directory(const std::string& directory) {
  UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return Error::from_errno(fmt::format("open {}", directory), errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return Error::from_errno(fmt::format("lock {}", directory), errno);
  return Error(fmt::format("{} is in use by a running agent: stop that one first", directory));
}

std::vector<std::string> list_directory(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(directory, error); !error && entry != fs::directory_iterator();
       entry.increment(error)) {
    names.push_back(entry->path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace sluice::kernel
