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
  inherited_.clear();
}

std::vector<std::pair<Endpoint, int>> Doors::sockets() const {
  std::vector<std::pair<Endpoint, int>> sockets;
  for (const auto& [place, listeners] : open_) {
    for (const auto& [worker, socket] : listeners) sockets.emplace_back(place.second, socket->native_handle());
  }
  return sockets;
}

std::optional<net::Tcp::acceptor> Doors::take_inherited(std::size_t worker, const Endpoint& endpoint) {
  const auto found = inherited_.find(endpoint);
  if (found == inherited_.end() || found->second.empty()) return std::nullopt;
  net::Tcp::acceptor acceptor(workers_[worker]->context());
  boost::system::error_code error;
  acceptor.assign(endpoint.address.is_v4() ? net::Tcp::v4() : net::Tcp::v6(), found->second.back().get(), error);
  if (error) return std::nullopt;
  (void)found->second.back().release();
  found->second.pop_back();
  return acceptor;
}

void Doors::open(const Door& door, const Endpoint& endpoint) {
  std::vector<std::pair<std::size_t, net::Tcp::acceptor>> acceptors;
  // Every inherited one has connections of its own waiting, be there more of them than workers.
  for (std::size_t number = 0;; ++number) {
    auto acceptor = take_inherited(number % workers_.size(), endpoint);
    if (!acceptor) break;
    acceptors.emplace_back(number % workers_.size(), std::move(*acceptor));
  }
  for (std::size_t number = acceptors.size(); number < workers_.size(); ++number) {
    auto acceptor = net::listen(workers_[number]->context(), endpoint, {.reuse_port = true});
    if (!acceptor) {
      wrong_.push_back(acceptor.error().message());
      return;
    }
    acceptors.emplace_back(number, std::move(*acceptor));
  }
  Listeners listeners;
  listeners.reserve(acceptors.size());
  for (auto& [number, acceptor] : acceptors) {
    auto serve = [serve = &serve_, worker = number, door](net::Socket client) {
      return (*serve)(worker, door, std::move(client));
    };
    listeners.emplace_back(number, workers_[number]->accept_soon(std::move(acceptor), std::move(serve)));
  }
  spdlog::info("listening on {}", endpoint.to_string());
  open_.emplace(std::pair(door, endpoint), std::move(listeners));
}

void Doors::close(const Listeners& listeners) {
  for (const auto& [number, socket] : listeners) workers_[number]->stop_accepting(socket);
}

}  // namespace sluice::ingress
