#include "base/file_version.h"

#include <sys/stat.h>

#include <cerrno>
#include <ctime>

namespace sluice {
namespace {

std::int64_t to_ns(const timespec& time) {
  return std::int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

}  // namespace

Result<FileVersion> FileVersion::of(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) return FileVersion{};
    return Error::from_errno("look at " + path, errno);
  }
  if (!S_ISREG(status.st_mode)) return Error(path + " is not a regular file");
  return FileVersion{status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size), to_ns(status.st_mtim),
                     to_ns(status.st_ctim)};
}

}  // namespace sluice
