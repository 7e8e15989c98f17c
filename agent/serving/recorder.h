// Writing the story of calls: audit records and the metrics that go with them, in one place so that they agree.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "observe/audit.h"
#include "observe/denial_limiter.h"
#include "observe/metrics.h"

namespace sluice::serving {

// Thread-safe.
class Recorder {
 public:
  Recorder(observe::AuditLog& audit, observe::Metrics& metrics, std::uint32_t denials_per_second);

  // An id for a new connection: unique over nodes and restarts.
  std::string next_id();

  // Is told of each deny record, also of those that only count, on whatever thread; before anything is recorded.
  void tell_of_denials(std::function<void(const observe::Record& record)> told) { told_ = std::move(told); }

  // What judging and routing one call took.
  void decided_in(std::uint64_t ns) { metrics_.observe_decision_seconds(static_cast<double>(ns) / 1e9); }
  // An open or request record. An error means: deny.
  Status allowed(const observe::Record& record);
  // A deny record, or one more in the count of its pod and reason when the pod has had its share of records.
  void denied(const observe::Record& record);
  // Open, request, close and deny records of several calls, in their order and with one write(2), each counted as
  // above. An error: none of them is in the log, and what they allow must be denied.
  Status write(std::vector<observe::Record> records);
  // Denials that were counted elsewhere (in the kernel): one record for all of them.
  void denied_in_sum(const observe::Record& record);
  void closed(const observe::Record& record);
  // observe::read_latest() of the log.
  void read_latest(std::size_t bytes,
                   const std::function<void(std::string_view event, std::string_view id)>& each) const;
  // So many connections are open that a predecessor has recorded as such.
  void found_open(std::size_t count);
  // start, stop and the like.
  void event(const observe::Record& record);

  // Writes the counted denials, one record a pod and reason; to be called every second.
  void flush();

 private:
  void count_denied(const observe::Record& record);

  observe::AuditLog& audit_;
  observe::Metrics& metrics_;
  observe::DenialLimiter limiter_;
  const std::uint64_t id_prefix_;
  std::atomic<std::uint64_t> next_id_{1};
  std::function<void(const observe::Record&)> told_;
};

}  // namespace sluice::serving
