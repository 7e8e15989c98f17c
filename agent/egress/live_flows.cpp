#include "egress/live_flows.h"

#include <algorithm>

#include "base/clock.h"
#include "egress/audit_id.h"

namespace sluice::egress {

std::vector<serving::Flow> live_flows(const kernel::FlowEntries& entries, const identity::PodTable& pods) {
  std::vector<serving::Flow> views;
  const auto now_ns = monotonic_ns();
  for (const auto& flow : entries.all()) {
    if (flow.state != kernel::FlowState::allowed && flow.state != kernel::FlowState::open) continue;
    serving::Flow view;
    view.id = format_audit_id(flow.audit);
    if (const auto* pod = pods.by_address(flow.key.source.address)) view.pod = pod->full_name();
    view.source = flow.key.source.to_string();
    view.destination = flow.key.destination.to_string();
    view.host = entries.host(flow.host);
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
