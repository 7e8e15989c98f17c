#include "net/timeout.h"

#include <algorithm>
#include <boost/asio/query.hpp>

namespace sluice::net {

boost::asio::execution_context::id Timeouts::id;

void Timeout::arm(Timeouts& timeouts, std::chrono::milliseconds length) {
  unlink();
  timeouts.arm(*this, length);
}

Timeouts::Timeouts(boost::asio::execution_context& context)
    : service(context), timer_(static_cast<boost::asio::io_context&>(context)) {}

Timeouts& Timeouts::of(const boost::asio::any_io_executor& executor) {
  auto& context = boost::asio::query(executor, boost::asio::execution::context);
  return boost::asio::use_service<Timeouts>(static_cast<boost::asio::io_context&>(context));
}

void Timeouts::shutdown() {
  lists_.clear();
}

void Timeouts::arm(Timeout& timeout, std::chrono::milliseconds length) {
  timeout.expiry_ = Clock::now() + length;
  lists_[length].push_back(timeout);
  // What the timer waits for may have been disarmed since; then it goes off for nothing.
  if (timeout.expiry_ < next_) wait_until(timeout.expiry_);
}

void Timeouts::wait_until(Clock::time_point moment) {
  next_ = moment;
  timer_.expires_at(moment);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) expire();
  });
}

void Timeouts::expire() {
  const auto now = Clock::now();
  next_ = Clock::time_point::max();
  auto first = Clock::time_point::max();
  for (auto& [length, list] : lists_) {
    while (!list.empty() && list.front().expiry_ <= now) {
      auto& timeout = list.front();
      list.pop_front();
      timeout.on_timeout();
    }
    if (!list.empty()) first = std::min(first, list.front().expiry_);
  }
  if (first < next_) wait_until(first);
}

}  // namespace sluice::net
