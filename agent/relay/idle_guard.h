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

// While it lives, resets both streams once `totals` has not grown for `idle`. Must not outlive what it refers to.
class IdleGuard {
 public:
  IdleGuard(net::Stream& client, net::Stream& upstream, net::Milliseconds idle, const Totals& totals);
  ~IdleGuard();
  IdleGuard(const IdleGuard&) = delete;
  IdleGuard& operator=(const IdleGuard&) = delete;

  bool expired() const { return state_->expired; }

 private:
  struct State {
    net::Stream& client;
    net::Stream& upstream;
    net::Milliseconds idle;
    const Totals& totals;
    boost::asio::steady_timer timer;
    std::uint64_t seen = 0;
    bool expired = false;
  };
  static void arm(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;
};

}  // namespace sluice::relay
