// Relaying a decided connection: bytes both ways until both sides have ended, half-closes and resets passed on.
#pragma once

#include "relay/end.h"
#include "relay/idle_guard.h"
#include "relay/pipe_pool.h"

namespace sluice::relay {

// Ends with both streams closed. `totals` grows as bytes move. A side that resets makes the other one reset, and so
// does whoever resets both from outside.
net::Task<End> tunnel(net::Stream& client, net::Stream& upstream, IdleLimits limits, PipePool& pipes, Totals& totals);

}  // namespace sluice::relay
