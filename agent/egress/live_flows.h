// The open flows of the gate, as `sluice flows` shows them.
#pragma once

#include <vector>

#include "identity/pod.h"
#include "kernel/flows.h"
#include "serving/live.h"

namespace sluice::egress {

// As far as the kernel knows them. From any thread.
std::vector<serving::Flow> live_flows(const kernel::FlowEntries& entries, const identity::PodTable& pods);

}  // namespace sluice::egress
