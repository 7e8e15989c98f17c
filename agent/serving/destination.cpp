#include "serving/destination.h"

#include <algorithm>
#include <span>

#include "policy/special_address.h"

namespace sluice::serving {
namespace {

Target make_target(const std::string& address_or_name, std::uint16_t port) {
  const auto address = IpAddress::parse(address_or_name);
  return {address, address ? std::string() : address_or_name, port, false};
}

std::uint16_t endpoint_port(const ServiceEndpoint& endpoint, const ServicePort& port) {
  for (const auto& [name, number] : endpoint.ports) {
    if (name == port.name) return number;
  }
  return port.target_port;
}

// How many parts of a locality two have in common, from the region on.
std::size_t shared_parts(std::string_view left, std::string_view right) {
  std::size_t parts = 0;
  while (!left.empty() && !right.empty()) {
    const auto left_end = std::min(left.find('/'), left.size());
    const auto right_end = std::min(right.find('/'), right.size());
    if (left.substr(0, left_end) != right.substr(0, right_end)) break;
    ++parts;
    left.remove_prefix(std::min(left_end + 1, left.size()));
    right.remove_prefix(std::min(right_end + 1, right.size()));
  }
  return parts;
}

// Brings the one that `pick` falls on by weight to the front, the rest behind it as places to go on to.
void rotate_by_weight(std::span<const ServiceEndpoint*> group, std::uint64_t pick) {
  std::uint64_t total = 0;
  for (const auto* endpoint : group) total += endpoint->weight;
  if (total == 0) return;
  auto rest = pick % total;
  auto first = group.begin();
  while (rest >= (*first)->weight) rest -= (*first++)->weight;
  std::rotate(group.begin(), first, group.end());
}

std::vector<Target> endpoint_targets(const TargetQuery& query) {
  std::vector<const ServiceEndpoint*> usable;
  std::uint64_t total = 0;
  for (const auto& endpoint : query.service->endpoints) {
    if (query.subset != nullptr && !has_labels(endpoint.labels, *query.subset)) continue;
    usable.push_back(&endpoint);
    total += endpoint.weight;
  }
  // Weight 0 means never, unless all have it.
  if (total > 0) std::erase_if(usable, [](const auto* endpoint) { return endpoint->weight == 0; });
  const auto distance = [&](const ServiceEndpoint* endpoint) {
    return shared_parts(endpoint->locality, query.locality);
  };
  std::sort(usable.begin(), usable.end(), [&](const auto* left, const auto* right) {
    const auto left_shares = distance(left);
    const auto right_shares = distance(right);
    return left_shares != right_shares ? left_shares > right_shares : left < right;
  });
  std::vector<Target> targets;
  targets.reserve(usable.size());
  for (auto from = usable.begin(); from != usable.end();) {
    const auto to = std::find_if(from, usable.end(), [&](const auto* one) { return distance(one) != distance(*from); });
    rotate_by_weight({from, to}, query.pick);
    from = to;
  }
  for (const auto* endpoint : usable)
    targets.push_back(make_target(endpoint->address, endpoint_port(*endpoint, *query.port)));
  return targets;
}

}  // namespace

std::vector<Target> plan_targets(const TargetQuery& query) {
  const auto& service = *query.service;
  const auto& port = *query.port;
  if (!service.endpoints.empty()) return endpoint_targets(query);
  const bool by_name = is_tls(port.protocol) || is_http(port.protocol);
  // A name from the client is never taken as an address, whatever it looks like: it has to pass DNS and the guard.
  if (by_name && !query.host.empty()) return {Target{std::nullopt, std::string(query.host), port.target_port, false}};
  if (service.resolution == Resolution::none) {
    const bool listed = contains(service.addresses, query.original.address);
    if (query.original.address.is_unspecified() || (!listed && !service.addresses.empty())) return {};
    return {Target{query.original.address, {}, query.original.port, !listed}};
  }
  if (service.resolution == Resolution::static_ || service.hosts.empty() || service.hosts.front().front() == '*') {
    return {};
  }
  return {make_target(service.hosts.front(), port.target_port)};
}

std::optional<std::string> forbidden(const IpAddress& address, const Service& service,
                                     const settings::Outside& settings) {
  if (contains(service.addresses, address) || contains(settings.permitted_cidrs, address)) return std::nullopt;
  if (contains(settings.forbidden_cidrs, address)) return "the settings forbid it";
  if (service.location == Location::mesh_internal) return std::nullopt;
  if (const auto range = special_purpose(address)) return std::string(*range);
  return std::nullopt;
}

}  // namespace sluice::serving
