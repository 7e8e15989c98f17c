// Connecting to the first of several addresses that answers (RFC 8305, "happy eyeballs").
#pragma once

#include <variant>
#include <vector>

#include "net/socket.h"

namespace sluice::net {

struct Dialled {
  Socket socket;
  Endpoint endpoint;
};

struct DialPlan {
  Milliseconds timeout{3000};       // of each attempt
  Milliseconds attempt_delay{250};  // before the next attempt begins beside the ones under way (RFC 8305 section 5)
  std::size_t max_attempts = 6;     // endpoints beyond are not tried
};

// Tries `endpoints` in their order: the next one begins when the one before has failed, or is silent for the attempt
// delay. The first connection wins, the others are given up. When all have failed: the first timeout, or else the first
// error; without endpoints an error that says so.
Task<std::variant<Dialled, DialError>> dial_any(std::vector<Endpoint> endpoints, DialPlan plan);

}  // namespace sluice::net
