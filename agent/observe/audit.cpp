#include "observe/audit.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/clock.h"
#include "observe/audit_key.h"
#include "observe/audit_line.h"

namespace sluice::observe {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t complaint_interval_ns = 10 * second_ns;

}  // namespace

AuditLog::AuditLog(const settings::Audit& settings, std::string_view node, std::string_view role)
    : settings_(settings), node_(name_as_json(node)), role_(name_as_json(role)), head_(first_head()) {}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const settings::Audit& settings, std::string_view node,
                                                 std::string_view role) {
  std::unique_ptr<AuditLog> log(new AuditLog(settings, node, role));
  if (const auto started = log->start(); !started) return started.error();
  return log;
}

AuditLog::~AuditLog() {
  const std::lock_guard lock(mutex_);
  if (!file_ || file_->torn() || damaged_ || since_checkpoint_ == 0) return;
  read_clocks();
  if (const auto sealed = write_checkpoint(); !sealed) spdlog::error("audit: {}", sealed.error().message());
}

Status AuditLog::start() {
  const std::lock_guard lock(mutex_);
  const std::filesystem::path path(settings_.path);
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) return Error("create " + path.parent_path().string() + ": " + error.message());
  if (!settings_.key_file.empty()) {
    auto key = read_audit_key(settings_.key_file);
    if (!key) return key.error().in("audit.key_file");
    key_ = std::move(*key);
  }
  auto taken = lock_audit_log(settings_.path);
  if (!taken) return taken.error();
  lock_ = std::move(*taken);

  for (const auto& name : {settings_.path + ".1", settings_.path}) {
    if (!std::filesystem::exists(name, error)) continue;
    auto file = AuditFile::open(name);
    if (!file) return file.error();
    const auto tail = file->read_tail(name);
    if (!tail) return tail.error();
    if (tail->seq > seq_) {
      seq_ = tail->seq;
      head_ = tail->head;
    }
    if (name == settings_.path && file->size() > 0) file_ = std::move(*file);
  }
  damaged_ = true;
  read_clocks();
  auto ready = prepare();
  if (ready || settings_.on_failure == settings::OnAuditFailure::deny) return ready;
  spdlog::error("audit: {}: records are dropped and counted until this is mended", ready.error().message());
  return Done{};
}

Status AuditLog::append(const Record& record) {
  const std::lock_guard lock(mutex_);
  read_clocks();
  auto written = prepare();
  if (written) written = write_record(record);
  if (written) return written;
  count_drop(written.error());
  return settings_.on_failure == settings::OnAuditFailure::count ? Status(Done{}) : written;
}

// Everything that must be in the log before the next record.
Status AuditLog::prepare() {
  watch_file();
  if (!file_) {
    if (auto started = start_file(); !started) return started;
  }
  if (damaged_ || file_->torn()) {
    if (auto resumed = resume(); !resumed) return resumed;
  }
  if (unreported_drops_ > 0) {
    Record drops;
    drops.event = Event::drops;
    drops.count = unreported_drops_;
    drops.detail = drop_cause_;
    if (auto written = write_record(drops); !written) return written;
    spdlog::warn("audit: writing again after {} dropped records", unreported_drops_);
    unreported_drops_ = 0;
    next_complaint_ns_ = 0;
  }
  if (file_->size() >= settings_.rotate_bytes && now_ns_ >= next_rotation_ns_) {
    if (const auto rotated = rotate(); !rotated) {
      // The file grows on: a log that is too long is better than none.
      spdlog::error("audit: rotate {}: {}", settings_.path, rotated.error().message());
      next_rotation_ns_ = now_ns_ + second_ns;
    }
  }
  if (checkpoint_due_ || since_checkpoint_ >= settings_.checkpoint_records) return write_checkpoint();
  return Done{};
}

// Ends a damaged tail, so that the next line stands alone, and says so in the log.
Status AuditLog::resume() {
  const auto tail = file_->read_tail(settings_.path);
  if (!tail) return tail.error();
  if (tail->seq > seq_) {
    seq_ = tail->seq;
    head_ = tail->head;
  }
  if (tail->damaged()) {
    Record recovered;
    recovered.event = Event::recovered;
    recovered.detail = tail->damaged_bytes > 0
                           ? std::to_string(tail->damaged_bytes) + " bytes before this line are no whole record"
                           : "the line before lacked its end";
    line_.clear();
    if (tail->open_ended) line_ += '\n';
    auto frame = next_frame();
    frame.prev = tail->last_line;
    frame.head = head_;
    append_line(line_, frame, recovered);
    if (auto written = file_->append(line_); !written) return written;
    if (tail->open_ended) line_.erase(0, 1);
    spdlog::warn("audit: {}: {}", settings_.path, recovered.detail);
    advance();
  }
  damaged_ = false;
  return Done{};
}

