// The audit log: JSON Lines with a hash chain. Two records a connection (open, close); a denied call has one.
//
// Every line is one JSON object that ends in "prev", the SHA-256 of the line before it (without its newline; 64 zeros
// in the very first line), and carries "seq", one more than the line before. The chain goes on over rotation and
// restart. A `checkpoint` line begins every file, ends every rotated one, and comes at least every `checkpoint_records`
// lines; its HMAC proves the chain up to it. A line torn by a crash stays, is ended by a newline, and is followed by a
// `recovered` line, whose "head" is the last whole line.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"
#include "observe/audit_file.h"
#include "policy/reason.h"
#include "settings/settings.h"
#include "tls/digest.h"

namespace sluice::observe {

enum class Event : std::uint8_t { open, request, close, deny, recovered, checkpoint, start, stop, drops };
enum class Decision : std::uint8_t { allow, deny, would_deny };

struct PodFacts {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string service_account;
};

struct ProcessFacts {
  std::int32_t pid = 0;  // 0: unknown, and the object is left out of the record
  std::string comm;
  std::string exe;
  std::string container;
  std::uint64_t cgroup_id = 0;
};

struct HttpFacts {
  std::string method;
  std::string host;
  std::string path;
  unsigned status = 0;  // of the answer
};

// One record. Empty text, zero and nullopt fields are left out of the line.
struct Record {
  Event event = Event::open;
  std::string id;  // one a connection: the same in its records, and in the gateway's by the PROXY header
  std::optional<PodFacts> pod;
  ProcessFacts process;
  std::optional<Endpoint> source;
  std::optional<Endpoint> destination;
  std::string protocol;  // "tls", "http", "tcp", "udp", "icmp", "ip/<n>"
  std::string sni;
  std::vector<std::string> alpn;
  std::vector<std::string> tls_versions;
  std::string ja4;
  bool ech = false;
  std::optional<HttpFacts> http;
  std::optional<Decision> verdict;
  std::optional<Reason> reason;
  std::string detail;  // for people: what exactly was wrong, e.g. "second Host field"
  std::string rule;
  std::string route;
  std::string gateway;
  std::string upstream;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::optional<double> duration_ms;
  std::string datapath;      // "gate", "relay" or "kernel"
  std::string close_reason;  // "finished", "client_reset", "upstream_reset", "idle", "policy_changed", ...
  std::uint64_t count = 1;   // over 1: this record stands for so many calls
  // Instead of what stands above from `pod` to `upstream`: facts_of() an earlier record of the call.
  std::string_view facts;
};

// Who, what and the decision as the call's lines have them: members of a JSON object, without its braces. All that has
// to be kept for a close record, in a third of the memory.
std::string facts_of(const Record& record);

// No line is longer, its newline included. Long texts are cut and end in "…".
inline constexpr std::size_t max_line_bytes = 16UL * 1024;

// Where the log stands.
struct AuditState {
  std::string path;
  std::uint64_t lines = 0;  // written by this object
  std::uint64_t drops = 0;  // records that could not be written, since open()
  std::uint64_t seq = 0;    // of the last line
  std::string head;         // SHA-256 of the last line, hexadecimal
};

struct LineFrame;

// The one writer of an audit log. Thread-safe: one mutex orders the records of all threads.
class AuditLog {
 public:
  // Takes the log at `settings.path` for this process, creating directory and file when missing, and goes on with its
  // chain. Fails when another process has it, when it is no audit log, or when it cannot be written and `on_failure` is
  // deny.
  static Result<std::unique_ptr<AuditLog>> open(const settings::Audit& settings, std::string_view node,
                                                std::string_view role);

  // Seals the log with a last checkpoint.
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Returns after the line was handed to the kernel by write(2), as a whole. `v`, `seq`, `time`, `node`, `role` and
  // `prev` are filled in here. A record that cannot be written is counted and logged, and the next line that can be
  // written is a `drops` record with their number. `on_failure: deny` then returns the error and the call must be
  // denied; `on_failure: count` returns Done.
  Status append(const Record& record) { return append(std::span(&record, 1)); }
  // The same for several records, in their order and with one write(2): all of them are in the log afterwards, or none.
  Status append(std::span<const Record> records);

  // For SIGHUP: rotates now, or starts a new file when the old one was already moved away.
  Status reopen();

  AuditState state() const;

 private:
  AuditLog(const settings::Audit& settings, std::string_view node, std::string_view role);

  Status start();
  Status prepare();
  Status resume();
  Status rotate();
  Status shift_files();
  Status start_file();
  void watch_file();
  // What add_* put into text_ is written by flush(), as a whole; on an error the chain is where it was.
  void add_record(const Record& record);
  void add_checkpoint();
  Status flush();
  Status write_record(const Record& record);
  Status write_checkpoint();
  void add_line(const LineFrame& frame, const Record& record);
  // text_ is in the file, or is not.
  void settle(bool written);
  void go_on_from(const AuditTail& tail);
  LineFrame next_frame() const;
  void read_clocks();
  void count_drops(std::size_t records, const Error& error);

  const settings::Audit settings_;
  const std::string node_;  // as JSON text
  const std::string role_;  // as JSON text
  std::vector<std::uint8_t> key_;
  UniqueFd lock_;

  mutable std::mutex mutex_;  // guards everything below
  std::optional<AuditFile> file_;
  std::string text_;  // lines that are being written, each with its newline
  tls::Sha256 hash_;
  std::int64_t wall_ns_ = 0;
  std::uint64_t now_ns_ = 0;
  // Where the chain stands.
  struct Chain {
    std::uint64_t seq = 0;
    std::string head;
    std::uint64_t since_checkpoint = 0;
    bool checkpoint_due = true;
  };
  Chain chain_;
  Chain written_;         // as far as it is in the file
  bool damaged_ = false;  // the file may end in something else than a whole line
  std::uint64_t lines_ = 0;
  std::uint64_t drops_ = 0;
  std::uint64_t unreported_drops_ = 0;
  std::string drop_cause_;
  std::uint64_t next_watch_ns_ = 0;
  std::uint64_t next_rotation_ns_ = 0;
  std::uint64_t next_complaint_ns_ = 0;
};

}  // namespace sluice::observe
