#include "serving/call.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.h"
#include "base/spread.h"
#include "observe/audit_line.h"
#include "relay/refusal.h"
#include "serving/facts.h"

namespace sluice::serving {
namespace {

// The field lines of a request head, between its first line and the empty one.
std::string_view field_lines(ByteSpan head) {
  std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  text.remove_prefix(std::min(text.find('\n') + 1, text.size()));
  return text;
}

std::string_view query_of(std::string_view target) {
  const auto mark = target.find('?');
  return mark == target.npos ? std::string_view() : target.substr(mark + 1);
}

}  // namespace

Call::Call(Worker& worker, Recorder& recorder, const settings::Limits& limits, net::Socket client)
    : worker_(worker),
      limits_(limits),
      client_(std::make_unique<net::PlainStream>(std::move(client))),
      pick_(spread(monotonic_ns())),
      recorder_(recorder),
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

Snapshot::Caller Call::caller() const {
  return {pod_labels_, gateway_port_, http_ ? &http_->request : nullptr, pick_};
}

bool Call::still_allowed(const Snapshot& snapshot) const {
  if (!judged_) return true;
  const auto now = request(*judged_);
  const auto verdict = snapshot.decide(now);
  if (!verdict.allowed()) return false;
  const auto way = find_way(snapshot, now, verdict);
  // The next request takes its own way; the one that is being answered, or was the last, only needs one.
  return way && (*judged_ == Sniffed::http || *way == way_);
}

void Call::cut(std::string_view why) {
  cut_reason_ = why;
  client_->reset();
  if (upstream_) upstream_->reset();
}

void Call::note(const relay::FirstBytes& first) {
  describe(first, record_);
  host_ = named_host(first);
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

std::optional<Refusal> Call::record_allowed() {
  record_.event = opened_ ? observe::Event::request : observe::Event::open;
  record_.reason = reason_;
  record_.verdict = decision_;
  if (!recorder_.allowed(record_)) return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  opened_ = true;
  return std::nullopt;
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
  record_.event = observe::Event::close;
  record_.bytes_sent = totals_.sent;
  record_.bytes_received = totals_.received;
  record_.duration_ms = age_ms();
  record_.close_reason = cut_reason_.empty() ? relay::to_string(end) : cut_reason_;
  recorder_.closed(record_);
}

net::Task<void> Call::serve_client(std::vector<std::uint8_t> already) {
  co_await begin(std::move(already));
  if (relayed_) record_closed(co_await relay_bytes());
}

net::Task<void> Call::serve_unread(Sniffed sniffed) {
  co_await serve_stream(sniffed, {});
  if (relayed_) record_closed(co_await relay_bytes());
}

net::Task<relay::End> Call::relay_bytes() {
  // Who speaks TLS is answered at once, or nobody is there.
  const auto answer = *relayed_ == Sniffed::tls ? limits_.answer_timeout : net::Milliseconds(0);
  return relay::tunnel(*client_, *upstream_, {limits_.idle_timeout, answer}, worker_.pipes(), totals_);
}

net::Task<void> Call::begin(std::vector<std::uint8_t> already) {
  if (!worker_.snapshot()) {
    co_return co_await refuse(Sniffed::none, Reason::policy_not_ready, "no policy was read yet");
  }
  const auto& destination = *record_.destination;
  const auto inspection = worker_.snapshot()->inspect(pod_namespace_, destination.address, destination.port);
  if (inspection != Inspection::sniff) co_return co_await serve_stream(Sniffed::none, std::move(already));
  auto read = co_await relay::read_first_bytes(*client_, std::move(already), limits_.first_bytes_timeout);
  if (auto* bad = std::get_if<relay::Unreadable>(&read)) {
    record_.protocol = protocol_name(bad->sniffed);
    co_return co_await serve_unreadable(std::move(*bad));
  }
  auto& first = std::get<relay::FirstBytes>(read);
  note(first);
  if (first.sniffed == Sniffed::http) co_return co_await serve_http(std::move(first));
  co_await serve_stream(first.sniffed, std::move(first.bytes));
}

net::Task<void> Call::serve_stream(Sniffed sniffed, std::vector<std::uint8_t> bytes) {
  auto refusal = decide_timed(sniffed);
  if (!refusal) refusal = co_await open_upstream();
  if (refusal) co_return co_await refuse(sniffed, refusal->reason, refusal->detail);
  totals_.sent += bytes.size();
  // One write, and so one segment where it fits: preamble and hello travel together.
  if (!preamble_.empty()) bytes.insert(bytes.begin(), preamble_.begin(), preamble_.end());
  preamble_ = std::vector<std::uint8_t>();
  const bool sent = co_await upstream_->write_all(bytes);
  if (!sent) {
    client_->reset();
    co_return record_closed(relay::End::upstream_reset);
  }
  relayed_ = sniffed;
}

net::Task<void> Call::serve_http(relay::FirstBytes first) {
  const relay::HttpLimits limits{limits_.first_bytes_timeout, limits_.http_idle_timeout, limits_.idle_timeout};
  record_closed(co_await relay::relay_http(*client_, std::move(first), *this, limits, worker_.pipes(), totals_));
}

net::Task<void> Call::serve_unreadable(relay::Unreadable unreadable) {
  co_await refuse(unreadable.sniffed, unreadable.reason, unreadable.detail);
}

net::Task<std::variant<net::Stream*, relay::HttpDenial>> Call::route(const wire::RequestHead& head, ByteSpan bytes) {
  note(head);
  if (!http_) http_ = std::make_unique<Http>();
  auto& http = *http_;
  http.head = head;
  http.authority = head.authority.host;
  if (head.authority.port) http.authority += ":" + std::to_string(*head.authority.port);
  http.fields = field_lines(bytes);
  http.request = {http.head.method, http.authority, http.head.path, query_of(http.head.target), http.fields};
  wants_upgrade_ = head.upgrade;
  auto refusal = decide_timed(Sniffed::http);
  // Whatever a new policy changes about how it is made, a connection of before does not have.
  auto key = fmt::format("{} {} {}", host_, way_, worker_.snapshot() ? worker_.snapshot()->number() : 0);
  // A connection stands for one name and one way; others get another one.
  if (upstream_ && (refusal || http.upstream_key != key || !upstream_->is_quiet())) upstream_.reset();
  if (!refusal && upstream_) {
    record_.gateway = http.upstream_gateway;
    record_.upstream = http.upstream_address;
    refusal = record_allowed();
  } else if (!refusal) {
    refusal = co_await open_upstream();
    http.upstream_key = std::move(key);
    http.upstream_gateway = record_.gateway;
    http.upstream_address = record_.upstream;
    // One that is gone already shows when the request itself is sent.
    if (!refusal) co_await upstream_->write_all(preamble_);
  }
  if (refusal) {
    upstream_.reset();
    record_denied(refusal->reason, refusal->detail);
    co_return relay::HttpDenial{refusal->reason, refusal->detail};
  }
  co_return upstream_.get();
}

void Call::refuse_unreadable(const relay::Unreadable& unreadable) {
  record_denied(unreadable.reason, unreadable.detail);
}

std::optional<Refusal> Call::decide_timed(Sniffed sniffed) {
  const auto begun_ns = monotonic_ns();
  record_.rule.clear();
  record_.route.clear();
  record_.gateway.clear();
  record_.upstream.clear();
  auto refusal = decide(sniffed);
  recorder_.decided_in(monotonic_ns() - begun_ns);
  return refusal;
}

net::Task<std::variant<net::Dialled, Refusal>> Call::dial(Upstreams& upstreams, TargetQuery query,
                                                          net::Milliseconds timeout) {
  auto found = co_await upstreams.find(query);
  if (was_cut()) co_return overtaken();
  if (auto* refusal = std::get_if<Refusal>(&found)) co_return std::move(*refusal);
  auto dialled = co_await Upstreams::dial(std::get<std::vector<Endpoint>>(std::move(found)), timeout);
  if (was_cut()) co_return overtaken();
  co_return std::move(dialled);
}

Refusal Call::overtaken() const {
  return {parse_reason(cut_reason_).value_or(Reason::policy_changed), "while it was connected"};
}

net::Task<std::optional<Refusal>> Call::open_upstream() {
  auto refusal = co_await connect();
  // Policy, or the end of the process, was faster than the dial.
  if (was_cut()) {
    upstream_.reset();
    refusal = overtaken();
  }
  if (!refusal) refusal = record_allowed();
  co_return refusal;
}

}  // namespace sluice::serving
