// Ends a relayed pair of streams on which nothing has moved for too long.
#pragma once

#include <cstdint>
#include <memory>

#include "net/stream.h"

namespace sluice::relay {

struct Totals {
  std::uint64_t sent = 0;      // pod to upstream
  std::uint64_t received = 0;  // upstream to pod

  std::uint64_t both() const { return sent + received; }
};

struct IdleLimits {
  net::Milliseconds idle;       // without a byte either way
  net::Milliseconds answer{0};  // from the beginning to the first byte from upstream; 0: as `idle`
};

// While it lives, resets both streams once `totals` has not grown for `limits.idle`, or nothing was received within
// `limits.answer`. Must not outlive what it refers to.
class IdleGuard {
 public:
  IdleGuard(net::Stream& client, net::Stream& upstream, IdleLimits limits, const Totals& totals);
  ~IdleGuard();
  IdleGuard(const IdleGuard&) = delete;
  IdleGuard& operator=(const IdleGuard&) = delete;

  bool expired() const { return state_->expired; }
  // It expired before a byte of the answer came.
  bool unanswered() const { return state_->expired && state_->awaits_answer; }

 private:
  struct State {
    net::Stream& client;
    net::Stream& upstream;
    IdleLimits limits;
    const Totals& totals;
    boost::asio::steady_timer timer;
    std::uint64_t seen = 0;
    std::uint64_t received_before = 0;
    bool awaits_answer = false;
    bool expired = false;
  };
  static void arm(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace sluice::relay
