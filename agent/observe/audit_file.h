// The file below an audit log: appends whole or nothing, and says where its chain ends.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"

namespace sluice::observe {

// How far back the last record of a file is looked for.
inline constexpr std::size_t tail_window_bytes = 1024UL * 1024;

// The end of a file's chain.
struct AuditTail {
  std::uint64_t seq = 0;            // of the last whole record; 0: there is none
  std::string head;                 // its SHA-256; 64 zeros when there is none
  std::uint64_t damaged_bytes = 0;  // behind that record and no record
  std::string last_line;            // SHA-256 of the last line, be it a record or damage
  bool open_ended = false;          // the last line lacks its newline

  bool damaged() const { return damaged_bytes > 0 || open_ended; }
};

// "prev" of the very first line.
std::string first_head();

// SHA-256 of a line without its newline, in hexadecimal.
std::string line_hash(std::string_view line);

class AuditFile {
 public:
  // Opens `path` for appending, creating it when missing. Refuses what is not a regular file.
  static Result<AuditFile> open(const std::string& path);
  // Creates `path`; what was there before is removed.
  static Result<AuditFile> create(const std::string& path);

  // Appends `bytes` as a whole. After an error nothing of them remains, or torn() is true.
  Status append(std::string_view bytes);
  bool torn() const { return torn_; }

  std::uint64_t size() const { return size_; }
  // True when the file was removed, or is not as long as it was left: someone else has been at it.
  bool removed() const;
  bool changed_by_others();
  // True when `path` names this very file.
  bool is_at(const std::string& path) const;

  // The end of its chain. An error when there is something, but no record in the last tail_window_bytes.
  Result<AuditTail> read_tail(const std::string& path) const;

 private:
  explicit AuditFile(UniqueFd fd, std::uint64_t size) : fd_(std::move(fd)), size_(size) {}
  static Result<AuditFile> open(const std::string& path, int flags);
  void cut_back();

  UniqueFd fd_;
  std::uint64_t size_ = 0;
  bool torn_ = false;
};

// What the last `bytes` of the log at `path`, of its newest rotated file too where the present one is shorter, say of
// calls: calls `each` with event and id of every whole record that has an id, in no order.
void read_latest(const std::string& path, std::size_t bytes,
                 const std::function<void(std::string_view event, std::string_view id)>& each);

// Takes the log at `path` for this process until the result is closed, by a lock on a hidden file beside it.
Result<UniqueFd> lock_audit_log(const std::string& path);

}  // namespace sluice::observe
