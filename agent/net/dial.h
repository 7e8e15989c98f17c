// Connecting, also to the first of several addresses that answers (RFC 8305, "happy eyeballs").
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/socket.h"

namespace sluice::net {

// Why a dial failed, by what it means to the caller.
enum class DialFailure : std::uint8_t { refused, timeout, unreachable, local };
struct DialError {
  DialFailure kind = DialFailure::local;
  std::string message;  // "203.0.113.7:443: connection refused"
};
using DialResult = std::variant<Socket, DialError>;

// Connects within `timeout`. The socket has TCP_NODELAY.
Task<DialResult> dial(Endpoint destination, Milliseconds timeout);

// The same in steps: `socket`, not open before, is connecting, unless an error says why not, ...
std::optional<DialError> begin_dial(Socket& socket, const Endpoint& destination);
// ... and when it was waited until writable, with `ended` as the wait's answer, is connected, unless an error says why
// not. Of kind timeout: it goes on connecting, which may be waited for again.
std::optional<DialError> end_dial(const Socket& socket, const Endpoint& destination, const Deadline& deadline,
                                  bool ended);

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
