#include "egress/gateway_probe.h"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>

#include <algorithm>
#include <chrono>

#include "base/clock.h"

namespace sluice::egress {
namespace {

constexpr std::chrono::seconds least_gap{1};
constexpr unsigned dials_at_once = 3;

}  // namespace

void GatewayProbe::suspect(std::size_t gateway, const Endpoint& address) {
  const Suspect suspect{gateway, address};
  const auto now_ns = monotonic_ns();
  const std::chrono::nanoseconds gap = std::max<std::chrono::nanoseconds>(2 * timeout_, least_gap);
  std::erase_if(dialled_ns_, [&](const auto& one) {
    return one.second != 0 && std::chrono::nanoseconds(now_ns - one.second) > gap;
  });
  if (!dialled_ns_.emplace(suspect, 0).second) return;
  boost::asio::co_spawn(context_, dial(suspect), boost::asio::detached);
}

net::Task<void> GatewayProbe::dial(Suspect suspect) {
  bool ejected = false;
  for (unsigned dials = 0; dials < dials_at_once && !ejected; ++dials) {
    const auto dialled = co_await net::dial(suspect.second, timeout_);
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
