// Relaying a decided connection: bytes both ways until both sides have ended, half-closes and resets passed on.
#pragma once

#include <cstdint>
#include <string_view>

#include "relay/idle_guard.h"
#include "relay/pipe_pool.h"

namespace sluice::relay {

// How a relayed connection ended. `cut`: from outside, by reset() on its streams.
enum class End : std::uint8_t {
  finished,
  client_reset,
  upstream_reset,
  idle,
  no_answer,
  cut,
  overloaded,
  denied,
  malformed
};
// "finished", "client_reset", ...: close_reason in audit records.
std::string_view to_string(End end);

// Ends with both streams closed. `totals` grows as bytes move. A side that resets makes the other one reset.
net::Task<End> tunnel(net::Stream& client, net::Stream& upstream, IdleLimits limits, PipePool& pipes, Totals& totals);

}  // namespace sluice::relay
