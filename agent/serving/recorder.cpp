#include "serving/recorder.h"

#include <fmt/compile.h>
#include <fmt/format.h>
#include <sys/random.h>

#include "base/clock.h"
#include "observe/audit_file.h"

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
  return fmt::format(FMT_COMPILE("{:016x}{:08x}"), id_prefix_, next_id_.fetch_add(1, std::memory_order_relaxed));
}

Status Recorder::allowed(const observe::Record& record) {
  auto written = audit_.append(record);
  if (!written) return written;
  metrics_.count_decision(*record.verdict, *record.reason);
  if (record.event == observe::Event::open) metrics_.connection_opened();
  return written;
}

void Recorder::count_denied(const observe::Record& record) {
  metrics_.count_decision(*record.verdict, *record.reason);
  if (is_dial_failure(*record.reason)) metrics_.count_dial_failure(*record.reason);
  if (told_) told_(record);
}

void Recorder::denied(const observe::Record& record) {
  count_denied(record);
  // The call is denied whether or not its record can be written: the log itself counts what it lost.
  if (limiter_.admit(record, monotonic_ns())) (void)audit_.append(record);
}

Status Recorder::write(std::vector<observe::Record> records) {
  std::erase_if(records, [this](const observe::Record& record) {
    if (record.event == observe::Event::close) metrics_.connection_closed(record.bytes_sent, record.bytes_received);
    if (record.event != observe::Event::deny) return false;
    count_denied(record);
    return !limiter_.admit(record, monotonic_ns());
  });
  if (records.empty()) return Done{};
  auto written = audit_.append(records);
  if (!written) return written;
  for (const auto& record : records) {
    if (record.event != observe::Event::open && record.event != observe::Event::request) continue;
    metrics_.count_decision(*record.verdict, *record.reason);
    if (record.event == observe::Event::open) metrics_.connection_opened();
  }
  return written;
}

void Recorder::read_latest(std::size_t bytes,
                           const std::function<void(std::string_view event, std::string_view id)>& each) const {
  observe::read_latest(audit_.state().path, bytes, each);
}

void Recorder::denied_in_sum(const observe::Record& record) {
  metrics_.count_decision(*record.verdict, *record.reason, record.count);
  if (told_) told_(record);
  (void)audit_.append(record);
}

void Recorder::closed(const observe::Record& record) {
  metrics_.connection_closed(record.bytes_sent, record.bytes_received);
  (void)audit_.append(record);
}

void Recorder::found_open(std::size_t count) {
  for (std::size_t one = 0; one < count; ++one) metrics_.connection_opened();
}

void Recorder::event(const observe::Record& record) {
  (void)audit_.append(record);
}

void Recorder::flush() {
  for (const auto& record : limiter_.flush(monotonic_ns())) (void)audit_.append(record);
}

}  // namespace sluice::serving
