#include "ingress/doors.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <set>

namespace sluice::ingress {

void Doors::follow(const Plan& plan) {
  std::set<std::pair<Door, Endpoint>> wanted;
  std::vector<std::string> unusable;
  for (const auto& listener : plan.routes->listeners()) {
    const Door door{std::string(listener.bind), listener.port};
    if (door.bind.empty()) {
      for (const auto& address : addresses_) wanted.insert({door, {address, door.port}});
    } else if (const auto address = IpAddress::parse(door.bind)) {
      wanted.insert({door, {*address, door.port}});
    } else {
      unusable.push_back(door.bind + ": only addresses are listened on");
    }
  }
  std::erase_if(open_, [&](const auto& entry) {
    if (wanted.contains(entry.first)) return false;
    spdlog::info("{} is listened on no more", entry.first.second.to_string());
    close(entry.second);
    return true;
  });
  wrong_ = std::move(unusable);
  for (const auto& [door, endpoint] : wanted) {
    if (!open_.contains({door, endpoint})) open(door, endpoint);
  }
}

void Doors::open(const Door& door, const Endpoint& endpoint) {
  std::vector<net::Tcp::acceptor> acceptors;
  for (auto* worker : workers_) {
    auto acceptor = net::listen(worker->context(), endpoint, {.reuse_port = true});
    if (!acceptor) {
      wrong_.push_back(acceptor.error().message());
      return;
    }
    acceptors.push_back(std::move(*acceptor));
  }
  Listeners listeners;
  for (std::size_t number = 0; number < workers_.size(); ++number) {
    auto serve = [serve = &serve_, number, door](net::Socket client) {
      return (*serve)(number, door, std::move(client));
    };
    listeners.push_back(workers_[number]->accept_soon(std::move(acceptors[number]), std::move(serve)));
  }
  spdlog::info("listening on {}", endpoint.to_string());
  open_.emplace(std::pair(door, endpoint), std::move(listeners));
}

void Doors::close(const Listeners& listeners) {
  for (std::size_t number = 0; number < workers_.size(); ++number) workers_[number]->stop_accepting(listeners[number]);
}

}  // namespace sluice::ingress
