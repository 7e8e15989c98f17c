// Ends what is relayed when nothing has moved for too long.
#pragma once

#include <cstdint>

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

// While it lives, calls on_idle() once `totals` has not grown for `limits.idle`, or nothing was received within
// `limits.answer`; once. Must not outlive what it refers to.
class IdleGuard : private net::Timeout {
 public:
  IdleGuard(net::Timeouts& timeouts, IdleLimits limits, const Totals& totals);

  bool expired() const { return expired_; }
  // It expired before a byte of the answer came.
  bool unanswered() const { return expired_ && awaits_answer_; }

 protected:
  ~IdleGuard() override = default;

 private:
  virtual void on_idle() = 0;

  void arm();
  void on_timeout() override;

  net::Timeouts& timeouts_;
  const Totals& totals_;
  const IdleLimits limits_;
  std::uint64_t seen_;
  const std::uint64_t received_before_;
  bool awaits_answer_;
  bool expired_ = false;
};

// Resets both streams.
class StreamIdleGuard final : public IdleGuard {
 public:
  StreamIdleGuard(net::Stream& client, net::Stream& upstream, IdleLimits limits, const Totals& totals)
      : IdleGuard(client.socket().poller().timeouts(), limits, totals), client_(client), upstream_(upstream) {}

 private:
  void on_idle() override {
    client_.reset();
    upstream_.reset();
  }

  net::Stream& client_;
  net::Stream& upstream_;
};

}  // namespace sluice::relay
