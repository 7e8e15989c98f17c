#include "observe/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <mutex>

#include "observe/audit_line.h"

namespace sluice::observe {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Labels;
using prometheus::Registry;

constexpr std::size_t decision_count = 3;
constexpr std::array dial_failures = {Reason::gateway_unreachable, Reason::gateway_denied,   Reason::address_forbidden,
                                      Reason::dns_failure,         Reason::upstream_refused, Reason::upstream_timeout};

const prometheus::Histogram::BucketBoundaries request_buckets = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                                 0.1,    0.25,  0.5,    1,     2.5,  5,     10};
const prometheus::Histogram::BucketBoundaries decision_buckets = {1e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4,
                                                                  5e-4, 1e-3, 5e-3, 1e-2, 0.1,  1};

Gauge& add_gauge(Registry& registry, const std::string& name, const std::string& help, const Labels& labels = {}) {
  return BuildGauge().Name(name).Help(help).Register(registry).Add(labels);
}

Counter& add_counter(Registry& registry, const std::string& name, const std::string& help, const Labels& labels = {}) {
  return BuildCounter().Name(name).Help(help).Register(registry).Add(labels);
}

// Raises a counter to a total kept elsewhere.
void raise_to(Counter& counter, std::uint64_t total) {
  const auto missing = static_cast<double>(total) - counter.Value();
  if (missing > 0) counter.Increment(missing);
}

}  // namespace

struct Metrics::Series {
  Registry registry;
  std::array<std::array<Counter*, reason_count>, decision_count> decisions{};
  std::array<Counter*, reason_count> dial_failures{};

  Gauge& open = add_gauge(registry, "sluice_connections_open", "Connections that are open now");
  Counter& sent = add_counter(registry, "sluice_bytes_total", "Payload of ended connections, as the pod sees it",
                              {{"direction", "sent"}});
  Counter& received = add_counter(registry, "sluice_bytes_total", "Payload of ended connections, as the pod sees it",
                                  {{"direction", "received"}});
  prometheus::Histogram& decision_seconds = prometheus::BuildHistogram()
                                                .Name("sluice_decision_seconds")
                                                .Help("From the first byte of a connection to its verdict")
                                                .Register(registry)
                                                .Add({}, decision_buckets);
  Gauge& generation = add_gauge(registry, "sluice_policy_generation", "Number of the policy in force; 0: none yet");
  Gauge& services = add_gauge(registry, "sluice_policy_services", "Registered services");
  Gauge& hosts = add_gauge(registry, "sluice_policy_hosts", "Registered host names and wildcards");
  Gauge& errors = add_gauge(registry, "sluice_policy_problems", "Problems of the resources", {{"severity", "error"}});
  Gauge& warnings =
      add_gauge(registry, "sluice_policy_problems", "Problems of the resources", {{"severity", "warning"}});
  Gauge& pods = add_gauge(registry, "sluice_interfaces_attached", "Interfaces with our programs", {{"kind", "pod"}});
  Gauge& uplinks =
      add_gauge(registry, "sluice_interfaces_attached", "Interfaces with our programs", {{"kind", "uplink"}});
  Counter& audit_lines = add_counter(registry, "sluice_audit_lines_total", "Lines written to the audit log");
  Counter& audit_drops =
      add_counter(registry, "sluice_audit_drops_total", "Records that could not be written to the audit log");
  Counter& events_dropped =
      add_counter(registry, "sluice_events_dropped_total", "What did not become an Event of the API server");
  Gauge& audit_seq = add_gauge(registry, "sluice_audit_seq", "Sequence number of the last line of the audit log");

  prometheus::Family<Counter>& requests =
      BuildCounter().Name("sluice_requests_total").Help("Requests by host, route and status").Register(registry);
  prometheus::Family<prometheus::Histogram>& request_seconds =
      prometheus::BuildHistogram()
          .Name("sluice_request_seconds")
          .Help("From a request's whole head to the end of its answer")
          .Register(registry);

  std::mutex head_mutex;
  prometheus::Family<Gauge>& heads = BuildGauge()
                                         .Name("sluice_audit_head_info")
                                         .Help("SHA-256 of the line of the audit log with this sequence number")
                                         .Register(registry);
  Gauge* head = nullptr;
};