Status AuditLog::reopen() {
  const std::lock_guard lock(mutex_);
  read_clocks();
  if (auto ready = prepare(); !ready) return ready.error().in("reopen audit log " + settings_.path);
  if (auto rotated = rotate(); !rotated) return rotated.error().in("reopen audit log " + settings_.path);
  return Done{};
}

Status AuditLog::rotate() {
  if (auto sealed = write_checkpoint(); !sealed) return sealed;
  return start_file();
}

// Puts a new file at the path. It has its first line before it gets its name, so the chain is never without an end on
// disk. On an error the old file stays in use.
Status AuditLog::start_file() {
  const auto fresh_path = settings_.path + ".new";
  auto fresh = AuditFile::create(fresh_path);
  if (!fresh) return fresh.error();
  format_checkpoint();
  auto done = fresh->append(line_);
  if (done) done = shift_files();
  if (done && std::rename(fresh_path.c_str(), settings_.path.c_str()) != 0) {
    done = Error::from_errno("rename " + fresh_path, errno);
  }
  if (!done) {
    std::remove(fresh_path.c_str());
    return done;
  }
  file_ = std::move(*fresh);
  advance();
  since_checkpoint_ = 0;
  checkpoint_due_ = false;
  damaged_ = false;
  return Done{};
}

// path becomes path.1, path.1 becomes path.2 and so on up to the first free number; at keep_files the oldest goes.
Status AuditLog::shift_files() {
  std::error_code error;
  const auto size = std::filesystem::file_size(settings_.path, error);
  const bool occupied = !error && size > 0;
  if (!occupied) return Done{};
  if (!file_ || !file_->is_at(settings_.path)) {
    return Error(settings_.path + " was replaced by a file of someone else: move it away");
  }
  if (settings_.keep_files == 0) return Done{};
  const auto name = [this](unsigned number) { return settings_.path + "." + std::to_string(number); };
  unsigned last = 1;
  while (last < settings_.keep_files && std::filesystem::exists(name(last), error)) ++last;
  for (unsigned number = last; number > 0; --number) {
    const auto from = number == 1 ? settings_.path : name(number - 1);
    if (std::rename(from.c_str(), name(number).c_str()) != 0) {
      return Error::from_errno("rename " + from, errno);
    }
  }
  return Done{};
}

// Once a second: a log that someone removed or cut would otherwise be written into the void.
void AuditLog::watch_file() {
  if (!file_ || now_ns_ < next_watch_ns_) return;
  next_watch_ns_ = now_ns_ + second_ns;
  if (file_->removed()) {
    spdlog::error("audit: {} was removed by someone else: starting a new file", settings_.path);
    file_.reset();
  } else if (file_->changed_by_others()) {
    spdlog::error("audit: {} was changed by someone else", settings_.path);
    damaged_ = true;
  }
}

Status AuditLog::write_record(const Record& record) {
  line_.clear();
  append_line(line_, next_frame(), record);
  if (auto written = file_->append(line_); !written) return written;
  advance();
  return Done{};
}

Status AuditLog::write_checkpoint() {
  format_checkpoint();
  if (auto written = file_->append(line_); !written) return written;
  advance();
  since_checkpoint_ = 0;
  checkpoint_due_ = false;
  return Done{};
}

void AuditLog::format_checkpoint() {
  Record checkpoint;
  checkpoint.event = Event::checkpoint;
  auto frame = next_frame();
  frame.head = head_;
  frame.every = settings_.checkpoint_records;
  const auto mac = key_.empty() ? "" : checkpoint_mac(key_, node_, role_, frame.seq, frame.every, head_);
  frame.mac = mac;
  line_.clear();
  append_line(line_, frame, checkpoint);
}

LineFrame AuditLog::next_frame() const {
  return {.seq = seq_ + 1,
          .wall_ns = wall_ns_,
          .node = node_,
          .role = role_,
          .prev = head_,
          .head = {},
          .mac = {},
          .every = 0};
}

// The line in line_ is in the file.
void AuditLog::advance() {
  hash_.update({reinterpret_cast<const std::uint8_t*>(line_.data()), line_.size() - 1});
  head_ = tls::to_hex(hash_.finish());
  ++seq_;
  ++lines_;
  ++since_checkpoint_;
}

void AuditLog::read_clocks() {
  wall_ns_ = wall_ns();
  now_ns_ = monotonic_ns();
}

void AuditLog::count_drop(const Error& error) {
  ++drops_;
  ++unreported_drops_;
  drop_cause_ = error.message();
  if (now_ns_ < next_complaint_ns_) return;
  next_complaint_ns_ = now_ns_ + complaint_interval_ns;
  spdlog::error("audit: {}: {}: {} records dropped so far", settings_.path, drop_cause_, drops_);
}

AuditState AuditLog::state() const {
  const std::lock_guard lock(mutex_);
  return {.path = settings_.path, .lines = lines_, .drops = drops_, .seq = seq_, .head = head_};
}

}  // namespace sluice::observe
