#include "relay/idle_guard.h"

namespace sluice::relay {

IdleGuard::IdleGuard(net::Timeouts& timeouts, IdleLimits limits, const Totals& totals)
    : timeouts_(timeouts),
      totals_(totals),
      limits_(limits),
      seen_(totals.both()),
      received_before_(totals.received),
      awaits_answer_(limits.answer.count() > 0) {
  arm();
}

void IdleGuard::arm() {
  Timeout::arm(timeouts_, awaits_answer_ ? limits_.answer : limits_.idle);
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
  on_idle();
}

}  // namespace sluice::relay
