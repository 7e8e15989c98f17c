#include "relay/idle_guard.h"

namespace sluice::relay {

IdleGuard::IdleGuard(net::Stream& client, net::Stream& upstream, IdleLimits limits, const Totals& totals)
    : state_(std::make_shared<State>(State{client, upstream, limits, totals,
                                           boost::asio::steady_timer(client.socket().get_executor()), totals.both(),
                                           totals.received, limits.answer.count() > 0, false})) {
  arm(state_);
}

IdleGuard::~IdleGuard() {
  state_->timer.cancel();
}

void IdleGuard::arm(const std::shared_ptr<State>& state) {
  state->timer.expires_after(state->awaits_answer ? state->limits.answer : state->limits.idle);
  // A weak reference: a handler that was queued before cancel() finds nothing.
  state->timer.async_wait([weak = std::weak_ptr<State>(state)](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    const bool answered = self->awaits_answer && self->totals.received != self->received_before;
    const bool moved = !self->awaits_answer && self->totals.both() != self->seen;
    if (answered || moved) {
      self->awaits_answer = false;
      self->seen = self->totals.both();
      return arm(self);
    }
    self->expired = true;
    self->client.reset();
    self->upstream.reset();
  });
}

}  // namespace sluice::relay
