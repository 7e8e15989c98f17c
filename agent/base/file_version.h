// Has a file changed since it was read? One stat(2) tells; whether a path is the file itself or a symbolic link that is
// swapped for another (as Kubernetes mounts Secrets) makes no difference.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace sluice {

// Which file a path leads to and in which state. As long as it stays equal, what was read after it was taken is
// current.
struct FileVersion {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;  // 0: there is no file
  std::uint64_t bytes = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;

  bool exists() const { return inode != 0; }
  bool operator==(const FileVersion&) const = default;

  // An error for what is no regular file (a FIFO would block its reader) or cannot be looked at.
  static Result<FileVersion> of(const std::string& path);
};

}  // namespace sluice
