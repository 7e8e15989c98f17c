#include "egress/gate.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>

#include "base/clock.h"
#include "base/spread.h"
#include "egress/gate_ports.h"
#include "egress/way.h"
#include "policy/reason.h"

namespace sluice::egress {
namespace {

constexpr std::size_t upcalls_at_once = 1024;  // that are taken from the ring between two looks at everything else
constexpr std::size_t waiting_per_pod = 8192;  // upcalls; beyond them TCP sends again
constexpr std::size_t served_at_once = 128;
constexpr std::chrono::milliseconds tick_time{20};
constexpr std::uint64_t sweep_time_ns = 100'000'000;  // while something is undecided
constexpr std::uint64_t slow_sweep_time_ns = 1'000'000'000;
constexpr std::uint64_t sweep_share = 50;  // one part of so many
constexpr std::uint64_t allowed_ns = 30'000'000'000;
constexpr std::uint64_t linger_ns = 2'000'000'000;  // for late packets of what has ended

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
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

bool was_judged(const kernel::Flow& flow) {
  return flow.audit != kernel::AuditId{};
}

}  // namespace

Gate::Gate(const Node& node, serving::Worker& worker, kernel::Flows& flows, net::Injector injector,
           std::function<void()> gateway_failed)
    : desk_{node, flows, injector_, nullptr, nullptr},
      worker_(worker),
      injector_(std::move(injector)),
      gateway_failed_(std::move(gateway_failed)),
      clock_(worker.context()) {
  readable_.emplace(worker.context(), flows.upcalls_fd(), [this] { read(); });
  tick();
}

void Gate::set_pods(std::shared_ptr<const identity::PodTable> pods) {
  boost::asio::post(worker_.context(), [this, pods = std::move(pods)]() mutable {
    const bool first = desk_.pods == nullptr;
    desk_.pods = std::move(pods);
    if (first) recheck();
  });
}

void Gate::adopt(std::shared_ptr<const Snapshot> snapshot) {
  boost::asio::post(worker_.context(), [this, snapshot = std::move(snapshot)]() mutable {
    desk_.snapshot = std::move(snapshot);
    recheck();
  });
}

void Gate::read() {
  desk_.flows.read_upcalls(upcalls_at_once, [this](const kernel::Upcall& upcall) { take(upcall); });
  serve_soon();
}

// Each pod's wait for themselves: who sends much waits long.
void Gate::take(const kernel::Upcall& upcall) {
  auto& queue = queues_[upcall.ifindex];
  if (queue.waiting.size() >= waiting_per_pod) return;
  queue.waiting.push_back({upcall.kind, upcall.key, {upcall.frame.begin(), upcall.frame.end()}});
  if (queue.in_turn) return;
  queue.in_turn = true;
  turns_.push_back(upcall.ifindex);
}

void Gate::serve_soon() {
  if (serving_ || turns_.empty()) return;
  serving_ = true;
  boost::asio::post(worker_.context(), [this] {
    serving_ = false;
    serve();
  });
}

void Gate::serve() {
  for (std::size_t count = 0; count < served_at_once && !turns_.empty(); ++count) {
    const auto ifindex = turns_.front();
    turns_.pop_front();
    auto& queue = queues_[ifindex];
    const auto held = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    if (queue.waiting.empty()) {
      queues_.erase(ifindex);
    } else {
      turns_.push_back(ifindex);
    }
    handle(held);
  }
  serve_soon();
}

GatedCall* Gate::find_call(const kernel::FlowKey& key) {
  if (const auto known = calls_.find(key.id); known != calls_.end()) return known->second.get();
  const auto flow = desk_.flows.find(key);
  if (!flow || (flow->state != kernel::FlowState::held && flow->state != kernel::FlowState::allowed &&
                flow->state != kernel::FlowState::opening)) {
    return nullptr;
  }
  return calls_.emplace(key.id, std::make_unique<GatedCall>(desk_, *flow)).first->second.get();
}

void Gate::finish_if_done(std::uint64_t id) {
  const auto call = calls_.find(id);
  if (call != calls_.end() && call->second->is_done()) calls_.erase(call);
}

void Gate::handle(const Held& held) {
  switch (held.kind) {
    case kernel::UpcallKind::held:
    case kernel::UpcallKind::ask:
      if (auto* call = find_call(held.key)) {
        held.kind == kernel::UpcallKind::held ? call->take(held.frame) : call->ask(held.frame);
        finish_if_done(held.key.id);
      }
      return;
    case kernel::UpcallKind::refused:
      return handle_refused(held.key);
    case kernel::UpcallKind::ended:
      return end(held.key);
    case kernel::UpcallKind::late:
      return handle_late(held.key);
  }
}

void Gate::note_failure(const kernel::Flow& flow) {
  const auto index = gateway_index(flow.gateway_number);
  const auto& gateways = desk_.node.settings.egress.gateways;
  if (index >= gateways.size()) return;
  const auto& addresses = gateways[index].addresses;
  for (std::size_t place = 0; place < addresses.size(); ++place) {
    if (addresses[place].address != flow.gateway.address) continue;
    if (addresses[place].port != 0 && addresses[place].port != flow.gateway.port) continue;
    desk_.node.gateways.failed(index, place, monotonic_ns());
  }
  gateway_failed_();
}

void Gate::handle_refused(const kernel::FlowKey& key) {
  const auto flow = desk_.flows.find(key);
  if (!flow || flow->state != kernel::FlowState::opening) return;
  note_failure(*flow);
  if (auto* call = find_call(key)) call->dial_next("connection refused");
  finish_if_done(key.id);
}

void Gate::handle_late(const kernel::FlowKey& key) {
  const auto flow = desk_.flows.find(key);
  if (!flow) return;
  const auto& limits = desk_.node.settings.limits;
  switch (flow->state) {
    case kernel::FlowState::opening: {
      auto* call = find_call(key);
      if (call == nullptr || monotonic_ns() - call->dialled_ns() < nanoseconds(limits.connect_timeout)) return;
      note_failure(*flow);
      call->dial_next("connection timed out");
      return finish_if_done(key.id);
    }
    case kernel::FlowState::held:
      if (auto* call = find_call(key)) call->time_out();
      return finish_if_done(key.id);
    case kernel::FlowState::allowed:
      if (auto* call = find_call(key)) call->refuse_gateway("it does not acknowledge");
      return finish_if_done(key.id);
    case kernel::FlowState::open:
      return cut(*flow, flow->bytes_received == 0 && flow->note == static_cast<std::uint8_t>(Sniffed::tls) ? "no_answer"
                                                                                                           : "idle");
    case kernel::FlowState::ended:
      return end(key);
    default:
      return;
  }
}

void Gate::end(const kernel::FlowKey& key) {
  const auto call = calls_.find(key.id);
  const auto flow = desk_.flows.find(key);
  if (flow && flow->state == kernel::FlowState::ended) {
    if (was_judged(*flow)) {
      record_end(*flow, close_reason(flow->end));
    } else if (call != calls_.end()) {
      call->second->end(*flow);
    } else {
      GatedCall(desk_, *flow).end(*flow);
    }
    if (call != calls_.end()) desk_.flows.drop_promise(key.id);
    desk_.flows.collect(*flow);
  }
  if (call != calls_.end()) calls_.erase(call);
}

void Gate::record_end(const kernel::Flow& flow, std::string_view why) {
  auto record = record_of(desk_, flow);
  record.event = observe::Event::close;
  record.close_reason = why;
  desk_.node.recorder.closed(record);
}

void Gate::cut(const kernel::Flow& flow, std::string_view why) {
  if (!desk_.flows.deny(flow.key)) return;  // it has ended by itself
  desk_.flows.drop_promise(flow.key.id);
  record_end(flow, why);
  reset_gateway(desk_, flow);
  reset_pod(desk_, flow);
}

bool Gate::is_still_allowed(const kernel::Flow& flow) const {
  const auto* pod = desk_.pods->by_address(flow.key.source.address);
  // Nobody speaks for it, and nothing of it passes any more (from_pod knows its interface by the same table).
  if (pod == nullptr) return true;
  const auto host = desk_.flows.host(flow.host);
  const Request request{pod->namespace_name, flow.key.destination.address, flow.key.destination.port,
                        static_cast<Sniffed>(flow.note), host};
  const auto verdict = desk_.snapshot->decide(request);
  if (!verdict.allowed()) return false;
  const Snapshot::Caller caller{&pod->labels, 0, nullptr, spread(flow.key.id)};
  const auto way = find_way(*desk_.snapshot, request, verdict, caller, desk_.node.settings.egress);
  const auto* by_gateway = std::get_if<ByGateway>(&way);
  return by_gateway != nullptr && by_gateway->gateway == gateway_index(flow.gateway_number);
}

void Gate::recheck() {
  if (!desk_.snapshot || !desk_.pods) return;
  std::size_t count = 0;
  for (const auto& flow : desk_.flows.all()) {
    const bool judged = flow.state == kernel::FlowState::allowed || flow.state == kernel::FlowState::open;
    if (!judged || is_still_allowed(flow)) continue;
    cut(flow, to_string(Reason::policy_changed));
    calls_.erase(flow.key.id);
    ++count;
  }
  if (count != 0) spdlog::info("policy changed: {} connections of the gate cut", count);
}

void Gate::tick() {
  const auto now_ns = monotonic_ns();
  for (auto call = calls_.begin(); call != calls_.end();) {
    call->second->keep_going(now_ns);
    call = call->second->is_done() ? calls_.erase(call) : std::next(call);
  }
  if (now_ns >= next_sweep_ns_) sweep(now_ns);
  clock_.expires_after(tick_time);
  clock_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

void Gate::sweep(std::uint64_t now_ns) {
  const auto& limits = desk_.node.settings.limits;
  kernel::FlowPatience patience;
  patience.opening = nanoseconds(limits.connect_timeout);
  patience.held = nanoseconds(limits.first_bytes_timeout);
  patience.allowed = allowed_ns;
  patience.idle = nanoseconds(limits.idle_timeout);
  patience.answer = nanoseconds(limits.answer_timeout);
  patience.ended = linger_ns;
  const auto swept = desk_.flows.sweep(now_ns, patience);
  for (const auto& flow : desk_.flows.replaced()) end(flow.key);
  // However many flows there are, looking at them takes a bounded share of the time.
  const auto ended_ns = monotonic_ns();
  const auto pause_ns =
      std::max(swept.undecided != 0 ? sweep_time_ns : slow_sweep_time_ns, (ended_ns - now_ns) * sweep_share);
  next_sweep_ns_ = ended_ns + pause_ns;
}

std::vector<serving::Flow> Gate::flows(const kernel::Flows& flows, const identity::PodTable& pods) {
  std::vector<serving::Flow> views;
  const auto now_ns = monotonic_ns();
  for (const auto& flow : flows.all()) {
    if (flow.state != kernel::FlowState::allowed && flow.state != kernel::FlowState::open) continue;
    serving::Flow view;
    view.id = format_audit_id(flow.audit);
    if (const auto* pod = pods.by_address(flow.key.source.address)) view.pod = pod->full_name();
    view.source = flow.key.source.to_string();
    view.destination = flow.key.destination.to_string();
    view.host = flows.host(flow.host);
    view.verdict = "allow";
    view.gateway = flow.gateway.to_string();
    view.datapath = "gate";
    view.bytes_sent = flow.bytes_sent;
    view.bytes_received = flow.bytes_received;
    view.age_s = static_cast<double>(now_ns - std::min(now_ns, flow.began_ns)) / 1e9;
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace sluice::egress
