#include "egress/gated_call.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/spread.h"
#include "egress/audit_id.h"
#include "egress/flow_frames.h"
#include "egress/gate_ports.h"
#include "egress/way.h"
#include "relay/refusal.h"
#include "serving/facts.h"
#include "tls/digest.h"

namespace sluice::egress {
namespace {

using serving::Refusal;

constexpr std::uint64_t first_wait_ns = 200'000'000;  // until the first repetition, then twice as long each time
constexpr std::uint64_t more_gap_ns = 40'000'000;     // after which a pod that has not sent a whole hello waits for us
constexpr std::uint64_t look_gap_ns = 20'000'000;
constexpr std::uint64_t ending_gap_ns = 1'000'000'000;
constexpr std::uint64_t repeat_gap_ns = 50'000'000;  // between repetitions that the pod's own ask for
constexpr unsigned max_attempts = 7;
constexpr unsigned max_dials = 3;            // of one call
constexpr unsigned small_segments_from = 3;  // attempts from which on a lost path MTU message is likely
constexpr std::size_t small_segment = 512;
constexpr std::size_t any_segment = 0xffff;
constexpr std::uint16_t least_window = 512;

double milliseconds_between(std::uint64_t from_ns, std::uint64_t to_ns) {
  return static_cast<double>(to_ns - std::min(from_ns, to_ns)) / 1e6;
}

}  // namespace

observe::Record close_record(const GateDesk& desk, const kernel::Flow& flow, std::string_view host,
                             std::string_view why) {
  observe::Record record;
  record.event = observe::Event::close;
  record.id = format_audit_id(flow.audit);
  record.source = flow.key.source;
  record.destination = flow.key.destination;
  record.protocol = serving::protocol_name(static_cast<Sniffed>(flow.note));
  record.sni = host;
  record.gateway = flow.gateway.to_string();
  record.verdict = observe::Decision::allow;
  record.reason = Reason::registered;
  record.datapath = "gate";
  record.bytes_sent = flow.bytes_sent;
  record.bytes_received = flow.bytes_received;
  record.close_reason = why;
  const auto until_ns = flow.state == kernel::FlowState::ended ? flow.seen_ns : monotonic_ns();
  record.duration_ms = milliseconds_between(flow.began_ns, until_ns);
  if (const auto* pod = desk.pods ? desk.pods->by_address(flow.key.source.address) : nullptr) {
    record.pod = serving::pod_facts(*pod);
  }
  return record;
}

std::string_view close_reason(kernel::FlowEnd end) {
  switch (end) {
    case kernel::FlowEnd::finished:
      return "finished";
    case kernel::FlowEnd::upstream_reset:
      return "upstream_reset";
    case kernel::FlowEnd::cut:
      return "policy_not_ready";
    default:
      return "client_reset";
  }
}

GatedCall::GatedCall(GateDesk& desk, const kernel::Flow& flow, bool first)
    : desk_(desk),
      flow_(flow),
      stream_(flow.pod_first),
      pods_(desk.pods),
      acknowledged_(flow.pod_first),
      dialled_ns_(flow.began_ns) {
  record_.datapath = "gate";
  record_.protocol = "tcp";
  record_.source = flow.key.source;
  record_.destination = flow.key.destination;
  record_.gateway = flow.gateway.to_string();
  record_.id = format_audit_id(flow.audit);
  if (!first) take_over();
}

// A predecessor was about to allow it, and ended: after the record, or before the gateway had everything.
void GatedCall::take_over() {
  if (flow_.state == kernel::FlowState::allowed) {
    promise_ = desk_.flows.promised(flow_.key.id);
    promised_ = promise_.has_value();
    opened_ = true;
    phase_ = Phase::sending;
    host_ = desk_.flows.host(flow_.host);
    if (promise_ && promise_->approved == flow_.pod_first) send_header_again();
    return;
  }
  if (desk_.past.opened(flow_.audit)) {
    opened_ = true;
    desk_.node.recorder.found_open(1);
  }
}

// Nothing of the pod's is to go with it, and the pod may wait for its server: the header goes by itself, as what little
// is known of the pod allows. Its own next acknowledgement says how much it can take.
void GatedCall::send_header_again() {
  header_ = std::exchange(promise_, std::nullopt)->header;
  newest_.acknowledgement = flow_.gateway_acked;
  newest_.window = least_window;
}

// Of what was promised, by us or a predecessor.
std::size_t GatedCall::header_bytes(const kernel::Flow& flow) const {
  return std::max(header_.size(), std::size_t{flow.header});
}

bool GatedCall::identify() {
  if (!pod_namespace_.empty()) return true;
  pods_ = desk_.pods;
  const auto* pod = pods_ ? pods_->by_address(flow_.key.source.address) : nullptr;
  if (pod == nullptr) return false;
  pod_namespace_ = pod->namespace_name;
  pod_labels_ = &pod->labels;
  record_.pod = serving::pod_facts(*pod);
  record_.process = serving::process_facts(desk_.processes.describe(owner_, monotonic_ns()));
  return true;
}

// The API server may tell of a pod after its first call. keep_going() looks again.
bool GatedCall::may_be_identified(std::uint64_t now_ns) {
  unknown_ = now_ns - flow_.began_ns < pod_wait_ns(desk_.node.settings);
  return unknown_;
}

// Reads what came; false: nothing of it is to be looked at.
bool GatedCall::meet(const kernel::Upcall& upcall) {
  const auto segment = wire::parse_cut_tcp_frame(upcall.frame);
  if (!segment) return false;
  newest_ = *segment;
  if (!seen_) {
    seen_ = true;
    owner_ = upcall.owner;
    // What became known at the handshake.
    if (flow_.state == kernel::FlowState::opening) flow_ = upcall.flow;
    record_.gateway = flow_.gateway.to_string();
  }
  return true;
}

void GatedCall::take(const kernel::Upcall& upcall) {
  if ((phase_ != Phase::holding && phase_ != Phase::sending) || !meet(upcall)) return;
  const auto payload = std::exchange(newest_.payload, {});
  const auto added = stream_.add(newest_.sequence, payload);
  if (added == HeldStream::Added::more) changed_ns_ = monotonic_ns();
  if (added == HeldStream::Added::conflict) {
    return deny(Sniffed::tls, {Reason::hello_conflict, "other bytes for a sequence number that was held"});
  }
  if (phase_ == Phase::sending) return send_promised();
  // What was acknowledged comes again: the acknowledgement was lost (RFC 9293 section 3.10.7.4).
  if (added == HeldStream::Added::nothing_new && acknowledged_ == stream_.end()) acknowledge();
  fin_ = fin_ || (newest_.fin && newest_.sequence + payload.size() == stream_.end());
  look();
}

// The pod repeats what was approved.
void GatedCall::send_promised() {
  if (promise_) {
    // Only bytes that a predecessor has read are sent in its name.
    const auto wanted = static_cast<std::size_t>(wire::sequence_distance(flow_.pod_first, promise_->approved));
    if (stream_.bytes().size() < wanted) return;
    if (tls::sha256(stream_.bytes().first(wanted)) != promise_->digest) {
      return deny(Sniffed::tls, {Reason::hello_conflict, "other bytes than were judged before"});
    }
    header_ = std::exchange(promise_, std::nullopt)->header;
    approved_ = wanted;
    attempts_ = 0;
    return inject();
  }
  if (due_ns_ > wait_ns_ && monotonic_ns() > due_ns_ - wait_ns_ + repeat_gap_ns) inject();
}

void GatedCall::ask(const kernel::Upcall& upcall) {
  if (phase_ == Phase::holding && meet(upcall)) newest_.payload = {};
}

void GatedCall::judge_asked() {
  if (phase_ != Phase::holding || !seen_) return;
  if (!desk_.snapshot) return;
  if (!identify()) return void(may_be_identified(monotonic_ns()));
  if (desk_.snapshot->inspect(pod_namespace_, flow_.key.destination.address, flow_.key.destination.port) ==
      Inspection::opaque) {
    judge(Sniffed::none);
  }
}

// What there is now, does it say whom the call is for?
void GatedCall::look() {
  if (!identify()) {
    if (may_be_identified(monotonic_ns())) return;
    return deny(Sniffed::none, {Reason::pod_unknown, "no pod has this address"});
  }
  unknown_ = false;
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
      return deny(bad->sniffed, {bad->reason, std::move(bad->detail)});
    }
    if (const auto* first = std::get_if<relay::FirstBytes>(&step)) {
      serving::describe(*first, record_);
      host_ = serving::named_host(*first);
      return judge(first->sniffed);
    }
  }
  if (!fin_) return;
  auto early = relay::ended_early({bytes.begin(), bytes.end()}, false);
  deny(early.sniffed, {early.reason, std::move(early.detail)});
}

