#include "relay/idle_guard.h"

namespace sluice::relay {

IdleGuard::IdleGuard(net::Stream& client, net::Stream& upstream, net::Milliseconds idle, const Totals& totals)
    : state_(std::make_shared<State>(State{client, upstream, idle, totals,
                                           boost::asio::steady_timer(client.socket().get_executor()), totals.both(),
                                           false})) {
  arm(state_);
}

IdleGuard::~IdleGuard() {
  state_->timer.cancel();
}

void IdleGuard::arm(const std::shared_ptr<State>& state) {
  state->timer.expires_after(state->idle);
  // A weak reference: a handler that was queued before cancel() finds nothing.
  state->timer.async_wait([weak = std::weak_ptr<State>(state)](const boost::system::error_code& error) {
    const auto self = weak.lock();
    if (error || !self) return;
    if (self->totals.both() != self->seen) {
      self->seen = self->totals.both();
      return arm(self);
    }
    self->expired = true;
    self->client.reset();
    self->upstream.reset();
  });
}

}  // namespace sluice::relay
