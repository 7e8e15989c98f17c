// The sockets that an ingress listens on: one for each worker, address and port, following the policy.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "ingress/handover.h"
#include "ingress/plan.h"
#include "serving/worker.h"
#include "settings/settings.h"

namespace sluice::ingress {

// What listeners of the policy are told apart by; their place may change with it.
struct Door {
  std::string bind;
  std::uint16_t port = 0;
  auto operator<=>(const Door&) const = default;
};

// Belongs to the control loop's thread.
class Doors {
 public:
  // What takes the connections of worker number `worker`; called on its thread.
  using Serve = std::function<net::Task<void>(std::size_t worker, Door door, net::Socket client)>;

  Doors(std::vector<serving::Worker*> workers, std::vector<IpAddress> addresses, Serve serve)
      : workers_(std::move(workers)), addresses_(std::move(addresses)), serve_(std::move(serve)) {}

  // Sockets that another process listens on as well, to be used instead of new ones by the next follow(); what that has
  // no use for is closed.
  void inherit(Predecessor::Sockets sockets) { inherited_ = std::move(sockets); }
  // All that are open, still owned by this.
  std::vector<std::pair<Endpoint, int>> sockets() const;
  // Opens what `plan` listens on and is not open, and closes what it has no more.
  void follow(const Plan& plan);
  // What could not be opened, and why; tried again by follow().
  const std::vector<std::string>& wrong() const { return wrong_; }

 private:
  // By worker, each of which has one at least.
  using Listeners = std::vector<std::pair<std::size_t, std::shared_ptr<net::Socket>>>;

  void open(const Door& door, const Endpoint& endpoint);
  void close(const Listeners& listeners);
  std::optional<net::Tcp::acceptor> take_inherited(std::size_t worker, const Endpoint& endpoint);

  const std::vector<serving::Worker*> workers_;
  const std::vector<IpAddress> addresses_;
  const Serve serve_;
  std::map<std::pair<Door, Endpoint>, Listeners> open_;
  Predecessor::Sockets inherited_;
  std::vector<std::string> wrong_;
};

}  // namespace sluice::ingress