void GatedCall::judge(Sniffed sniffed) {
  const auto begun_ns = monotonic_ns();
  auto refusal = decide(sniffed);
  desk_.node.recorder.decided_in(monotonic_ns() - begun_ns);
  if (!refusal) refusal = allow(sniffed);
  if (refusal) deny(sniffed, std::move(*refusal));
}

std::optional<Refusal> GatedCall::decide(Sniffed sniffed) {
  const auto& destination = flow_.key.destination;
  const Request request{pod_namespace_, destination.address, destination.port, sniffed, host_};
  const Snapshot::Caller caller{pod_labels_, 0, nullptr, spread(flow_.key.id)};
  const auto& settings = desk_.node.settings.egress;
  const auto verdict = desk_.snapshot->decide(request);
  record_.rule = verdict.service ? verdict.service->rule() : std::string();
  if (!verdict.allowed()) return Refusal{verdict.reason, {}};
  if (auto refused = refuse_ech(record_.ech, settings)) return refused;
  const auto way = find_way(*desk_.snapshot, request, verdict, caller, settings);
  if (const auto* none = std::get_if<NoWay>(&way)) return Refusal{Reason::no_gateway_route, none->detail};
  const auto* by_gateway = std::get_if<ByGateway>(&way);
  if (by_gateway == nullptr || by_gateway->gateway != gateway_index(flow_.gateway_number)) {
    return Refusal{Reason::policy_changed, "the call's way changed while it was opened"};
  }
  record_.route = by_gateway->route;
  desk_.node.gateways.succeeded(by_gateway->gateway, flow_.gateway);
  const auto& gateway = settings.gateways[by_gateway->gateway];
  if (gateway.transport != settings::Transport::raw) {
    const Endpoint hop_source{flow_.key.source.address, flow_.source_port};
    header_ = make_header(desk_.node, record_, host_, gateway, by_gateway->port, hop_source);
  }
  return std::nullopt;
}

