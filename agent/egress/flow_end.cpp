#include "egress/flow_end.h"

#include <utility>

#include "egress/flow_frames.h"
#include "egress/gated_call.h"

namespace sluice::egress {
namespace {

void end_denied(GateDesk& desk, const kernel::Flow& flow) {
  desk.flows.drop_promise(flow.key.id, flow.header);
  if (desk.past.ended(flow.audit)) return desk.turn.close(flow.key, std::nullopt);
  auto record = close_record(desk, flow, desk.flows.host(flow.host), name_of(flow.why));
  if (!flow.was_allowed && !desk.past.opened(flow.audit)) {
    record.event = observe::Event::deny;
    record.verdict = observe::Decision::deny;
    record.reason = static_cast<Reason>(flow.why);
    record.close_reason.clear();
  }
  desk.turn.close(flow.key, std::move(record));
}

}  // namespace

void end_flow(GateDesk& desk, const kernel::Flow& flow, const std::optional<kernel::Owner>& owner) {
  if (flow.state == kernel::FlowState::denied) return end_denied(desk, flow);
  if (!flow.was_allowed) return GatedCall(desk, flow, false).end(flow, owner);
  if (desk.past.ended(flow.audit)) return desk.turn.close(flow.key, std::nullopt);
  desk.turn.close(flow.key, close_record(desk, flow, desk.flows.host(flow.host), close_reason(flow.end)));
}

std::optional<kernel::Flow> stop_flow(kernel::Flows& flows, net::Injector& injector, const kernel::Flow& flow,
                                      Cut why) {
  kernel::Verdict verdict{kernel::Verdict::Kind::deny, flow.key};
  verdict.why = static_cast<std::uint8_t>(why);
  if (!flows.judge(verdict)) return std::nullopt;
  flows.drop_promise(flow.key.id, flow.header);
  auto last = flows.find(flow.key).value_or(flow);
  last.state = flow.state;  // what each side may have depends on it
  if (flow.state != kernel::FlowState::opening) reset_gateway(injector, last);
  reset_pod(injector, last);
  return last;
}

bool cut_flow(GateDesk& desk, const kernel::Flow& flow, Cut why) {
  const auto last = stop_flow(desk.flows, desk.injector, flow, why);
  if (!last) return false;
  const auto reason = name_of(static_cast<std::uint8_t>(why));
  desk.turn.close(flow.key, close_record(desk, *last, desk.flows.host(last->host), reason));
  return true;
}

}  // namespace sluice::egress
