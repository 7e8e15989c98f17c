// What the connections of the gate share.
#pragma once

#include <memory>

#include "egress/node.h"
#include "egress/past_records.h"
#include "egress/turn.h"
#include "identity/pod.h"
#include "identity/process.h"
#include "kernel/flows.h"
#include "net/injection.h"
#include "policy/snapshot.h"

namespace sluice::egress {

// Belongs to one thread.
struct GateDesk {
  const Node& node;
  kernel::Flows& flows;
  net::Injector& injector;
  Turn turn;
  PastRecords past;
  identity::ProcessCache processes;
  std::shared_ptr<const Snapshot> snapshot;        // null until the first policy came
  std::shared_ptr<const identity::PodTable> pods;  // null until they were known
};

}  // namespace sluice::egress