std::optional<Refusal> GatedCall::allow(Sniffed sniffed) {
  approved_ = stream_.bytes().size();
  const auto host = desk_.flows.number_of(host_);
  if (!host) return Refusal{Reason::overloaded, host.error().message()};
  if (header_.size() > kernel::max_promised_header_bytes) return Refusal{Reason::overloaded, "the header is too large"};
  sniffed_ = sniffed;
  phase_ = Phase::judged;
  promised_ = true;
  kernel::Verdict verdict{kernel::Verdict::Kind::allow, flow_.key, *host, static_cast<std::uint8_t>(sniffed)};
  verdict.approved = stream_.end();
  verdict.header = static_cast<std::uint16_t>(header_.size());
  if (approved_ != 0) verdict.digest = tls::sha256(stream_.bytes().first(approved_));
  if (opened_) {
    desk_.turn.allow(*this, header_, std::nullopt, verdict);
    return std::nullopt;
  }
  record_.event = observe::Event::open;
  record_.reason = Reason::registered;
  record_.verdict = observe::Decision::allow;
  desk_.turn.allow(*this, header_, record_, verdict);
  return std::nullopt;
}

void GatedCall::deny(Sniffed sniffed, Refusal refusal) {
  if (record_.protocol == "tcp") record_.protocol = serving::protocol_name(sniffed);
  sniffed_ = sniffed;
  refusal_ = std::move(refusal);
  phase_ = Phase::judged;
  kernel::Verdict verdict{kernel::Verdict::Kind::deny, flow_.key};
  verdict.note = static_cast<std::uint8_t>(sniffed);
  verdict.why = static_cast<std::uint8_t>(refusal_->reason);
  if (!opened_) return desk_.turn.deny(*this, verdict, deny_record());
  if (const auto flow = desk_.flows.find(flow_.key)) flow_ = *flow;
  auto record = close_record(desk_, flow_, host_, to_string(refusal_->reason));
  record.detail = refusal_->detail;
  desk_.turn.deny(*this, verdict, std::move(record));
}

