#include "serving/call.h"

#include <algorithm>

#include "base/clock.h"
#include "observe/audit_line.h"
#include "relay/refusal.h"

namespace sluice::serving {
namespace {

std::string_view name_of(Sniffed sniffed) {
  switch (sniffed) {
    case Sniffed::tls:
      return "tls";
    case Sniffed::http:
      return "http";
    default:
      return "tcp";
  }
}

}  // namespace

Call::Call(Worker& worker, Recorder& recorder, const settings::Limits& limits, net::Tcp::socket client)
    : worker_(worker),
      recorder_(recorder),
      limits_(limits),
      client_(std::make_unique<net::PlainStream>(std::move(client))),
      started_ns_(monotonic_ns()) {
  record_.id = recorder_.next_id();
  record_.datapath = "relay";
}

Call::~Call() {
  if (opened_) record_closed(relay::End::cut);
}

std::string_view Call::admit() {
  auto admitted = worker_.live().admit(*this, started_ns_);
  if (const auto* limit = std::get_if<std::string_view>(&admitted)) return *limit;
  place_.emplace(std::get<LiveTable::Place>(std::move(admitted)));
  return {};
}

std::string_view Call::claim(const IpAddress& source) {
  return place_->claim(source, monotonic_ns());
}

double Call::age_ms() const {
  return static_cast<double>(monotonic_ns() - started_ns_) / 1e6;
}

Flow Call::flow() const {
  Flow flow;
  flow.id = record_.id;
  if (record_.pod) flow.pod = record_.pod->namespace_name + "/" + record_.pod->name;
  if (record_.source) flow.source = record_.source->to_string();
  if (record_.destination) flow.destination = record_.destination->to_string();
  flow.host = host_;
  if (opened_) flow.verdict = observe::to_string(record_.verdict.value_or(observe::Decision::allow));
  flow.rule = record_.rule;
  flow.gateway = record_.gateway;
  flow.datapath = record_.datapath;
  flow.bytes_sent = totals_.sent;
  flow.bytes_received = totals_.received;
  flow.age_s = age_ms() / 1000;
  return flow;
}

Request Call::request(Sniffed sniffed) const {
  return {pod_namespace_, record_.destination->address, record_.destination->port, sniffed, host_};
}

bool Call::still_allowed(const Snapshot& snapshot) const {
  return !judged_ || snapshot.decide(request(*judged_)).allowed();
}

void Call::cut(std::string_view why) {
  cut_reason_ = why;
  client_->reset();
  if (upstream_) upstream_->reset();
}

void Call::note(const relay::FirstBytes& first) {
  record_.protocol = name_of(first.sniffed);
  if (first.sniffed == Sniffed::http) return note(first.head);
  if (first.sniffed != Sniffed::tls) return;
  host_ = first.hello.sni;
  record_.sni = first.hello.sni;
  record_.alpn = first.hello.alpn;
  record_.ja4 = first.hello.ja4;
  record_.ech = first.hello.ech;
  for (const auto version : first.hello.versions) record_.tls_versions.push_back(wire::version_name(version));
}

void Call::note(const wire::RequestHead& head) {
  host_ = head.authority.host;
  record_.http = observe::HttpFacts{head.method, head.authority.host, head.path};
}

Verdict Call::judge(const Snapshot* snapshot, Sniffed sniffed) {
  judged_.reset();
  if (!snapshot) return {};
  const auto verdict = snapshot->decide(request(sniffed));
  record_.rule = verdict.service ? verdict.service->rule() : std::string();
  if (verdict.allowed()) judged_ = sniffed;
  return verdict;
}

bool Call::record_allowed(Reason reason, observe::Decision decision) {
  record_.event = opened_ ? observe::Event::request : observe::Event::open;
  record_.reason = reason;
  record_.verdict = decision;
  if (!recorder_.allowed(record_)) return false;
  opened_ = true;
  return true;
}

void Call::record_denied(Reason reason, std::string_view detail) {
  auto record = record_;
  record.event = observe::Event::deny;
  record.verdict = observe::Decision::deny;
  record.reason = reason;
  record.detail = detail;
  record.duration_ms = age_ms();
  recorder_.denied(record);
}

net::Task<void> Call::refuse(Sniffed sniffed, Reason reason, std::string_view detail) {
  record_denied(reason, detail);
  co_await relay::refuse(*client_, sniffed, reason, host_, detail);
}

void Call::record_closed(relay::End end) {
  if (!opened_) return;
  opened_ = false;
  auto record = record_;
  record.event = observe::Event::close;
  record.bytes_sent = totals_.sent;
  record.bytes_received = totals_.received;
  record.duration_ms = age_ms();
  record.close_reason = cut_reason_.empty() ? relay::to_string(end) : cut_reason_;
  recorder_.closed(record);
}

net::Task<void> Call::run_tunnel() {
  record_closed(co_await relay::tunnel(*client_, *upstream_, limits_.idle_timeout, worker_.pipes(), totals_));
}

}  // namespace sluice::serving
