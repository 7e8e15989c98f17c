#include "egress/gated_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/clock.h"
#include "base/spread.h"
#include "egress/gate_ports.h"
#include "egress/way.h"
#include "identity/process.h"
#include "relay/refusal.h"
#include "tls/digest.h"

namespace sluice::egress {
namespace {

using serving::Refusal;

constexpr std::uint64_t first_wait_ns = 200'000'000;  // until the first repetition, then twice as long each time
constexpr std::uint64_t more_gap_ns = 40'000'000;     // after which a pod that has not sent a whole hello waits for us
constexpr std::uint64_t look_gap_ns = 20'000'000;
constexpr std::uint64_t repeat_gap_ns = 5'000'000;  // between repetitions that the pod's own ask for
constexpr unsigned max_attempts = 7;
constexpr unsigned max_dials = 3;            // of one call
constexpr unsigned small_segments_from = 3;  // attempts from which on a lost path MTU message is likely
constexpr std::size_t small_segment = 512;
constexpr std::size_t timestamps_bytes = 12;

kernel::AuditId parse_audit_id(const std::string& id) {
  kernel::AuditId parsed{};
  std::from_chars(id.data(), id.data() + 16, parsed[0], 16);
  std::from_chars(id.data() + 16, id.data() + id.size(), parsed[1], 16);
  return parsed;
}

std::string_view protocol_of(Sniffed sniffed) {
  switch (sniffed) {
    case Sniffed::tls:
      return "tls";
    case Sniffed::http:
      return "http";
    default:
      return "tcp";
  }
}

// From the pod's side to the gateway: the gate translates the addresses, the numbers are the gateway's already.
wire::TcpSegment towards_gateway(const kernel::Flow& flow) {
  wire::TcpSegment segment;
  std::copy(flow.ethernet.begin(), flow.ethernet.end(), segment.ethernet.begin());
  segment.source = flow.key.source;
  segment.destination = flow.key.destination;
  return segment;
}

// As if from where the pod dialled.
wire::TcpSegment towards_pod(const kernel::Flow& flow) {
  wire::TcpSegment segment;
  std::copy_n(flow.ethernet.begin() + 6, 6, segment.ethernet.begin());
  std::copy_n(flow.ethernet.begin(), 6, segment.ethernet.begin() + 6);
  segment.source = flow.key.destination;
  segment.destination = flow.key.source;
  return segment;
}

void send_frame(GateDesk& desk, std::uint64_t flow_id, const wire::TcpSegment& segment) {
  std::array<std::uint8_t, 2048> small;
  const auto mark = kernel::injection_mark(flow_id);
  // What is lost here is sent again, or was only for the pod's convenience.
  if (const auto size = wire::write_tcp_frame(segment, small); size != 0) {
    static_cast<void>(desk.injector.send(ByteSpan(small).first(size), mark));
    return;
  }
  static_cast<void>(desk.injector.send(wire::build_tcp_frame(segment), mark));
}

}  // namespace

void reset_gateway(GateDesk& desk, const kernel::Flow& flow) {
  auto segment = towards_gateway(flow);
  segment.rst = true;
  // Exactly the byte that the gateway expects next, or it would only ask back (RFC 5961 section 3.2).
  segment.sequence = std::max<std::int32_t>(wire::sequence_distance(flow.pod_first, flow.pod_acked), 0) == 0
                         ? flow.pod_first
                         : flow.pod_acked;
  segment.sequence += flow.header;
  send_frame(desk, flow.key.id, segment);
}

void reset_pod(GateDesk& desk, const kernel::Flow& flow) {
  auto segment = towards_pod(flow);
  segment.rst = true;
  segment.ack = true;
  segment.sequence = flow.gateway_acked;
  segment.acknowledgement = flow.state == kernel::FlowState::opening ? flow.pod_first : flow.pod_next;
  send_frame(desk, flow.key.id, segment);
}

std::string format_audit_id(const kernel::AuditId& id) {
  return fmt::format("{:016x}{:08x}", id[0], id[1]);
}

observe::Record record_of(const GateDesk& desk, const kernel::Flow& flow) {
  observe::Record record;
  record.id = format_audit_id(flow.audit);
  record.source = flow.key.source;
  record.destination = flow.key.destination;
  record.protocol = protocol_of(static_cast<Sniffed>(flow.note));
  record.sni = desk.flows.host(flow.host);
  record.gateway = flow.gateway.to_string();
  record.verdict = observe::Decision::allow;
  record.reason = Reason::registered;
  record.datapath = "gate";
  record.bytes_sent = flow.bytes_sent;
  record.bytes_received = flow.bytes_received;
  const auto until_ns = flow.state == kernel::FlowState::ended ? flow.seen_ns : monotonic_ns();
  record.duration_ms = static_cast<double>(until_ns - std::min(flow.began_ns, until_ns)) / 1e6;
  if (const auto* pod = desk.pods ? desk.pods->by_address(flow.key.source.address) : nullptr) {
    record.pod = observe::PodFacts{pod->namespace_name, pod->name, pod->uid, pod->service_account};
  }
  return record;
}

GatedCall::GatedCall(GateDesk& desk, const kernel::Flow& flow)
    : desk_(desk),
      flow_(flow),
      stream_(flow.pod_first),
      pods_(desk.pods),
      acknowledged_(flow.pod_first),
      dialled_ns_(flow.began_ns) {
  record_.id = desk.node.recorder.next_id();
  record_.datapath = "gate";
  record_.protocol = "tcp";
  record_.source = flow.key.source;
  record_.destination = flow.key.destination;
  record_.gateway = flow.gateway.to_string();
  if (flow.state == kernel::FlowState::allowed) take_promise();
}

// A predecessor judged it, and ended before the gateway had everything.
void GatedCall::take_promise() {
  promise_ = desk_.flows.promised(flow_.key.id);
  record_ = record_of(desk_, flow_);
  host_ = record_.sni;
  phase_ = Phase::sending;
}

bool GatedCall::identify() {
  const auto* pod = pods_ ? pods_->by_address(flow_.key.source.address) : nullptr;
  if (pod == nullptr) return false;
  pod_namespace_ = pod->namespace_name;
  pod_labels_ = &pod->labels;
  record_.pod = observe::PodFacts{pod->namespace_name, pod->name, pod->uid, pod->service_account};
  auto process = identity::describe_process(desk_.node.kernel.take_owner(flow_.cookie));
  record_.process = {process.pid, std::move(process.comm), std::move(process.exe), process.cgroup_id};
  return true;
}

// What became known at the handshake.
void GatedCall::refresh() {
  if (flow_.state != kernel::FlowState::opening) return;
  const auto flow = desk_.flows.find(flow_.key);
  if (!flow) return;
  flow_ = *flow;
  record_.gateway = flow_.gateway.to_string();
}

void GatedCall::take(ByteSpan frame) {
  const auto segment = wire::parse_cut_tcp_frame(frame);
  if (!segment || phase_ == Phase::done) return;
  newest_ = *segment;
  newest_.payload = {};
  if (!seen_) refresh();
  seen_ = true;
  const auto added = stream_.add(segment->sequence, segment->payload);
  if (added == HeldStream::Added::more) changed_ns_ = monotonic_ns();
  if (added == HeldStream::Added::conflict) {
    return deny(Sniffed::tls, {Reason::hello_conflict, "other bytes for a sequence number that was held"});
  }
  if (phase_ == Phase::sending) {
    if (promise_ && approved_ == 0) {
      // Only bytes that a predecessor has read are sent in its name.
      const auto wanted = static_cast<std::size_t>(wire::sequence_distance(flow_.pod_first, promise_->approved));
      if (stream_.bytes().size() < wanted) return;
      if (tls::sha256(stream_.bytes().first(wanted)) != promise_->digest) {
        return deny(Sniffed::tls, {Reason::hello_conflict, "other bytes than were judged before"});
      }
      header_ = promise_->header;
      approved_ = wanted;
      attempts_ = 0;
      return inject();
    }
    const auto now_ns = monotonic_ns();
    if (due_ns_ > wait_ns_ && now_ns > due_ns_ - wait_ns_ + repeat_gap_ns) inject();
    return;
  }
  fin_ = fin_ || (segment->fin && segment->sequence + segment->payload.size() == stream_.end());
  look();
}

void GatedCall::ask(ByteSpan frame) {
  const auto segment = wire::parse_cut_tcp_frame(frame);
  if (!segment || phase_ != Phase::holding) return;
  newest_ = *segment;
  newest_.payload = {};
  if (!seen_) refresh();
  seen_ = true;
  if (!desk_.snapshot || (pod_namespace_.empty() && !identify())) return;
  if (desk_.snapshot->inspect(pod_namespace_, flow_.key.destination.address, flow_.key.destination.port) ==
      Inspection::opaque) {
    judge(Sniffed::none);
  }
}

// What there is now, does it say whom the call is for?
void GatedCall::look() {
  if (pod_namespace_.empty() && !identify()) {
    return deny(Sniffed::none, {Reason::pod_unknown, "no pod has this address"});
  }
  if (!desk_.snapshot) return deny(Sniffed::none, {Reason::policy_not_ready, "no policy was read yet"});
  const auto& destination = flow_.key.destination;
  if (desk_.snapshot->inspect(pod_namespace_, destination.address, destination.port) != Inspection::sniff) {
    return judge(Sniffed::none);
  }
  const auto bytes = stream_.bytes();
  if (bytes.size() > looked_at_) {
    auto step = relay::classify_first_bytes(bytes, looked_at_);
    looked_at_ = bytes.size();
    if (auto* bad = std::get_if<relay::Unreadable>(&step)) {
      record_.protocol = protocol_of(bad->sniffed);
      return deny(bad->sniffed, {bad->reason, std::move(bad->detail)});
    }
    if (const auto* first = std::get_if<relay::FirstBytes>(&step)) {
      note(*first);
      return judge(first->sniffed);
    }
  }
  if (!fin_) return;
  auto early = relay::ended_early({bytes.begin(), bytes.end()}, false);
  record_.protocol = protocol_of(early.sniffed);
  deny(early.sniffed, {early.reason, std::move(early.detail)});
}

void GatedCall::note(const relay::FirstBytes& first) {
  record_.protocol = protocol_of(first.sniffed);
  if (first.sniffed == Sniffed::http) {
    host_ = first.head.authority.host;
    record_.http = observe::HttpFacts{first.head.method, first.head.authority.host, first.head.path};
  }
  if (first.sniffed != Sniffed::tls) return;
  host_ = first.hello.sni;
  record_.sni = first.hello.sni;
  record_.alpn = first.hello.alpn;
  record_.ja4 = first.hello.ja4;
  record_.ech = first.hello.ech;
  for (const auto version : first.hello.versions) record_.tls_versions.push_back(wire::version_name(version));
}

// Its address has answered.
void GatedCall::note_success(std::size_t gateway) {
  const auto& addresses = desk_.node.settings.egress.gateways[gateway].addresses;
  for (std::size_t index = 0; index < addresses.size(); ++index) {
    const auto& address = addresses[index];
    if (address.address == flow_.gateway.address && (address.port == 0 || address.port == flow_.gateway.port)) {
      desk_.node.gateways.succeeded(gateway, index);
    }
  }
}

void GatedCall::judge(Sniffed sniffed) {
  const auto begun_ns = monotonic_ns();
  auto refusal = decide(sniffed);
  desk_.node.recorder.decided_in(monotonic_ns() - begun_ns);
  if (!refusal) refusal = allow(sniffed);
  if (refusal) deny(sniffed, *refusal);
}

std::optional<Refusal> GatedCall::decide(Sniffed sniffed) {
  const auto& destination = flow_.key.destination;
  const Request request{pod_namespace_, destination.address, destination.port, sniffed, host_};
  const auto verdict = desk_.snapshot->decide(request);
  record_.rule = verdict.service ? verdict.service->rule() : std::string();
  if (!verdict.allowed()) return Refusal{verdict.reason, {}};
  if (record_.ech && desk_.node.settings.egress.ech == settings::EchPolicy::deny) {
    return Refusal{Reason::ech_not_allowed, "the ClientHello is encrypted: only its outer name is known"};
  }
  const Snapshot::Caller caller{pod_labels_, 0, nullptr, spread(flow_.key.id)};
  const auto way = find_way(*desk_.snapshot, request, verdict, caller, desk_.node.settings.egress);
  if (const auto* none = std::get_if<NoWay>(&way)) return Refusal{Reason::no_gateway_route, none->detail};
  const auto* by_gateway = std::get_if<ByGateway>(&way);
  if (by_gateway == nullptr || by_gateway->gateway != gateway_index(flow_.gateway_number)) {
    return Refusal{Reason::policy_changed, "the call's way changed while it was opened"};
  }
  record_.route = by_gateway->route;
  note_success(by_gateway->gateway);
  const auto& gateway = desk_.node.settings.egress.gateways[by_gateway->gateway];
  if (gateway.transport != settings::Transport::raw) {
    const Endpoint hop_source{flow_.key.source.address, flow_.source_port};
    header_ = make_header(desk_.node, record_, host_, gateway, by_gateway->port, hop_source);
  }
  return std::nullopt;
}

// The order is what makes it safe: what will be sent is kept, the record is with the kernel, the verdict stands, and
// only then the first byte goes.
std::optional<Refusal> GatedCall::allow(Sniffed sniffed) {
  approved_ = stream_.bytes().size();
  const auto host = desk_.flows.number_of(host_);
  if (!host) return Refusal{Reason::overloaded, host.error().message()};
  if (header_.size() > kernel::max_promised_header_bytes) return Refusal{Reason::overloaded, "the header is too large"};
  const auto kept =
      desk_.flows.promise(flow_.key.id, {header_, stream_.end(), tls::sha256(stream_.bytes().first(approved_))});
  if (!kept) return Refusal{Reason::overloaded, kept.error().message()};
  record_.event = observe::Event::open;
  record_.reason = Reason::registered;
  record_.verdict = observe::Decision::allow;
  if (!desk_.node.recorder.allowed(record_)) {
    desk_.flows.drop_promise(flow_.key.id);
    return Refusal{Reason::audit_unavailable, "the audit log cannot be written"};
  }
  const kernel::Approval approval{parse_audit_id(record_.id), *host, static_cast<std::uint8_t>(sniffed), stream_.end(),
                                  static_cast<std::uint16_t>(header_.size())};
  if (!desk_.flows.allow(flow_.key, approval)) {
    // The pod was faster, and has ended it.
    desk_.flows.drop_promise(flow_.key.id);
    phase_ = Phase::done;
    auto record = record_;
    record.event = observe::Event::close;
    record.close_reason = "client_reset";
    record.duration_ms = static_cast<double>(monotonic_ns() - flow_.began_ns) / 1e6;
    desk_.node.recorder.closed(record);
    return std::nullopt;
  }
  phase_ = Phase::sending;
  if (header_.empty() && approved_ == 0) {
    desk_.flows.drop_promise(flow_.key.id);
    phase_ = Phase::done;
    return std::nullopt;
  }
  inject();
  return std::nullopt;
}

void GatedCall::inject() {
  const auto now_ns = monotonic_ns();
  wait_ns_ = first_wait_ns << std::min(attempts_, 6U);
  due_ns_ = now_ns + wait_ns_;
  look_ns_ = now_ns + look_gap_ns;
  ++attempts_;
  auto segment = towards_gateway(flow_);
  segment.traffic_class = newest_.traffic_class;
  segment.ack = true;
  segment.acknowledgement = newest_.acknowledgement;
  segment.window = newest_.window;
  segment.timestamps = newest_.timestamps;
  std::size_t most = flow_.mss;
  if (segment.timestamps) most -= std::min(most, timestamps_bytes);
  if (attempts_ > small_segments_from) most = std::min(most, small_segment);
  most = std::max<std::size_t>(most, 64);
  auto bytes = header_;
  const auto approved = stream_.bytes().first(approved_);
  bytes.insert(bytes.end(), approved.begin(), approved.end());
  for (std::size_t at = 0; at < bytes.size(); at += most) {
    const auto size = std::min(most, bytes.size() - at);
    segment.sequence = flow_.pod_first + static_cast<std::uint32_t>(at);
    segment.psh = at + size == bytes.size();
    segment.payload = ByteSpan(bytes).subspan(at, size);
    send_frame(desk_, flow_.key.id, segment);
  }
}

void GatedCall::keep_going(std::uint64_t now_ns) {
  if (phase_ == Phase::holding && stream_.end() != acknowledged_ && now_ns > changed_ns_ + more_gap_ns) acknowledge();
  if (phase_ != Phase::sending || (now_ns < look_ns_ && now_ns < due_ns_)) return;
  look_ns_ = now_ns + look_gap_ns;
  const auto flow = desk_.flows.find(flow_.key);
  if (!flow || flow->state != kernel::FlowState::allowed) {
    phase_ = Phase::done;
    return;
  }
  if (now_ns < due_ns_) return;
  if (attempts_ >= max_attempts) return refuse_gateway("it acknowledges nothing");
  if (promise_ && approved_ == 0) {
    due_ns_ = now_ns + first_wait_ns;  // the pod has to repeat its bytes first
    if (++attempts_ >= max_attempts) refuse_gateway("the pod did not repeat what was judged");
    return;
  }
  inject();
}

void GatedCall::dial_next(std::string_view failure) {
  auto syn = desk_.flows.syn(flow_.key.id);
  if (dials_ >= max_dials || !syn || !wire::complete_tcp_checksum(*syn) || !desk_.flows.redirect(flow_.key)) {
    return refuse_gateway(failure);
  }
  ++dials_;
  dialled_ns_ = monotonic_ns();
  static_cast<void>(desk_.injector.send(*syn, kernel::injection_mark(flow_.key.id)));
}

// After a SYN that was lost twice a TCP begins with a single segment (RFC 5681 section 3.1), and a hello of two would
// never come. From here on the pod does not repeat these bytes: without this agent the call is denied.
void GatedCall::acknowledge() {
  acknowledged_ = stream_.end();
  auto segment = towards_pod(flow_);
  segment.ack = true;
  segment.sequence = flow_.gateway_next;
  segment.acknowledgement = acknowledged_;
  segment.window = 0xffff;
  if (newest_.timestamps) segment.timestamps = {newest_.timestamps->echo, newest_.timestamps->value};
  send_frame(desk_, flow_.key.id, segment);
}

void GatedCall::time_out() {
  if (phase_ != Phase::holding) return;
  if (pod_namespace_.empty()) identify();
  const auto bytes = stream_.bytes();
  auto late = relay::ended_early({bytes.begin(), bytes.end()}, true);
  record_.protocol = protocol_of(late.sniffed);
  deny(late.sniffed, {late.reason, std::move(late.detail)});
}

void GatedCall::refuse_gateway(std::string_view detail) {
  if (phase_ == Phase::done) return;
  if (pod_namespace_.empty()) identify();
  if (const auto flow = desk_.flows.find(flow_.key)) flow_.gateway = flow->gateway;
  record_.gateway = flow_.gateway.to_string();
  deny(Sniffed::none, {Reason::gateway_unreachable, fmt::format("gateway {}: {}", record_.gateway, detail)});
}

void GatedCall::end(const kernel::Flow& flow) {
  if (phase_ != Phase::holding) {
    phase_ = Phase::done;
    return;
  }
  phase_ = Phase::done;
  if (flow.end == kernel::FlowEnd::cut) return;  // counted where it was cut
  if (pod_namespace_.empty()) identify();
  if (flow.end == kernel::FlowEnd::upstream_reset) {
    return record_denied({Reason::gateway_denied, "the gateway ended the connection before its first bytes"});
  }
  const auto bytes = stream_.bytes();
  auto early = relay::ended_early({bytes.begin(), bytes.end()}, false);
  record_.protocol = protocol_of(early.sniffed);
  record_denied({early.reason, std::move(early.detail)});
}

void GatedCall::deny(Sniffed sniffed, const Refusal& refusal) {
  const bool was_open = phase_ == Phase::sending;
  phase_ = Phase::done;
  if (was_open) desk_.flows.drop_promise(flow_.key.id);
  const auto flow = desk_.flows.find(flow_.key);
  if (!flow || !desk_.flows.deny(flow_.key)) {
    // It has ended by itself; what it ended as is recorded with its end, if it was open, and here if it was not.
    if (!was_open) record_denied(refusal);
    return;
  }
  flow_ = *flow;
  if (was_open) {
    auto record = record_of(desk_, flow_);
    record.event = observe::Event::close;
    record.close_reason = to_string(refusal.reason);
    record.detail = refusal.detail;
    desk_.node.recorder.closed(record);
  } else {
    record_denied(refusal);
  }
  if (flow_.state != kernel::FlowState::opening) reset_gateway(desk_, flow_);
  if (was_open) return reset_pod(desk_, flow_);
  answer_pod(sniffed, refusal);
}

// As the server would: the answer and the end of its half in one segment, acknowledging all that was held, so that
// nothing is sent again.
void GatedCall::answer_pod(Sniffed sniffed, const Refusal& refusal) {
  const auto answer = relay::refusal_answer(sniffed, refusal.reason, host_, refusal.detail);
  if (answer.empty() || !seen_) {
    flow_.pod_next = stream_.end();
    return reset_pod(desk_, flow_);
  }
  auto segment = towards_pod(flow_);
  segment.ack = true;
  segment.psh = true;
  segment.fin = true;
  segment.sequence = flow_.gateway_next;
  segment.acknowledgement = stream_.end() + (fin_ ? 1 : 0);
  segment.window = 0xffff;
  if (newest_.timestamps) segment.timestamps = {newest_.timestamps->echo, newest_.timestamps->value};
  segment.payload = answer;
  send_frame(desk_, flow_.key.id, segment);
}

void GatedCall::record_denied(const Refusal& refusal) {
  auto record = record_;
  record.event = observe::Event::deny;
  record.verdict = observe::Decision::deny;
  record.reason = refusal.reason;
  record.detail = refusal.detail;
  record.duration_ms = static_cast<double>(monotonic_ns() - flow_.began_ns) / 1e6;
  desk_.node.recorder.denied(record);
}

}  // namespace sluice::egress
