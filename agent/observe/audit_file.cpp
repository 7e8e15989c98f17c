#include "observe/audit_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <vector>

#include "base/sha256.h"
#include "tls/digest.h"

namespace sluice::observe {
namespace {

constexpr mode_t log_mode = 0640;

ByteSpan bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::optional<boost::json::object> parse_record(std::string_view line) {
  boost::system::error_code error;
  auto value = boost::json::parse(line, error);
  if (error || !value.is_object() || !value.get_object().contains("prev")) return std::nullopt;
  return std::move(value.get_object());
}

std::string_view text_of(const boost::json::object& record, std::string_view key) {
  const auto* value = record.if_contains(key);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

// The sequence number of a line that is an audit record; 0 when it is none.
std::uint64_t record_seq(std::string_view line) {
  const auto record = parse_record(line);
  const auto* seq = record ? record->if_contains("seq") : nullptr;
  if (seq == nullptr || !seq->is_int64() || seq->get_int64() < 1) return 0;
  return static_cast<std::uint64_t>(seq->get_int64());
}

// The last `size` bytes of the file, or as much as there is.
Result<std::string> read_end(int fd, std::size_t size, const std::string& path) {
  struct stat facts{};
  if (::fstat(fd, &facts) != 0) return Error::from_errno("stat " + path, errno);
  const auto wanted = std::min<std::uint64_t>(size, static_cast<std::uint64_t>(facts.st_size));
  std::string text(wanted, '\0');
  std::size_t done = 0;
  while (done < text.size()) {
    const auto offset = facts.st_size - static_cast<off_t>(wanted) + static_cast<off_t>(done);
    const auto got = ::pread(fd, text.data() + done, text.size() - done, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error::from_errno("read " + path, errno);
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace

std::string first_head() {
  return std::string(64, '0');
}

std::string line_hash(std::string_view line) {
  return to_hex(tls::sha256(bytes_of(line)));
}

Result<AuditFile> AuditFile::open(const std::string& path, int flags) {
  // O_NONBLOCK: a FIFO must be refused below, not waited for.
  UniqueFd fd(::open(path.c_str(), flags | O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, log_mode));
  if (!fd) return Error::from_errno("open audit log " + path, errno);
  struct stat facts{};
  if (::fstat(fd.get(), &facts) != 0) return Error::from_errno("stat " + path, errno);
  if (!S_ISREG(facts.st_mode)) return Error("audit log " + path + " is not a regular file");
  return AuditFile(std::move(fd), static_cast<std::uint64_t>(facts.st_size));
}

Result<AuditFile> AuditFile::open(const std::string& path) {
  return open(path, 0);
}

Result<AuditFile> AuditFile::create(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Error::from_errno("remove " + path, errno);
  return open(path, O_EXCL);
}

Status AuditFile::append(std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const auto written = ::write(fd_.get(), bytes.data() + done, bytes.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) {
      const int code = written < 0 ? errno : EIO;
      if (done > 0) cut_back();
      return Error::from_errno("write audit log", code);
    }
    done += static_cast<std::size_t>(written);
  }
  size_ += bytes.size();
  torn_ = false;
  return Done{};
}

void AuditFile::cut_back() {
  torn_ = ::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0;
}

bool AuditFile::removed() const {
  struct stat facts{};
  return ::fstat(fd_.get(), &facts) == 0 && facts.st_nlink == 0;
}

bool AuditFile::changed_by_others() {
  struct stat facts{};
  if (::fstat(fd_.get(), &facts) != 0 || static_cast<std::uint64_t>(facts.st_size) == size_) return false;
  size_ = static_cast<std::uint64_t>(facts.st_size);
  return true;
}

bool AuditFile::is_at(const std::string& path) const {
  struct stat mine{};
  struct stat there{};
  return ::fstat(fd_.get(), &mine) == 0 && ::stat(path.c_str(), &there) == 0 && mine.st_dev == there.st_dev &&
         mine.st_ino == there.st_ino;
}

Result<AuditTail> AuditFile::read_tail(const std::string& path) const {
  const auto window = read_end(fd_.get(), tail_window_bytes, path);
  if (!window) return window.error();
  std::string_view text = *window;
  AuditTail tail;
  tail.head = first_head();
  tail.last_line = tail.head;
  if (text.empty()) return tail;

  tail.open_ended = text.back() != '\n';
  const auto end = text.size();
  auto rest = tail.open_ended ? text : text.substr(0, text.size() - 1);
  bool last = true;
  for (;;) {
    const auto newline = rest.rfind('\n');
    // What precedes the first newline of a window inside the file is a part of a line.
    if (newline == rest.npos && size_ > text.size()) break;
    const auto line = newline == rest.npos ? rest : rest.substr(newline + 1);
    if (last) tail.last_line = line_hash(line);
    last = false;
    if (const auto seq = record_seq(line); seq > 0) {
      tail.seq = seq;
      tail.head = line_hash(line);
      const auto behind = static_cast<std::size_t>(line.data() - text.data()) + line.size() + 1;
      tail.damaged_bytes = behind < end ? end - behind : 0;
      return tail;
    }
    if (newline == rest.npos) break;
    rest = rest.substr(0, newline);
  }
  if (size_ > text.size()) {
    return Error("the last " + std::to_string(text.size()) + " bytes of " + path +
                 " hold no audit record: move the file away");
  }
  tail.damaged_bytes = end;
  return tail;
}

void read_latest(const std::string& path, std::size_t bytes,
                 const std::function<void(std::string_view event, std::string_view id)>& each) {
  for (const auto& name : {path, path + ".1"}) {
    const UniqueFd fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    const auto window = fd ? read_end(fd.get(), bytes, name) : Result<std::string>(std::string());
    if (!window) return;
    bytes -= window->size();
    std::string_view rest = *window;
    while (!rest.empty()) {
      const auto line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(line.size() + 1, rest.size()));
      const auto record = parse_record(line);
      if (!record) continue;
      if (const auto id = text_of(*record, "id"); !id.empty()) each(text_of(*record, "event"), id);
    }
  }
}

Result<UniqueFd> lock_audit_log(const std::string& path) {
  const std::filesystem::path log(path);
  // Hidden: a pattern such as audit.jsonl* must not take it for a part of the log.
  const auto lock_path = (log.parent_path() / ("." + log.filename().string() + ".lock")).string();
  UniqueFd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return Error::from_errno("open " + lock_path, errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno != EWOULDBLOCK) return Error::from_errno("lock " + lock_path, errno);
  return Error("audit log " + path + " is being written by another process: stop it, or set another audit.path");
}

}  // namespace sluice::observe
