// Moving bytes between two streams in a coroutine: with a Pump where both are TCP itself, or through a buffer.
#pragma once

#include <cstdint>

#include "net/stream.h"
#include "relay/pump.h"

namespace sluice::relay {

// Moves up to `limit` bytes from `from` to `to`, adding to `moved` as they are written. While it waits for bytes it
// holds neither pipe nor buffer.
net::Task<MoveEnd> move_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved);

}  // namespace sluice::relay
