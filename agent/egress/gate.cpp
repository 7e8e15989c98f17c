#include "egress/gate.h"

#include <malloc.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "base/clock.h"
#include "base/spread.h"
#include "egress/flow_end.h"
#include "egress/flow_frames.h"
#include "egress/gate_ports.h"
#include "egress/way.h"
#include "policy/reason.h"

namespace sluice::egress {
namespace {

constexpr std::size_t upcalls_at_once = 1024;  // that are taken from the ring between two looks at everything else
constexpr std::size_t upcalls_in_ring = 16 * upcalls_at_once;  // more than fit
constexpr std::size_t endings_at_once = 4096;
constexpr std::size_t waiting_per_pod = 8192;  // upcalls; beyond them TCP sends again
constexpr std::size_t waiting_bytes_per_pod = 4UL * 1024 * 1024;
constexpr std::size_t served_at_once = 128;
constexpr std::size_t many_upcalls = 4096;
constexpr std::size_t cut_at_once = 1000;  // records in one write to the log
constexpr std::chrono::milliseconds tick_time{20};
constexpr std::chrono::milliseconds slow_tick_time{200};  // while nothing has happened for a while
constexpr std::uint64_t while_ns = 250'000'000;
constexpr std::uint64_t sweep_time_ns = 100'000'000;  // while something is undecided
constexpr std::uint64_t slow_sweep_time_ns = 1'000'000'000;
constexpr std::uint64_t idle_sweep_time_ns = 3'000'000'000;  // while nothing has happened for a while
constexpr std::uint64_t sweep_share = 100;                   // one part of so many
constexpr std::uint64_t allowed_ns = 30'000'000'000;
constexpr std::uint64_t linger_ns = 2'000'000'000;  // for late packets of what has ended
constexpr std::uint64_t fresh_ns = 1'000'000'000;
constexpr std::uint64_t past_ns = 120'000'000'000;  // after which nothing is undecided that a predecessor has seen

std::uint64_t nanoseconds(std::chrono::milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

}  // namespace

Gate::Gate(const Node& node, serving::Worker& worker, kernel::Flows& flows, net::Injector injector,
           std::function<void()> gateway_ejected)
    : desk_{node, flows, injector_, Turn(flows, node.recorder), {}, {}, nullptr, nullptr},
      worker_(worker),
      injector_(std::move(injector)),
      probe_(worker.context(), node.gateways, node.settings.limits.connect_timeout, std::move(gateway_ejected)),
      clock_(worker.context()) {
  take_over();
  readable_.emplace(worker.context(), flows.upcalls_fd(), [this] { read(); });
  tick();
}

void Gate::set_pods(std::shared_ptr<const identity::PodTable> pods) {
  boost::asio::post(worker_.context(), [this, pods = std::move(pods)]() mutable {
    const bool first = desk_.pods == nullptr;
    desk_.pods = std::move(pods);
    Places places;
    for (const auto& pod : desk_.pods->pods()) {
      for (const auto& address : pod.addresses) places.emplace(pod.ifindex, address);
    }
    Places gone;
    std::set_difference(places_.begin(), places_.end(), places.begin(), places.end(),
                        std::inserter(gone, gone.begin()));
    places_ = std::move(places);
    if (!gone.empty()) cut_orphans(gone);
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
  if (!serving_) serve();
}

// Behind what the same flows sent before they ended.
void Gate::read_endings() {
  std::vector<kernel::Upcall> endings;
  desk_.flows.read_endings(endings_at_once, [&](const kernel::Upcall& upcall) { endings.push_back(upcall); });
  if (!endings.empty()) take_endings(endings);
}

void Gate::take_endings(const std::vector<kernel::Upcall>& endings) {
  for (std::size_t left = upcalls_in_ring; left > 0; left -= upcalls_at_once) {
    const auto count =
        desk_.flows.read_upcalls(upcalls_at_once, [this](const kernel::Upcall& upcall) { take(upcall); });
    if (count < upcalls_at_once) break;
  }
  for (const auto& ending : endings) take(ending);
  serve_soon();
}

// Each pod's wait for themselves: who sends much waits long.
void Gate::take(const kernel::Upcall& upcall) {
  auto& queue = queues_[upcall.flow.ifindex];
  if (queue.waiting.size() >= waiting_per_pod || queue.bytes >= waiting_bytes_per_pod) return;
  busy_ns_ = monotonic_ns();
  ++taken_;
  if (std::exchange(slow_, false)) set_clock(tick_time);
  if (queue.waiting.empty()) turns_.push_back(upcall.flow.ifindex);
  queue.bytes += upcall.frame.size();
  queue.waiting.push_back({upcall, {upcall.frame.begin(), upcall.frame.end()}});
}

void Gate::serve_soon() {
  if (serving_ || (turns_.empty() && asked_.empty())) return;
  serving_ = true;
  boost::asio::post(worker_.context(), [this] {
    serving_ = false;
    serve();
  });
}

void Gate::serve() {
  const auto asked = std::exchange(asked_, {});
  for (std::size_t count = 0; count < served_at_once && !turns_.empty(); ++count) {
    const auto ifindex = turns_.front();
    turns_.pop_front();
    auto& queue = queues_[ifindex];
    auto waiting = std::move(queue.waiting.front());
    queue.waiting.pop_front();
    queue.bytes -= waiting.frame.size();
    if (queue.waiting.empty()) {
      queues_.erase(ifindex);
    } else {
      turns_.push_back(ifindex);
    }
    waiting.upcall.frame = waiting.frame;
    handle(waiting.upcall);
  }
  for (const auto id : asked) {
    handled_.push_back(id);
    if (const auto call = calls_.find(id); call != calls_.end()) call->second->judge_asked();
  }
  finish_turn();
  // Who was asked for in this turn is judged in the next, with what the pod has sent until then.
  if (!asked_.empty()) desk_.flows.read_upcalls(upcalls_at_once, [this](const kernel::Upcall& one) { take(one); });
  serve_soon();
}

void Gate::finish_turn() {
  desk_.turn.commit();
  for (const auto id : handled_) {
    const auto call = calls_.find(id);
    if (call != calls_.end() && call->second->is_done()) calls_.erase(call);
  }
  handled_.clear();
  ended_.clear();
}

GatedCall* Gate::find_call(const kernel::Upcall& upcall) {
  const auto id = upcall.flow.key.id;
  handled_.push_back(id);
  if (const auto known = calls_.find(id); known != calls_.end()) {
    // What comes after a verdict finds it carried out.
    if (known->second->is_judged()) desk_.turn.commit();
    return known->second.get();
  }
  // Not an old one that has waited, and ended meanwhile.
  const bool fresh = upcall.first && monotonic_ns() - upcall.flow.began_ns < fresh_ns;
  if (fresh) return calls_.emplace(id, std::make_unique<GatedCall>(desk_, upcall.flow, true)).first->second.get();
  // Has it been judged since?
  const auto flow = desk_.flows.find(upcall.flow.key);
  if (!flow || flow->state > kernel::FlowState::allowed) return nullptr;
  return calls_.emplace(id, std::make_unique<GatedCall>(desk_, *flow, false)).first->second.get();
}

void Gate::handle(const kernel::Upcall& upcall) {
  switch (upcall.kind) {
    case kernel::UpcallKind::held:
      if (auto* call = find_call(upcall)) call->take(upcall);
      return;
    case kernel::UpcallKind::ask:
      if (auto* call = find_call(upcall)) {
        call->ask(upcall);
        asked_.push_back(upcall.flow.key.id);
      }
      return;
    case kernel::UpcallKind::refused:
      return handle_refused(upcall);
    case kernel::UpcallKind::ended:
      return handle_ended(upcall);
    case kernel::UpcallKind::late:
      return handle_late(upcall);
  }
}

void Gate::handle_refused(const kernel::Upcall& upcall) {
  auto* call = find_call(upcall);
  if (call == nullptr) return;
  probe_.suspect(gateway_index(upcall.flow.gateway_number), upcall.flow.gateway);
  call->dial_next("connection refused");
}

void Gate::handle_late(const kernel::Upcall& upcall) {
  const auto& limits = desk_.node.settings.limits;
  const auto& seen = upcall.flow;
  if (seen.state == kernel::FlowState::denied || seen.state == kernel::FlowState::ended) {
    return look_for_end(upcall);
  }
  if (seen.state == kernel::FlowState::open) {
    const bool unanswered = seen.bytes_received == 0 && seen.note == static_cast<std::uint8_t>(Sniffed::tls);
    return cut(seen, unanswered ? Cut::no_answer : Cut::idle);
  }
  auto* call = find_call(upcall);
  if (call == nullptr) return;
  switch (seen.state) {
    case kernel::FlowState::opening:
      if (monotonic_ns() - call->dialled_ns() < nanoseconds(limits.connect_timeout)) return;
      probe_.suspect(gateway_index(seen.gateway_number), seen.gateway);
      return call->dial_next("connection timed out");
    case kernel::FlowState::held:
      return call->time_out();
    case kernel::FlowState::allowed:
      return call->refuse_gateway("it does not acknowledge");
    default:
      return;
  }
}

// When it ends this is told once, with its last totals. What the gateway has acknowledged since counts only for who is
// to be reset there.
void Gate::handle_ended(const kernel::Upcall& upcall) {
  const auto& flow = upcall.flow;
  if (flow.state != kernel::FlowState::ended || flow.reset_again) return look_for_end(upcall);
  if (!found_.contains(flow.key.id) && !found_before_.contains(flow.key.id)) handle_end(flow, upcall.owner);
}

// It may be told more than once that it was replaced, or that nobody has recorded its end; or found before it is told.
void Gate::look_for_end(const kernel::Upcall& upcall) {
  const auto flow = desk_.flows.find(upcall.flow.key);
  const bool ended = flow && (flow->state == kernel::FlowState::ended ||
                              (flow->state == kernel::FlowState::denied && !flow->recorded));
  if (!ended) return;
  found_.insert(flow->key.id);
  handle_end(*flow, upcall.owner);
}

void Gate::handle_end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner) {
  if (!ended_.insert(flow.key.id).second) return;
  if (flow.reset_again) reset_gateway(injector_, flow);
  end(flow, owner);
}

// `flow` has ended, was replaced, or was denied by a predecessor that did not record it.
void Gate::end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner) {
  if (const auto call = calls_.find(flow.key.id); call != calls_.end()) {
    if (call->second->is_judged()) desk_.turn.commit();
    call->second->end(flow, owner);
    calls_.erase(call);
    return;
  }
  end_flow(desk_, flow, owner);
}

void Gate::cut(const kernel::Flow& flow, Cut why) {
  // What its call was about to do comes first.
  const auto call = calls_.find(flow.key.id);
  if (call != calls_.end() && call->second->is_judged()) desk_.turn.commit();
  if (!cut_flow(desk_, flow, why)) return;  // it has ended by itself
  ended_.insert(flow.key.id);
  calls_.erase(flow.key.id);
}

// What a predecessor was about to do, and for which nobody sends any more.
void Gate::take_over() {
  past_until_ns_ = monotonic_ns() + past_ns;
  const auto flows = desk_.flows.all();
  const auto replaced = desk_.flows.replaced();
  std::unordered_set<std::uint64_t> ids;
  for (const auto& flow : flows) ids.insert(flow.key.id);
  for (const auto& flow : replaced) ids.insert(flow.key.id);
  desk_.flows.drop_promises_without(ids);
  if (ids.empty()) return;
  desk_.past.read(desk_.node.recorder);
  for (const auto& flow : flows) {
    if (flow.state != kernel::FlowState::allowed) continue;
    calls_.emplace(flow.key.id, std::make_unique<GatedCall>(desk_, flow, false));
  }
  const auto is_open = [this](const kernel::Flow& flow) {
    const bool over = flow.recorded || flow.state == kernel::FlowState::collected;
    return flow.was_allowed && !over && !desk_.past.ended(flow.audit);
  };
  const auto open =
      std::count_if(flows.begin(), flows.end(), is_open) + std::count_if(replaced.begin(), replaced.end(), is_open);
  desk_.node.recorder.found_open(static_cast<std::size_t>(open));
}

// Of pods that are gone, or do not have the address any more.
void Gate::cut_orphans(const Places& gone) {
  std::size_t count = 0;
  for (const auto& flow : desk_.flows.all()) {
    const bool judged = flow.state == kernel::FlowState::allowed || flow.state == kernel::FlowState::open;
    if (!judged || !gone.contains({flow.ifindex, flow.key.source.address})) continue;
    cut(flow, Cut::pod_gone);
    if (++count % cut_at_once == 0) finish_turn();
  }
  finish_turn();
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
    cut(flow, cut_for(Reason::policy_changed));
    if (++count % cut_at_once == 0) finish_turn();
  }
  finish_turn();
  if (count != 0) spdlog::info("policy changed: {} connections of the gate cut", count);
}

void Gate::tick() {
  const auto now_ns = monotonic_ns();
  for (const auto& [id, call] : calls_) call->keep_going(now_ns);
  desk_.turn.commit();
  std::erase_if(calls_, [](const auto& one) { return one.second->is_done(); });
  if (slow_ && desk_.flows.undecided() != 0) {
    busy_ns_ = now_ns;
    next_sweep_ns_ = now_ns;
  }
  if (now_ns >= next_sweep_ns_) sweep(now_ns);
  read_endings();
  const bool was_slow = std::exchange(slow_, is_quiet(now_ns));
  if (slow_ && !was_slow && std::exchange(taken_, 0) > many_upcalls) ::malloc_trim(0);  // what they needed at once
  set_clock(slow_ ? slow_tick_time : tick_time);
}

void Gate::set_clock(std::chrono::milliseconds time) {
  clock_.expires_after(time);
  clock_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

// Nothing is to be done but what somebody asks for.
bool Gate::is_quiet(std::uint64_t now_ns) const {
  return calls_.empty() && now_ns > busy_ns_ + while_ns;
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
  found_before_ = std::exchange(found_, {});
  std::vector<kernel::Upcall> endings;
  for (const auto& flow : desk_.flows.replaced()) {
    endings.push_back({.kind = kernel::UpcallKind::late, .first = false, .flow = flow, .owner = {}, .frame = {}});
  }
  if (!endings.empty()) take_endings(endings);
  if (now_ns >= past_until_ns_) desk_.past.forget();
  if (desk_.flows.has_many_hosts()) forget_hosts();
  // However many flows there are, looking at them takes a bounded share of the time.
  const auto ended_ns = monotonic_ns();
  const auto slow_ns = is_quiet(now_ns) ? idle_sweep_time_ns : slow_sweep_time_ns;
  const auto pause_ns =
      std::max(swept.undecided + swept.late != 0 ? sweep_time_ns : slow_ns, (ended_ns - now_ns) * sweep_share);
  next_sweep_ns_ = ended_ns + pause_ns;
}

void Gate::forget_hosts() {
  std::unordered_set<std::uint64_t> used;
  for (const auto& flow : desk_.flows.all()) used.insert(flow.host);
  for (const auto& flow : desk_.flows.replaced()) used.insert(flow.host);
  desk_.flows.forget_hosts_without(used);
}

}  // namespace sluice::egress