void GatedCall::settled(Settled how) {
  refusal_ ? settle_denied(how) : settle_allowed(how);
}

void GatedCall::settle_allowed(Settled how) {
  switch (how) {
    case Settled::not_recorded:
      return deny(sniffed_, {Reason::audit_unavailable, "the audit log cannot be written"});
    case Settled::no_room:
      opened_ = true;
      return deny(sniffed_, {Reason::overloaded, "the kernel has no room for more calls that begin"});
    case Settled::too_late:
      opened_ = true;
      return wait_for_end();
    case Settled::done:
      opened_ = true;
  }
  if (!header_.empty() || approved_ != 0) {
    phase_ = Phase::sending;
    return inject();
  }
  phase_ = Phase::done;
}

void GatedCall::settle_denied(Settled how) {
  if (how == Settled::too_late) return wait_for_end();
  phase_ = Phase::done;
  if (promised_) desk_.flows.drop_promise(flow_.key.id, header_bytes(flow_));
  if (flow_.state != kernel::FlowState::opening) reset_gateway(desk_.injector, flow_);
  answer();
}

// As the server would: the answer and the end of its half in one segment, acknowledging all that was held, so that
// nothing is sent again.
void GatedCall::answer() {
  if (opened_) return reset_pod(desk_.injector, flow_);
  const auto text = relay::refusal_answer(sniffed_, refusal_->reason, host_, refusal_->detail);
  if (!text.empty() && seen_) {
    return answer_pod(desk_.injector, flow_, newest_, stream_.end() + (fin_ ? 1 : 0), text);
  }
  flow_.pod_next = stream_.end();
  reset_pod(desk_.injector, flow_);
}

void GatedCall::inject() {
  const auto now_ns = monotonic_ns();
  wait_ns_ = first_wait_ns << std::min(attempts_, 6U);
  due_ns_ = now_ns + wait_ns_;
  look_ns_ = now_ns + look_gap_ns;
  ++attempts_;
  const auto most = attempts_ > small_segments_from ? small_segment : any_segment;
  const auto approved = stream_.bytes().first(approved_);
  if (header_.empty()) return send_to_gateway(desk_.injector, flow_, newest_, approved, most);
  auto bytes = header_;
  bytes.insert(bytes.end(), approved.begin(), approved.end());
  send_to_gateway(desk_.injector, flow_, newest_, bytes, most);
}

void GatedCall::keep_going(std::uint64_t now_ns) {
  if (unknown_ && phase_ == Phase::holding && (desk_.pods != pods_ || !may_be_identified(now_ns))) {
    judge_asked();
    if (phase_ == Phase::holding && (stream_.end() != flow_.pod_first || fin_)) look();
  }
  if (phase_ == Phase::holding && stream_.end() != acknowledged_ && now_ns > changed_ns_ + more_gap_ns) acknowledge();
  if (phase_ == Phase::ending) return look_after(now_ns);
  if (phase_ != Phase::sending || (now_ns < look_ns_ && now_ns < due_ns_)) return;
  look_ns_ = now_ns + look_gap_ns;
  const auto flow = desk_.flows.find(flow_.key);
  if (!flow || flow->state != kernel::FlowState::allowed) {
    phase_ = flow && flow->state == kernel::FlowState::ended ? Phase::ending : Phase::done;
    return;
  }
  if (now_ns < due_ns_) return;
  if (promise_) {
    due_ns_ = now_ns + first_wait_ns;  // the pod has to repeat its bytes first
    return;
  }
  if (attempts_ >= max_attempts) return refuse_gateway("it acknowledges nothing");
  inject();
}

