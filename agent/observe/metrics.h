// What one role counts, in Prometheus' text format. Counting is an atomic addition on a counter found by index.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "observe/audit.h"
#include "policy/reason.h"

namespace prometheus {
class Counter;
class Histogram;
}  // namespace prometheus

namespace sluice::observe {

// Thread-safe.
class Metrics {
 public:
  Metrics(const std::string& role, const std::string& node, const std::string& version);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // sluice_connections_total{verdict,reason}: `count` calls were decided.
  void count_decision(Decision verdict, Reason reason, std::uint64_t count = 1);
  // sluice_decision_seconds: what judging and routing a call took.
  void observe_decision_seconds(double seconds);

  // sluice_connections_open, sluice_bytes_total{direction}
  void connection_opened();
  void connection_closed(std::uint64_t bytes_sent, std::uint64_t bytes_received);

  // sluice_upstream_dial_failures_total{reason}
  void count_dial_failure(Reason reason);

  // sluice_policy_generation, sluice_policy_services, sluice_policy_hosts
  void set_policy(std::uint64_t generation, std::size_t services, std::size_t hosts);
  // sluice_policy_problems{severity}
  void set_policy_problems(std::size_t errors, std::size_t warnings);
  // sluice_interfaces_attached{kind}
  void set_interfaces(std::size_t pods, std::size_t uplinks);
  // sluice_events_dropped_total: things that did not become an Event of the API server
  void set_events_dropped(std::uint64_t count);
  // sluice_audit_lines_total, sluice_audit_drops_total, sluice_audit_seq, and sluice_audit_head_info{head}, whose value
  // is the sequence number of the line with that hash. `audit verify --head` proves that the log still holds it.
  void set_audit(const AuditState& state);

  // sluice_requests_total{host,route,code} and sluice_request_seconds{host,route}: host and route as rules name them,
  // empty where none was met. What it gives lives as long as this; counting costs no look-up then.
  struct Requests {
    prometheus::Counter* total;
    prometheus::Histogram* seconds;
  };
  Requests requests(std::string_view host, std::string_view route, unsigned code);
  static void count_request(const Requests& requests, double seconds);

  std::uint64_t decisions(Decision verdict, Reason reason) const;
  std::uint64_t decisions(Decision verdict) const;
  std::uint64_t decisions(Reason reason) const;
  std::int64_t connections_open() const;

  // Text exposition format 0.0.4.
  std::string render() const;

 private:
  struct Series;
  std::unique_ptr<Series> series_;
};

}  // namespace sluice::observe
