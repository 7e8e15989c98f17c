#include "serving/call.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <utility>

#include "base/clock.h"
#include "base/spread.h"
#include "observe/audit_line.h"
#include "relay/refusal.h"
#include "relay/tunnel.h"
#include "serving/facts.h"

namespace sluice::serving {
namespace {

constexpr std::string_view datapath = "relay";

// The field lines of a request head, between its first line and the empty one.
std::string_view field_lines(ByteSpan head) {
  std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  text.remove_prefix(std::min(text.find('\n') + 1, text.size()));
  return text;
}

const boost::json::value* member(const boost::json::value& of, std::string_view key) {
  const auto* object = of.if_object();
  return object != nullptr ? object->if_contains(key) : nullptr;
}

std::string text_of(const boost::json::value& of, std::string_view key) {
  const auto* value = member(of, key);
  return value != nullptr && value->is_string() ? std::string(value->get_string()) : std::string();
}

std::string_view query_of(std::string_view target) {
  const auto mark = target.find('?');
  return mark == target.npos ? std::string_view() : target.substr(mark + 1);
}

}  // namespace

Call::Call(Worker& worker, Recorder& recorder, const settings::Limits& limits, net::Socket client)
    : worker_(worker),
      limits_(limits),
      idle_timeout_(limits.idle_timeout),
      client_(std::make_unique<net::PlainStream>(std::move(client))),
      record_(std::make_unique<observe::Record>()),
      pick_(spread(monotonic_ns())),
      recorder_(recorder),
      started_ns_(monotonic_ns()) {
  record_->id = recorder_.next_id();
  record_->datapath = datapath;
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
  flow.host = host_;
  if (opened_) flow.verdict = observe::to_string(decision_);
  flow.datapath = datapath;
  flow.bytes_sent = totals_.sent;
  flow.bytes_received = totals_.received;
  flow.age_s = age_ms() / 1000;
  if (tunnel_) {
    boost::system::error_code error;
    const auto facts = boost::json::parse("{" + tunnel_->facts + "}", error);
    const auto* pod = member(facts, "pod");
    flow.id = tunnel_->id;
    if (pod != nullptr) flow.pod = text_of(*pod, "namespace") + "/" + text_of(*pod, "name");
    flow.source = text_of(facts, "source");
    flow.destination = text_of(facts, "destination");
    flow.rule = text_of(facts, "rule");
    flow.gateway = text_of(facts, "gateway");
    return flow;
  }
  flow.id = record_->id;
  if (record_->pod) flow.pod = record_->pod->namespace_name + "/" + record_->pod->name;
  if (record_->source) flow.source = record_->source->to_string();
  if (record_->destination) flow.destination = record_->destination->to_string();
  flow.rule = record_->rule;
  flow.gateway = record_->gateway;
  return flow;
}

Request Call::request(Sniffed sniffed) const {
  const auto& destination = tunnel_ ? tunnel_->destination : *record_->destination;
  return {pod_namespace_, destination.address, destination.port, sniffed, host_};
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

void Call::relay(std::unique_ptr<Call> call) {
  if (!call->tunnel_) return;
  call.release()->tunnel_->relay.begin();
}

void Call::on_tunnel_end(relay::End end) {
  const std::unique_ptr<Call> itself(this);
  record_closed(end);
}

void Call::cut(std::string_view why) {
  cut_reason_ = why;
  if (tunnel_) return tunnel_->relay.cut();
  client_->reset();
  if (upstream_) upstream_->reset();
}

void Call::note(const relay::FirstBytes& first) {
  describe(first, *record_);
  host_ = named_host(first);
}

void Call::note(const wire::RequestHead& head) {
  host_ = head.authority.host;
  record_->http = observe::HttpFacts{head.method, head.authority.host, head.path};
}

Verdict Call::judge(const Snapshot* snapshot, Sniffed sniffed) {
  judged_.reset();
  if (!snapshot) return {};
  const auto verdict = snapshot->decide(request(sniffed));
  record_->rule = verdict.service ? verdict.service->rule() : std::string();
  if (verdict.allowed()) judged_ = sniffed;
  return verdict;
}

std::optional<Refusal> Call::record_allowed() {
  record_->event = opened_ ? observe::Event::request : observe::Event::open;
  record_->reason = reason_;
  record_->verdict = decision_;
  if (!recorder_.allowed(*record_)) return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  opened_ = true;
  return std::nullopt;
}

void Call::record_denied(Reason reason, std::string_view detail) {
  auto record = *record_;
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
  if (!std::exchange(opened_, false)) return;
  observe::Record of_tunnel;
  auto& record = tunnel_ ? of_tunnel : *record_;
  if (tunnel_) {
    record.id = std::move(tunnel_->id);
    record.facts = tunnel_->facts;
    record.datapath = datapath;
  }
  record.event = observe::Event::close;
  record.bytes_sent = totals_.sent;
  record.bytes_received = totals_.received;
  record.duration_ms = age_ms();
  record.close_reason = cut_reason_.empty() ? relay::to_string(end) : cut_reason_;
  recorder_.closed(record);
}

net::Task<void> Call::serve_client(std::vector<std::uint8_t> already) {
  if (!worker_.snapshot()) {
    co_return co_await refuse(Sniffed::none, Reason::policy_not_ready, "no policy was read yet");
  }
  const auto& destination = *record_->destination;
  const auto inspection = worker_.snapshot()->inspect(pod_namespace_, destination.address, destination.port);
  if (inspection != Inspection::sniff) co_return co_await serve_stream(Sniffed::none, std::move(already));
  // Most of the time they are there.
  auto read = relay::take_first_bytes(*client_, already);
  if (!read) read = co_await relay::read_first_bytes(*client_, std::move(already), limits_.first_bytes_timeout);
  co_await serve_first_bytes(std::move(*read));
}

net::Task<void> Call::serve_first_bytes(relay::FirstBytesResult&& read) {
  if (auto* bad = std::get_if<relay::Unreadable>(&read)) {
    record_->protocol = protocol_name(bad->sniffed);
    return serve_unreadable(std::move(*bad));
  }
  auto& first = std::get<relay::FirstBytes>(read);
  note(first);
  if (first.sniffed == Sniffed::http) return serve_http(std::move(first));
  return serve_stream(first.sniffed, std::move(first.bytes));
}

net::Task<void> Call::serve_stream(Sniffed sniffed, std::vector<std::uint8_t> bytes) {
  auto refusal = decide_timed(sniffed);
  if (!refusal) {
    auto connected = co_await connect();
    refusal = conclude_connect(std::move(connected));
  }
  if (refusal) co_return co_await refuse(sniffed, refusal->reason, refusal->detail);
  totals_.sent += bytes.size();
  // One write, and so one segment where it fits: preamble and hello travel together.
  if (!preamble_.empty()) bytes.insert(bytes.begin(), preamble_.begin(), preamble_.end());
  preamble_ = std::vector<std::uint8_t>();
  ByteSpan rest = bytes;
  bool sent = rest.empty() || upstream_->try_write(rest);
  if (sent && !rest.empty()) sent = co_await upstream_->write_all(rest);
  if (!sent) {
    client_->reset();
    co_return record_closed(relay::End::upstream_reset);
  }
  // Who speaks TLS is answered at once, or nobody is there.
  const auto answer = sniffed == Sniffed::tls ? limits_.answer_timeout : net::Milliseconds(0);
  const relay::IdleLimits limits{idle_timeout_, answer};
  if (client_->is_plain() && upstream_->is_plain()) {
    relay::SocketTunnel::Owner& owner = *this;
    tunnel_.reset(new Tunnel{{client_->socket(), upstream_->socket(), limits, worker_.pipes(), totals_, owner},
                             std::move(record_->id),
                             observe::facts_of(*record_),
                             *record_->destination});
    record_.reset();
  } else {
    bytes = std::vector<std::uint8_t>();
    record_closed(co_await relay::tunnel(*client_, *upstream_, limits, worker_.pipes(), totals_));
  }
}

net::Task<void> Call::serve_unread(Sniffed sniffed) {
  return serve_stream(sniffed, {});
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
    record_->gateway = http.upstream_gateway;
    record_->upstream = http.upstream_address;
    refusal = record_allowed();
  } else if (!refusal) {
    auto connected = co_await connect();
    refusal = conclude_connect(std::move(connected));
    http.upstream_key = std::move(key);
    http.upstream_gateway = record_->gateway;
    http.upstream_address = record_->upstream;
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
  record_->rule.clear();
  record_->route.clear();
  record_->gateway.clear();
  record_->upstream.clear();
  auto refusal = decide(sniffed);
  recorder_.decided_in(monotonic_ns() - begun_ns);
  return refusal;
}

net::Task<std::variant<net::Dialled, Refusal>> Call::dial(Upstreams& upstreams, TargetQuery query,
                                                          net::Milliseconds timeout) {
  auto found = upstreams.find_known(query);
  if (!found) found = co_await upstreams.find(query, {});
  if (was_cut()) co_return overtaken();
  if (auto* refusal = std::get_if<Refusal>(&*found)) co_return std::move(*refusal);
  const net::DialPlan plan{.timeout = timeout, .max_attempts = Upstreams::max_addresses};
  auto dialled = co_await net::dial_any(std::get<std::vector<Endpoint>>(std::move(*found)), plan);
  if (was_cut()) co_return overtaken();
  if (const auto* error = std::get_if<net::DialError>(&dialled)) {
    const bool timed_out = error->kind == net::DialFailure::timeout;
    co_return Refusal{timed_out ? Reason::upstream_timeout : Reason::upstream_refused, error->message};
  }
  co_return std::get<net::Dialled>(std::move(dialled));
}

Refusal Call::overtaken() const {
  return {parse_reason(cut_reason_).value_or(Reason::policy_changed), "while it was connected"};
}

std::optional<Refusal> Call::conclude_connect(std::optional<Refusal> refusal) {
  // Policy, or the end of the process, was faster than the dial.
  if (was_cut()) {
    upstream_.reset();
    return overtaken();
  }
  return refusal ? std::move(refusal) : record_allowed();
}

}  // namespace sluice::serving
