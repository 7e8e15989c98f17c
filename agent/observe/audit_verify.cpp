#include "observe/audit_verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <fstream>
#include <limits>
#include <optional>

#include "observe/audit_file.h"
#include "observe/audit_line.h"

namespace sluice::observe {
namespace {

namespace json = boost::json;

// More than the promised number of lines can stand between two checkpoints by the log's own remarks.
constexpr std::uint64_t checkpoint_slack = 8;

// Lines of a file; of one that is too long only the beginning is kept.
class LineReader {
 public:
  explicit LineReader(const std::string& path) : file_(path, std::ios::binary) {}

  bool opened() const { return file_.is_open(); }
  bool failed() const { return file_.bad(); }
  // False at the end. `ended` is whether the line has its newline.
  bool next(std::string& line, bool& ended) {
    line.clear();
    ended = false;
    char byte = 0;
    bool any = false;
    while (file_.get(byte)) {
      any = true;
      if (byte == '\n') {
        ended = true;
        return true;
      }
      if (line.size() <= max_line_bytes) line += byte;
    }
    return any;
  }

 private:
  std::ifstream file_;
};

struct Line {
  std::uint64_t seq = 0;
  std::string_view event;
  std::string_view prev;
  std::string_view head;
  std::string_view mac;
  std::uint64_t every = 0;
  std::uint64_t count = 1;
  std::string_view node;
  std::string_view role;
  std::string_view detail;
};

ByteSpan bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string_view text_of(const json::object& object, std::string_view key) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_string() ? std::string_view(value->get_string()) : std::string_view();
}

std::uint64_t number_of(const json::object& object, std::string_view key, std::uint64_t otherwise) {
  const auto* value = object.if_contains(key);
  return value != nullptr && value->is_int64() && value->get_int64() >= 0
             ? static_cast<std::uint64_t>(value->get_int64())
             : otherwise;
}

// nullopt when the text is no audit record. The views point into `value`.
std::optional<Line> read_line(std::string_view text, json::value& value) {
  boost::system::error_code error;
  value = json::parse(text, error);
  if (error || !value.is_object()) return std::nullopt;
  const auto& object = value.get_object();
  Line line{.seq = number_of(object, "seq", 0),
            .event = text_of(object, "event"),
            .prev = text_of(object, "prev"),
            .head = text_of(object, "head"),
            .mac = text_of(object, "mac"),
            .every = number_of(object, "every", 0),
            .count = number_of(object, "count", 1),
            .node = text_of(object, "node"),
            .role = text_of(object, "role"),
            .detail = text_of(object, "detail")};
  if (line.seq == 0 || line.event.empty() || line.prev.empty()) return std::nullopt;
  return line;
}

class Verifier {
 public:
  explicit Verifier(const AuditVerifyOptions& options) : options_(options) {}

  Status read(const std::string& path);
  AuditVerification finish();

 private:
  // A line that is no record: the next one must be a `recovered` record that knows its hash.
  struct Damage {
    std::string hash;
    AuditRemark remark;
  };

  void check(std::string_view text, bool ended);
  void check_link(const Line& line);
  void check_checkpoint(const Line& line);
  void check_promise();
  void finding(std::string what);
  void finding(AuditRemark remark);
  void note(std::string what);

  const AuditVerifyOptions& options_;
  AuditVerification report_;
  std::string file_;
  std::uint64_t line_number_ = 0;

