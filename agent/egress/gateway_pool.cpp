#include "egress/gateway_pool.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace sluice::egress {
namespace {

std::uint64_t nanoseconds(settings::Milliseconds time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time).count());
}

}  // namespace

GatewayPool::GatewayPool(const settings::Egress& settings) : settings_(settings) {
  for (const auto& gateway : settings.gateways) {
    auto& addresses = gateways_.emplace_back();
    for (std::size_t count = 0; count < gateway.addresses.size(); ++count) {
      addresses.push_back(std::make_unique<Address>());
    }
  }
}

std::vector<std::size_t> GatewayPool::order(std::size_t gateway, std::uint64_t now_ns) {
  const auto& addresses = gateways_[gateway];
  const auto start = next_.fetch_add(1, std::memory_order_relaxed);
  std::vector<std::size_t> order;
  std::vector<std::size_t> ejected;
  bool on_trial = false;
  order.reserve(addresses.size());
  for (std::size_t step = 0; step < addresses.size(); ++step) {
    const auto index = (start + step) % addresses.size();
    auto& address = *addresses[index];
    auto until = address.ejected_until_ns.load(std::memory_order_relaxed);
    if (until == 0) {
      order.push_back(index);
      continue;
    }
    // The call that moves the end of the ejection on is the one that tries it.
    if (!on_trial && now_ns >= until &&
        address.ejected_until_ns.compare_exchange_strong(until, now_ns + nanoseconds(settings_.health.ejection))) {
      on_trial = true;
      order.insert(order.begin(), index);
    } else {
      ejected.push_back(index);
    }
  }
  order.insert(order.end(), ejected.begin(), ejected.end());
  return order;
}

std::vector<std::size_t> GatewayPool::usable(std::size_t gateway, std::uint64_t now_ns) const {
  const auto& addresses = gateways_[gateway];
  std::vector<std::size_t> usable;
  std::vector<std::size_t> all;
  for (std::size_t index = 0; index < addresses.size(); ++index) {
    all.push_back(index);
    if (addresses[index]->ejected_until_ns.load(std::memory_order_relaxed) <= now_ns) usable.push_back(index);
  }
  return usable.empty() ? all : usable;
}

void GatewayPool::succeeded(std::size_t gateway, std::size_t address) {
  auto& state = *gateways_[gateway][address];
  if (state.failures.load(std::memory_order_relaxed) != 0) state.failures.store(0, std::memory_order_relaxed);
  if (state.ejected_until_ns.load(std::memory_order_relaxed) != 0) state.ejected_until_ns.store(0);
}

bool GatewayPool::failed(std::size_t gateway, std::size_t address, std::uint64_t now_ns) {
  auto& state = *gateways_[gateway][address];
  if (state.failures.fetch_add(1, std::memory_order_relaxed) + 1 < settings_.health.failures) return false;
  state.ejected_until_ns.store(now_ns + nanoseconds(settings_.health.ejection));
  return true;
}

void GatewayPool::succeeded(std::size_t gateway, const Endpoint& endpoint) {
  if (const auto place = place_of(gateway, endpoint)) succeeded(gateway, *place);
}

bool GatewayPool::failed(std::size_t gateway, const Endpoint& endpoint, std::uint64_t now_ns) {
  const auto place = place_of(gateway, endpoint);
  return place && failed(gateway, *place, now_ns);
}

std::optional<std::size_t> GatewayPool::place_of(std::size_t gateway, const Endpoint& endpoint) const {
  if (gateway >= settings_.gateways.size()) return std::nullopt;
  const auto& addresses = settings_.gateways[gateway].addresses;
  const auto found = std::find_if(addresses.begin(), addresses.end(), [&](const Endpoint& one) {
    return one.address == endpoint.address && (one.port == 0 || one.port == endpoint.port);
  });
  return found == addresses.end() ? std::nullopt : std::optional<std::size_t>(found - addresses.begin());
}

std::vector<std::string> GatewayPool::wrong(std::uint64_t now_ns) const {
  std::vector<std::string> lines;
  for (std::size_t gateway = 0; gateway < gateways_.size(); ++gateway) {
    const auto& addresses = gateways_[gateway];
    const auto left_out = static_cast<std::size_t>(
        std::count_if(addresses.begin(), addresses.end(), [](const auto& one) { return one->ejected_until_ns != 0; }));
    for (std::size_t index = 0; index < addresses.size(); ++index) {
      const auto until = addresses[index]->ejected_until_ns.load(std::memory_order_relaxed);
      if (until == 0) continue;
      lines.push_back(fmt::format(
          "gateway {}: {} does not answer ({} dials in a row failed; tried again {}){}",
          settings_.gateways[gateway].name, settings_.gateways[gateway].addresses[index].to_string(),
          addresses[index]->failures.load(std::memory_order_relaxed),
          until <= now_ns ? "with the next call" : fmt::format("in {} s", (until - now_ns) / 1'000'000'000 + 1),
          left_out == addresses.size() ? "; no address of it does: calls by it are denied" : ""));
    }
  }
  return lines;
}

}  // namespace sluice::egress
