// How relaying ends.
#pragma once

#include <cstdint>
#include <string_view>

#include "relay/pump.h"

namespace sluice::relay {

// `cut`: from outside.
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

// Of what was relayed when one direction could not go on.
End end_of(MoveEnd end, End source_failed, End sink_failed);

}  // namespace sluice::relay
