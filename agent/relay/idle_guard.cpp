#include "relay/idle_guard.h"

namespace sluice::relay {

IdleGuard::IdleGuard(net::Stream& client, net::Stream& upstream, IdleLimits limits, const Totals& totals)
    : client_(client),
      upstream_(upstream),
      totals_(totals),
      limits_(limits),
      seen_(totals.both()),
      received_before_(totals.received),
      awaits_answer_(limits.answer.count() > 0) {
  arm();
}

void IdleGuard::arm() {
  Timeout::arm(client_.socket().poller().timeouts(), awaits_answer_ ? limits_.answer : limits_.idle);
}

void IdleGuard::on_timeout() {
  const bool answered = awaits_answer_ && totals_.received != received_before_;
  const bool moved = !awaits_answer_ && totals_.both() != seen_;
  if (answered || moved) {
    awaits_answer_ = false;
    seen_ = totals_.both();
    return arm();
  }
  expired_ = true;
  client_.reset();
  upstream_.reset();
}

}  // namespace sluice::relay
