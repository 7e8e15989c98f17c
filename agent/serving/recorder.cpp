#include "serving/recorder.h"

#include <fmt/format.h>
#include <sys/random.h>

#include "base/clock.h"

namespace sluice::serving {
namespace {

std::uint64_t random_prefix() {
  std::uint64_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) value = static_cast<std::uint64_t>(wall_ns());
  return value;
}

// Allowed, and then the next hop could not be reached.
bool is_dial_failure(Reason reason) {
  return reason == Reason::gateway_unreachable || reason == Reason::dns_failure || reason == Reason::upstream_refused ||
         reason == Reason::upstream_timeout;
}

}  // namespace

Recorder::Recorder(observe::AuditLog& audit, observe::Metrics& metrics, std::uint32_t denials_per_second)
    : audit_(audit), metrics_(metrics), limiter_(denials_per_second), id_prefix_(random_prefix()) {}

std::string Recorder::next_id() {
  return fmt::format("{:016x}{:08x}", id_prefix_, next_id_.fetch_add(1, std::memory_order_relaxed));
}

Status Recorder::allowed(const observe::Record& record) {
  auto written = audit_.append(record);
  if (!written) return written;
  metrics_.count_decision(*record.verdict, *record.reason);
  if (record.event == observe::Event::open) metrics_.connection_opened();
  return written;
}

void Recorder::denied(const observe::Record& record) {
  metrics_.count_decision(*record.verdict, *record.reason);
  if (is_dial_failure(*record.reason)) metrics_.count_dial_failure(*record.reason);
  // The call is denied whether or not its record can be written: the log itself counts what it lost.
  if (limiter_.admit(record, monotonic_ns())) (void)audit_.append(record);
}

void Recorder::denied_in_sum(const observe::Record& record) {
  metrics_.count_decision(*record.verdict, *record.reason, record.count);
  (void)audit_.append(record);
}

void Recorder::closed(const observe::Record& record) {
  metrics_.connection_closed(record.bytes_sent, record.bytes_received);
  (void)audit_.append(record);
}

void Recorder::event(const observe::Record& record) {
  (void)audit_.append(record);
}

void Recorder::flush() {
  for (const auto& record : limiter_.flush(monotonic_ns())) (void)audit_.append(record);
}

}  // namespace sluice::serving
