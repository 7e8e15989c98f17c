#include "observe/audit_follower.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string_view>

namespace sluice::observe {
namespace {

constexpr std::size_t block_bytes = 64UL * 1024;
constexpr std::size_t max_read_bytes = 64 * block_bytes;
constexpr std::size_t max_unfinished_bytes = 1024UL * 1024;

Result<UniqueFd> open_for_reading(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return Error::from_errno("open " + path, errno);
  return fd;
}

// Up to block_bytes from `offset`; empty at the end.
Result<std::string> read_block(int fd, std::uint64_t offset, std::size_t size) {
  std::string block(size, '\0');
  ssize_t got = 0;
  do {
    got = ::pread(fd, block.data(), block.size(), static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  if (got < 0) return Error::from_errno("read", errno);
  block.resize(static_cast<std::size_t>(got));
  return block;
}

}  // namespace

Result<AuditFollower> AuditFollower::open(const std::string& path, std::size_t line_count) {
  auto fd = open_for_reading(path);
  if (!fd) return fd.error();
  AuditFollower follower(path, std::move(*fd));
  if (const auto found = follower.seek_lines(line_count); !found) return found.error().in(path);
  return follower;
}

Status AuditFollower::seek_lines(std::size_t line_count) {
  struct stat facts{};
  if (::fstat(fd_.get(), &facts) != 0) return Error::from_errno("stat", errno);
  const auto size = static_cast<std::uint64_t>(facts.st_size);
  std::size_t newlines = 0;
  for (auto end = size; end > 0;) {
    const auto length = std::min<std::uint64_t>(end, block_bytes);
    const auto block = read_block(fd_.get(), end - length, length);
    if (!block) return block.error();
    for (auto index = block->size(); index > 0; --index) {
      if ((*block)[index - 1] != '\n') continue;
      // So many whole lines stand behind the newline before them.
      if (++newlines <= line_count) continue;
      offset_ = end - length + index;
      return Done{};
    }
    end -= length;
  }
  offset_ = 0;
  return Done{};
}

Result<std::vector<std::string>> AuditFollower::next() {
  std::vector<std::string> lines;
  struct stat facts{};
  if (::fstat(fd_.get(), &facts) == 0 && static_cast<std::uint64_t>(facts.st_size) < offset_) offset_ = 0;
  const bool was_rotated = rotated();
  const auto read = read_lines(lines);
  if (!read) return read.error();
  // Only what was read to its end after the rotation holds nothing more.
  if (!was_rotated || *read > 0) return lines;
  auto fd = open_for_reading(path_);
  if (!fd) return fd.error();
  fd_ = std::move(*fd);
  offset_ = 0;
  if (!unfinished_.empty()) lines.push_back(std::move(unfinished_));
  unfinished_.clear();
  if (const auto more = read_lines(lines); !more) return more.error();
  return lines;
}

Result<std::size_t> AuditFollower::read_lines(std::vector<std::string>& lines) {
  std::size_t total = 0;
  while (total < max_read_bytes) {
    const auto block = read_block(fd_.get(), offset_, block_bytes);
    if (!block) return block.error().in(path_);
    if (block->empty()) break;
    offset_ += block->size();
    total += block->size();
    std::string_view rest = *block;
    for (auto newline = rest.find('\n'); newline != rest.npos; newline = rest.find('\n')) {
      lines.push_back(std::move(unfinished_) + std::string(rest.substr(0, newline)));
      unfinished_.clear();
      rest.remove_prefix(newline + 1);
    }
    unfinished_ += rest;
    if (unfinished_.size() > max_unfinished_bytes) {
      lines.push_back(std::move(unfinished_));
      unfinished_.clear();
    }
  }
  return total;
}

bool AuditFollower::rotated() const {
  struct stat mine{};
  struct stat there{};
  return ::fstat(fd_.get(), &mine) == 0 && ::stat(path_.c_str(), &there) == 0 &&
         (mine.st_dev != there.st_dev || mine.st_ino != there.st_ino);
}

}  // namespace sluice::observe
