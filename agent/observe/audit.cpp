#include "observe/audit.h"

#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/clock.h"
#include "base/sha256.h"
#include "observe/audit_key.h"
#include "observe/audit_line.h"

namespace sluice::observe {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t complaint_interval_ns = 10 * second_ns;

}  // namespace

AuditLog::AuditLog(const settings::Audit& settings, std::string_view node, std::string_view role)
    : settings_(settings), node_(name_as_json(node)), role_(name_as_json(role)) {
  chain_.head = first_head();
  written_ = chain_;
}

Result<std::unique_ptr<AuditLog>> AuditLog::open(const settings::Audit& settings, std::string_view node,
                                                 std::string_view role) {
  std::unique_ptr<AuditLog> log(new AuditLog(settings, node, role));
  if (const auto started = log->start(); !started) return started.error();
  return log;
}

AuditLog::~AuditLog() {
  const std::lock_guard lock(mutex_);
  if (!file_ || file_->torn() || damaged_ || chain_.since_checkpoint == 0) return;
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
    go_on_from(*tail);
    if (name == settings_.path && file->size() > 0) file_ = std::move(*file);
  }
  damaged_ = true;
  read_clocks();
  auto ready = prepare();
  if (ready || settings_.on_failure == settings::OnAuditFailure::deny) return ready;
  spdlog::error("audit: {}: records are dropped and counted until this is mended", ready.error().message());
  return Done{};
}

Status AuditLog::append(std::span<const Record> records) {
  const std::lock_guard lock(mutex_);
  read_clocks();
  auto written = prepare();
  if (written) {
    for (const auto& record : records) {
      if (chain_.since_checkpoint >= settings_.checkpoint_records) add_checkpoint();
      add_record(record);
    }
    written = flush();
  }
  if (written) return written;
  count_drops(records.size(), written.error());
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
  if (chain_.checkpoint_due || chain_.since_checkpoint >= settings_.checkpoint_records) return write_checkpoint();
  return Done{};
}

// Ends a damaged tail, so that the next line stands alone, and says so in the log.
Status AuditLog::resume() {
  const auto tail = file_->read_tail(settings_.path);
  if (!tail) return tail.error();
  go_on_from(*tail);
  if (tail->damaged()) {
    Record recovered;
    recovered.event = Event::recovered;
    recovered.detail = tail->damaged_bytes > 0
                           ? std::to_string(tail->damaged_bytes) + " bytes before this line are no whole record"
                           : "the line before lacked its end";
    if (tail->open_ended) text_ += '\n';
    auto frame = next_frame();
    frame.prev = tail->last_line;
    frame.head = chain_.head;
    add_line(frame, recovered);
    if (auto written = flush(); !written) return written;
    spdlog::warn("audit: {}: {}", settings_.path, recovered.detail);
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
  add_checkpoint();
  auto done = fresh->append(text_);
  if (done) done = shift_files();
  if (done && std::rename(fresh_path.c_str(), settings_.path.c_str()) != 0) {
    done = Error::from_errno("rename " + fresh_path, errno);
  }
  if (!done) std::remove(fresh_path.c_str());
  settle(bool(done));
  if (!done) return done;
  file_ = std::move(*fresh);
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
  add_record(record);
  return flush();
}

Status AuditLog::write_checkpoint() {
  add_checkpoint();
  return flush();
}

void AuditLog::add_record(const Record& record) {
  add_line(next_frame(), record);
}

void AuditLog::add_checkpoint() {
  Record checkpoint;
  checkpoint.event = Event::checkpoint;
  auto frame = next_frame();
  frame.head = chain_.head;
  frame.every = settings_.checkpoint_records;
  const auto mac = key_.empty() ? "" : checkpoint_mac(key_, node_, role_, frame.seq, frame.every, chain_.head);
  frame.mac = mac;
  add_line(frame, checkpoint);
  chain_.since_checkpoint = 0;
  chain_.checkpoint_due = false;
}

void AuditLog::add_line(const LineFrame& frame, const Record& record) {
  const auto start = text_.size();
  append_line(text_, frame, record);
  const auto line = std::string_view(text_).substr(start, text_.size() - start - 1);
  hash_.update({reinterpret_cast<const std::uint8_t*>(line.data()), line.size()});
  chain_.head = to_hex(hash_.finish());
  ++chain_.seq;
  ++chain_.since_checkpoint;
}

Status AuditLog::flush() {
  auto written = file_->append(text_);
  settle(bool(written));
  return written;
}

void AuditLog::settle(bool written) {
  text_.clear();
  if (written) {
    lines_ += chain_.seq - written_.seq;
    written_ = chain_;
  } else {
    chain_ = written_;
  }
}

void AuditLog::go_on_from(const AuditTail& tail) {
  if (tail.seq <= chain_.seq) return;
  chain_.seq = tail.seq;
  chain_.head = tail.head;
  written_ = chain_;
}

LineFrame AuditLog::next_frame() const {
  return {.seq = chain_.seq + 1,
          .wall_ns = wall_ns_,
          .node = node_,
          .role = role_,
          .prev = chain_.head,
          .head = {},
          .mac = {},
          .every = 0};
}

void AuditLog::read_clocks() {
  wall_ns_ = wall_ns();
  now_ns_ = monotonic_ns();
}

void AuditLog::count_drops(std::size_t records, const Error& error) {
  drops_ += records;
  unreported_drops_ += records;
  drop_cause_ = error.message();
  if (now_ns_ < next_complaint_ns_) return;
  next_complaint_ns_ = now_ns_ + complaint_interval_ns;
  spdlog::error("audit: {}: {}: {} records dropped so far", settings_.path, drop_cause_, drops_);
}

AuditState AuditLog::state() const {
  const std::lock_guard lock(mutex_);
  return {.path = settings_.path, .lines = lines_, .drops = drops_, .seq = written_.seq, .head = written_.head};
}

}  // namespace sluice::observe
