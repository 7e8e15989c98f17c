// The end of flows that no call of this process stands for: open ones, and what a predecessor left.
#pragma once

#include <optional>

#include "egress/cut.h"
#include "egress/gate_desk.h"
#include "kernel/flows.h"
#include "net/injection.h"

namespace sluice::egress {

// `flow` has ended, was replaced, or was denied and not recorded: its last record, unless a predecessor wrote it, goes
// with the turn.
void end_flow(GateDesk& desk, const kernel::Flow& flow, const std::optional<kernel::Owner>& owner);

// Denies a flow that is not over and resets both of its sides: what it was last; nullopt: it has ended by itself.
std::optional<kernel::Flow> stop_flow(kernel::Flows& flows, net::Injector& injector, const kernel::Flow& flow, Cut why);

// The same of a flow that was allowed, with its close record in the turn; false: it has ended by itself.
bool cut_flow(GateDesk& desk, const kernel::Flow& flow, Cut why);

}  // namespace sluice::egress