  std::uint64_t expected_seq_ = 0;   // 0: nothing read yet
  std::string head_ = first_head();  // of the last record
  std::optional<Damage> damage_;
  std::uint64_t promised_ = 0;  // lines from one checkpoint to the next, as the last one says
  std::uint64_t since_checkpoint_ = 0;
  bool overdue_ = false;
  bool known_head_seen_ = false;
};

Status Verifier::read(const std::string& path) {
  LineReader reader(path);
  if (!reader.opened()) return Error::from_errno("open " + path, errno);
  file_ = path;
  line_number_ = 0;
  report_.files.push_back(path);
  std::string text;
  bool ended = false;
  while (reader.next(text, ended)) {
    ++line_number_;
    check(text, ended);
  }
  if (reader.failed()) return Error("read " + path + ": failed");
  return Done{};
}

void Verifier::check(std::string_view text, bool ended) {
  json::value value;
  const auto line = text.size() <= max_line_bytes ? read_line(text, value) : std::nullopt;
  if (!line) {
    // One torn line is what a crash leaves; a second one before the log went on is not.
    if (damage_) finding(std::move(damage_->remark));
    damage_ = Damage{line_hash(text), {file_, line_number_, "is no whole record: torn by a crash, or altered"}};
    return;
  }
  if (!ended) finding("lacks its line end: torn by a crash, or cut");
  ++report_.records;
  ++since_checkpoint_;
  check_link(*line);
  if (line->event == "drops") note(fmt::format("{} records were dropped: {}", line->count, line->detail));
  if (line->event == "recovered") note(fmt::format("recovered: {}", line->detail));
  if (line->event == "checkpoint") check_checkpoint(*line);
  check_promise();
  head_ = line_hash(text);
  known_head_seen_ = known_head_seen_ || head_ == options_.known_head;
  expected_seq_ = line->seq + 1;
  if (report_.first_seq == 0) report_.first_seq = line->seq;
  report_.last_seq = line->seq;
}

void Verifier::check_link(const Line& line) {
  if (damage_) {
    const bool explained =
        line.event == "recovered" && line.prev == damage_->hash && line.head == head_ && line.seq == expected_seq_;
    if (!explained) finding(std::move(damage_->remark));
    damage_.reset();
  } else if (expected_seq_ == 0) {
    if (line.seq > 1)
      note(fmt::format("begins with seq {}: what was before is in files that were not given", line.seq));
    if (line.seq == 1 && line.prev != first_head()) finding("is the first record but names one before it");
  } else if (line.seq > expected_seq_) {
    finding(fmt::format("seq {} where {} must follow: {} records were removed before it", line.seq, expected_seq_,
                        line.seq - expected_seq_));
  } else if (line.seq < expected_seq_) {
    finding(
        fmt::format("seq {} where {} must follow: records were moved, repeated or inserted", line.seq, expected_seq_));
  } else if (line.prev != head_) {
    finding("does not fit to the record before it: that one was altered");
  }
}

void Verifier::check_checkpoint(const Line& line) {
  ++report_.checkpoints;
  since_checkpoint_ = 0;
  promised_ = line.every;
  overdue_ = false;
  if (line.head != line.prev) finding("seals another record than the one before it");
  if (options_.key.empty()) return;
  if (line.mac.empty()) {
    finding("is a checkpoint without HMAC: written without the key, or forged");
    return;
  }
  const auto mac = checkpoint_mac(options_.key, name_as_json(line.node), name_as_json(line.role), line.seq,
                                  static_cast<std::uint32_t>(line.every), line.head);
  if (!tls::equal_in_constant_time(bytes_of(mac), bytes_of(line.mac))) {
    finding("has a wrong HMAC: the log was rewritten, or this is not its key");
  } else if (report_.finding_count == 0) {
    report_.proven_records = report_.records;
  }
}

void Verifier::check_promise() {
  if (promised_ == 0 || overdue_ || since_checkpoint_ <= promised_ + checkpoint_slack) return;
  overdue_ = true;
  finding(fmt::format("{} records without a checkpoint, although one was promised every {}: it was removed",
                      since_checkpoint_, promised_));
}

AuditVerification Verifier::finish() {
  if (damage_) finding(std::move(damage_->remark));
  file_ = report_.files.empty() ? "" : report_.files.back();
  line_number_ = 0;
  if (report_.records == 0) finding("holds no record");
  if (!options_.key.empty() && report_.records > 0 && report_.checkpoints == 0) {
    finding("holds no checkpoint: nothing proves its records");
  }
  if (!options_.known_head.empty() && !known_head_seen_) {
    finding("does not hold the record with the head " + options_.known_head + ": lines were cut off or rewritten");
  }
  report_.head = head_;
  return std::move(report_);
}

void Verifier::finding(std::string what) {
  finding({file_, line_number_, std::move(what)});
}

void Verifier::finding(AuditRemark remark) {
  ++report_.finding_count;
  if (report_.findings.size() < max_audit_remarks) report_.findings.push_back(std::move(remark));
}

void Verifier::note(std::string what) {
  if (report_.notes.size() < max_audit_remarks) report_.notes.push_back({file_, line_number_, std::move(what)});
}

// The number of the first record of a file; the largest number when it has none.
std::uint64_t first_seq_of(const std::string& path) {
  LineReader reader(path);
  std::string text;
  bool ended = false;
  json::value value;
  for (int tries = 0; tries < 3 && reader.next(text, ended); ++tries) {
    if (const auto line = read_line(text, value)) return line->seq;
  }
  return std::numeric_limits<std::uint64_t>::max();
}

}  // namespace

Result<AuditVerification> verify_audit_log(std::vector<std::string> files, const AuditVerifyOptions& options) {
  std::vector<std::pair<std::uint64_t, std::string>> ordered;
  ordered.reserve(files.size());
  for (auto& file : files) ordered.emplace_back(first_seq_of(file), std::move(file));
  std::sort(ordered.begin(), ordered.end());
  Verifier verifier(options);
  for (const auto& [seq, file] : ordered) {
    if (auto read = verifier.read(file); !read) return read.error();
  }
  return verifier.finish();
}

}  // namespace sluice::observe
