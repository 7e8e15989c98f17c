// Whether an address of a gateway is dead, found out by the agent's own dials. That calls through the gate got no
// answer from it proves nothing: their SYNs are a pod's, which may make them so that no gateway answers.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "base/ip.h"
#include "egress/gateway_pool.h"
#include "net/socket.h"
#include "settings/settings.h"

namespace sluice::egress {

// Belongs to the thread of `context`; outlives what runs there.
class GatewayProbe {
 public:
  // `ejected` is called on that thread when an address was.
  GatewayProbe(boost::asio::io_context& context, GatewayPool& pool, net::Milliseconds timeout,
               std::function<void()> ejected)
      : context_(context), pool_(pool), timeout_(timeout), ejected_(std::move(ejected)) {}

  // A SYN to `address` of gateway number `gateway` was refused, or not answered in time. The agent dials it a few
  // times, until it answers or the pool ejects it: one dial at a time, and then none while calls that had begun before
  // may still fail.
  void suspect(std::size_t gateway, const Endpoint& address);

 private:
  using Suspect = std::pair<std::size_t, Endpoint>;

  net::Task<void> dial(Suspect suspect);

  boost::asio::io_context& context_;
  GatewayPool& pool_;
  net::Milliseconds timeout_;
  std::function<void()> ejected_;
  std::map<Suspect, std::uint64_t> dialled_ns_;  // when; 0: it is being done
};

}  // namespace sluice::egress
