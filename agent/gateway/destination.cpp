#include "gateway/destination.h"

#include <algorithm>
#include <numeric>

#include "policy/special_address.h"

namespace sluice::gateway {
namespace {

bool contains(const std::vector<Cidr>& cidrs, const IpAddress& address) {
  return std::any_of(cidrs.begin(), cidrs.end(), [&](const Cidr& cidr) { return cidr.contains(address); });
}

Target make_target(const std::string& address_or_name, std::uint16_t port) {
  const auto address = IpAddress::parse(address_or_name);
  return {address, address ? std::string() : address_or_name, port};
}

std::uint16_t endpoint_port(const ServiceEndpoint& endpoint, const ServicePort& port) {
  for (const auto& [name, number] : endpoint.ports) {
    if (name == port.name) return number;
  }
  return port.target_port;
}

// The endpoints with the picked one first and the rest behind it, as places to go on to when it fails.
std::vector<Target> endpoint_targets(const Service& service, const ServicePort& port, std::uint64_t pick) {
  const auto& endpoints = service.endpoints;
  const auto total = std::accumulate(endpoints.begin(), endpoints.end(), std::uint64_t{0},
                                     [](std::uint64_t sum, const auto& endpoint) { return sum + endpoint.weight; });
  std::size_t first = 0;
  if (total > 0) {
    auto rest = pick % total;
    while (rest >= endpoints[first].weight) rest -= endpoints[first++].weight;
  }
  std::vector<Target> targets;
  for (std::size_t step = 0; step < endpoints.size(); ++step) {
    const auto& endpoint = endpoints[(first + step) % endpoints.size()];
    // Weight 0 means never, unless all have it.
    if (endpoint.weight == 0 && total > 0) continue;
    targets.push_back(make_target(endpoint.address, endpoint_port(endpoint, port)));
  }
  return targets;
}

}  // namespace

std::vector<Target> plan_targets(const Verdict& verdict, const std::string& host, const Endpoint& original,
                                 std::uint64_t pick) {
  const auto& service = *verdict.service;
  const auto& port = *verdict.port;
  if (!service.endpoints.empty()) return endpoint_targets(service, port, pick);
  const bool by_name = is_tls(port.protocol) || is_http(port.protocol);
  // A name from the client is never taken as an address, whatever it looks like: it has to pass DNS and the guard.
  if (by_name && !host.empty()) return {Target{std::nullopt, host, port.target_port}};
  if (service.resolution == Resolution::none) {
    if (original.address.is_unspecified()) return {};
    return {Target{original.address, {}, original.port}};
  }
  if (service.resolution == Resolution::static_ || service.hosts.empty() || service.hosts.front().front() == '*') {
    return {};
  }
  return {make_target(service.hosts.front(), port.target_port)};
}

std::optional<std::string> forbidden(const IpAddress& address, const Service& service,
                                     const settings::Gateway& settings) {
  if (contains(service.addresses, address) || contains(settings.permitted_cidrs, address)) return std::nullopt;
  if (contains(settings.forbidden_cidrs, address)) return "the settings forbid it";
  if (service.location == Location::mesh_internal) return std::nullopt;
  if (const auto range = special_purpose(address)) return std::string(*range);
  return std::nullopt;
}

}  // namespace sluice::gateway