// After a SYN that was lost twice a TCP begins with a single segment (RFC 5681 section 3.1), and a hello of two would
// never come. From here on the pod does not repeat these bytes: without this agent the call is denied.
void GatedCall::acknowledge() {
  acknowledged_ = stream_.end();
  if (acknowledged_ != flow_.pod_first) acknowledge_to_pod(desk_.injector, flow_, newest_, acknowledged_);
}

void GatedCall::wait_for_end() {
  phase_ = Phase::ending;
  look_ns_ = monotonic_ns() + ending_gap_ns;
}

// Its end is told and recorded soon, or was before its verdict came too late.
void GatedCall::look_after(std::uint64_t now_ns) {
  if (now_ns < look_ns_) return;
  look_ns_ = now_ns + ending_gap_ns;
  const auto flow = desk_.flows.find(flow_.key);
  if (flow && flow->state != kernel::FlowState::collected) return;
  opened_ ? end(flow.value_or(flow_), {}) : void(phase_ = Phase::done);
}

void GatedCall::dial_next(std::string_view failure) {
  auto syn = desk_.flows.syn(flow_.key.id);
  if (dials_ >= max_dials || !syn || !wire::complete_tcp_checksum(*syn) ||
      !desk_.flows.judge({kernel::Verdict::Kind::reroute, flow_.key})) {
    return refuse_gateway(failure);
  }
  ++dials_;
  dialled_ns_ = monotonic_ns();
  static_cast<void>(desk_.injector.send(*syn, kernel::injection_mark(flow_.key.id)));
}

void GatedCall::time_out() {
  if (phase_ != Phase::holding) return;
  if (!identify() && unknown_) return deny(Sniffed::none, {Reason::pod_unknown, "no pod has this address"});
  const auto bytes = stream_.bytes();
  auto late = relay::ended_early({bytes.begin(), bytes.end()}, true);
  deny(late.sniffed, {late.reason, std::move(late.detail)});
}

void GatedCall::abandon() {
  if (phase_ != Phase::holding) return;
  identify();
  deny(Sniffed::none, {Reason::policy_not_ready, "detached before it was judged"});
}

void GatedCall::refuse_gateway(std::string_view detail) {
  if (phase_ != Phase::holding && phase_ != Phase::sending) return;
  identify();
  if (const auto flow = desk_.flows.find(flow_.key)) flow_ = *flow;
  record_.gateway = flow_.gateway.to_string();
  deny(Sniffed::none, {Reason::gateway_unreachable, fmt::format("gateway {}: {}", record_.gateway, detail)});
}

void GatedCall::end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner) {
  phase_ = Phase::done;
  if (!owner_) owner_ = owner;
  // Of what was allowed the kernel forgets it.
  if (promised_ && !flow.was_allowed) desk_.flows.drop_promise(flow.key.id, header_bytes(flow));
  if (desk_.past.ended(flow.audit)) return desk_.turn.close(flow.key, std::nullopt);
  if (opened_) {
    auto record = close_record(desk_, flow, host_, close_reason(flow.end));
    return desk_.turn.close(flow.key, std::move(record));
  }
  // What nobody was there to judge is counted where it was cut.
  if (flow.end == kernel::FlowEnd::cut) return desk_.turn.close(flow.key, std::nullopt);
  identify();
  if (!refusal_ && flow.end == kernel::FlowEnd::upstream_reset) {
    refusal_ = Refusal{Reason::gateway_denied, "the gateway ended the connection before its first bytes"};
  }
  if (!refusal_) {
    const auto bytes = stream_.bytes();
    auto early = relay::ended_early({bytes.begin(), bytes.end()}, false);
    record_.protocol = serving::protocol_name(early.sniffed);
    refusal_ = Refusal{early.reason, std::move(early.detail)};
  }
  desk_.turn.close(flow.key, deny_record());
}

observe::Record GatedCall::deny_record() const {
  auto record = record_;
  record.event = observe::Event::deny;
  record.verdict = observe::Decision::deny;
  record.reason = refusal_->reason;
  record.detail = refusal_->detail;
  record.duration_ms = milliseconds_between(flow_.began_ns, monotonic_ns());
  return record;
}

}  // namespace sluice::egress
