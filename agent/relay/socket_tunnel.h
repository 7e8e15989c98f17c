// A tunnel between two TCP sockets without a coroutine: they are registered with the event loop once, and every event
// moves what it can. An idle one holds two sockets and this object.
#pragma once

#include <cstdint>
#include <optional>

#include "relay/end.h"
#include "relay/idle_guard.h"
#include "relay/pump.h"

namespace sluice::relay {

class SocketTunnel final : private net::Socket::Listener, private IdleGuard {
 public:
  class Owner {
   public:
    // Both sockets are closed. Comes once, also from begin() and cut(), and last: it may destroy the tunnel.
    virtual void on_tunnel_end(End end) = 0;
    // See net::Socket::Listener::abandon().
    virtual void abandon_tunnel() {}

   protected:
    virtual ~Owner() = default;
  };

  // What it refers to outlives it; the sockets stay where they are.
  SocketTunnel(net::Socket& client, net::Socket& upstream, IdleLimits limits, PipePool& pipes, Totals& totals,
               Owner& owner)
      : IdleGuard(client.poller().timeouts(), limits, totals),
        client_(client),
        upstream_(upstream),
        owner_(owner),
        up_(client_, upstream_, pipes, totals.sent),
        down_(upstream_, client_, pipes, totals.received) {}

  void begin();
  // Resets both ends.
  void cut();

 private:
  // net::Socket::Listener
  void on_ready(net::Socket& socket, std::uint32_t events) override;
  void abandon() override { owner_.abandon_tunnel(); }
  // IdleGuard
  void on_idle() override;

  void move(Pump& pump);
  void settle(const Pump& pump, net::Socket& to);
  void finish(End end);
  // Tells of an end; nothing may follow.
  void tell();

  net::Socket& client_;
  net::Socket& upstream_;
  Owner& owner_;
  Pump up_;
  Pump down_;
  std::optional<End> end_;
};

}  // namespace sluice::relay
