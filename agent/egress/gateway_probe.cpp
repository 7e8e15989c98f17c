#include "egress/gateway_probe.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace sluice::egress {
namespace {

constexpr std::chrono::seconds least_gap{1};
constexpr unsigned dials_at_once = 3;
constexpr std::chrono::milliseconds dial_timeout{1000};  // a gateway is near
constexpr std::chrono::milliseconds dial_pause{200};     // one that restarts is refused for a moment

}  // namespace

void GatewayProbe::suspect(std::size_t gateway, const Endpoint& address) {
  const Suspect suspect{gateway, address};
  const auto now_ns = monotonic_ns();
  const std::chrono::nanoseconds gap = std::max<std::chrono::nanoseconds>(timeout_, least_gap);
  std::erase_if(dialled_ns_, [&](const auto& one) {
    return one.second != 0 && std::chrono::nanoseconds(now_ns - one.second) > gap;
  });
  if (!dialled_ns_.emplace(suspect, 0).second) return;
  boost::asio::co_spawn(context_, dial(suspect), boost::asio::detached);
}

net::Task<void> GatewayProbe::dial(Suspect suspect) {
  bool ejected = false;
  boost::asio::steady_timer pause(context_);
  for (unsigned dials = 0; dials < dials_at_once && !ejected; ++dials) {
    if (dials != 0) {
      pause.expires_after(dial_pause);
      co_await pause.async_wait(boost::asio::use_awaitable);
    }
    const auto timeout = std::min(timeout_, dial_timeout);
    const auto dialled = co_await net::dial(suspect.second, timeout);
    if (std::holds_alternative<net::Socket>(dialled)) {
      pool_.succeeded(suspect.first, suspect.second);
      break;
    }
    ejected = pool_.failed(suspect.first, suspect.second, monotonic_ns());
  }
  dialled_ns_[suspect] = monotonic_ns();
  if (ejected) ejected_();
}

}  // namespace sluice::egress
