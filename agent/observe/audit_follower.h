// Reads the lines at the end of a log, and those that come, over rotation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::observe {

class AuditFollower {
 public:
  // Starts with the last `line_count` lines of the file that `path` names now.
  static Result<AuditFollower> open(const std::string& path, std::size_t line_count);

  // The whole lines since the last call, without their newlines; goes on with the new file after a rotation. Never
  // waits. At most some MiB a call: call again until nothing comes.
  Result<std::vector<std::string>> next();
  // What stands behind the last newline.
  const std::string& unfinished() const { return unfinished_; }

 private:
  AuditFollower(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Status seek_lines(std::size_t line_count);
  // Appends what there is to read, up to a bound, as lines; how many bytes it was.
  Result<std::size_t> read_lines(std::vector<std::string>& lines);
  bool rotated() const;

  std::string path_;
  UniqueFd fd_;
  std::uint64_t offset_ = 0;
  std::string unfinished_;
};

}  // namespace sluice::observe