Metrics::Metrics(const std::string& role, const std::string& node, const std::string& version)
    : series_(std::make_unique<Series>()) {
  auto& registry = series_->registry;
  add_gauge(registry, "sluice_info", "The program", {{"role", role}, {"node", node}, {"version", version}}).Set(1);

  auto& decisions =
      BuildCounter().Name("sluice_connections_total").Help("Decided calls by verdict and reason").Register(registry);
  auto& failures = BuildCounter()
                       .Name("sluice_upstream_dial_failures_total")
                       .Help("Allowed calls whose next hop could not be reached")
                       .Register(registry);
  for (std::size_t index = 0; index < reason_count; ++index) {
    const auto reason = static_cast<Reason>(index);
    for (std::size_t verdict = 0; verdict < decision_count; ++verdict) {
      const auto decision = static_cast<Decision>(verdict);
      if (allows(reason) != (decision == Decision::allow)) continue;
      series_->decisions[verdict][index] =
          &decisions.Add({{"verdict", std::string(to_string(decision))}, {"reason", std::string(to_string(reason))}});
    }
  }
  auto& other = failures.Add({{"reason", "other"}});
  series_->dial_failures.fill(&other);
  for (const auto reason : dial_failures) {
    series_->dial_failures[static_cast<std::size_t>(reason)] =
        &failures.Add({{"reason", std::string(to_string(reason))}});
  }
}

Metrics::~Metrics() = default;

void Metrics::count_decision(Decision verdict, Reason reason, std::uint64_t count) {
  // The reason says whether a call was allowed; the verdict only whether a denial was enforced.
  if (allows(reason)) verdict = Decision::allow;
  if (!allows(reason) && verdict == Decision::allow) verdict = Decision::deny;
  series_->decisions[static_cast<std::size_t>(verdict)][static_cast<std::size_t>(reason)]->Increment(
      static_cast<double>(count));
}

void Metrics::observe_decision_seconds(double seconds) {
  series_->decision_seconds.Observe(seconds);
}

Metrics::Requests Metrics::requests(std::string_view host, std::string_view route, unsigned code) {
  const Labels labels{{"host", std::string(host)}, {"route", std::string(route)}};
  auto with_code = labels;
  with_code.emplace("code", std::to_string(code));
  return {&series_->requests.Add(with_code), &series_->request_seconds.Add(labels, request_buckets)};
}

void Metrics::count_request(const Requests& requests, double seconds) {
  requests.total->Increment();
  requests.seconds->Observe(seconds);
}

void Metrics::connection_opened() {
  series_->open.Increment();
}

void Metrics::connection_closed(std::uint64_t bytes_sent, std::uint64_t bytes_received) {
  series_->open.Decrement();
  series_->sent.Increment(static_cast<double>(bytes_sent));
  series_->received.Increment(static_cast<double>(bytes_received));
}

void Metrics::count_dial_failure(Reason reason) {
  series_->dial_failures[static_cast<std::size_t>(reason)]->Increment();
}

void Metrics::set_policy(std::uint64_t generation, std::size_t services, std::size_t hosts) {
  series_->generation.Set(static_cast<double>(generation));
  series_->services.Set(static_cast<double>(services));
  series_->hosts.Set(static_cast<double>(hosts));
}

void Metrics::set_policy_problems(std::size_t errors, std::size_t warnings) {
  series_->errors.Set(static_cast<double>(errors));
  series_->warnings.Set(static_cast<double>(warnings));
}

void Metrics::set_interfaces(std::size_t pods, std::size_t uplinks) {
  series_->pods.Set(static_cast<double>(pods));
  series_->uplinks.Set(static_cast<double>(uplinks));
}

void Metrics::set_events_dropped(std::uint64_t count) {
  raise_to(series_->events_dropped, count);
}

void Metrics::set_audit(const AuditState& state) {
  const std::lock_guard lock(series_->head_mutex);
  raise_to(series_->audit_lines, state.lines);
  raise_to(series_->audit_drops, state.drops);
  series_->audit_seq.Set(static_cast<double>(state.seq));
  if (series_->head != nullptr) series_->heads.Remove(series_->head);
  series_->head = &series_->heads.Add({{"head", state.head}});
  series_->head->Set(static_cast<double>(state.seq));
}

std::uint64_t Metrics::decisions(Decision verdict, Reason reason) const {
  const auto* counter = series_->decisions[static_cast<std::size_t>(verdict)][static_cast<std::size_t>(reason)];
  return counter == nullptr ? 0 : static_cast<std::uint64_t>(counter->Value());
}

std::uint64_t Metrics::decisions(Decision verdict) const {
  std::uint64_t sum = 0;
  for (std::size_t reason = 0; reason < reason_count; ++reason) sum += decisions(verdict, static_cast<Reason>(reason));
  return sum;
}

std::uint64_t Metrics::decisions(Reason reason) const {
  std::uint64_t sum = 0;
  for (std::size_t verdict = 0; verdict < decision_count; ++verdict) {
    sum += decisions(static_cast<Decision>(verdict), reason);
  }
  return sum;
}

std::int64_t Metrics::connections_open() const {
  return static_cast<std::int64_t>(series_->open.Value());
}

std::string Metrics::render() const {
  return prometheus::TextSerializer().Serialize(series_->registry.Collect());
}

}  // namespace sluice::observe
