#include "egress/gate_ports.h"

#include <algorithm>
#include <optional>
#include <set>

#include "policy/host_match.h"

namespace sluice::egress {
namespace {

// Where the calls of one port may go. nullopt in `numbers`: somewhere that the gate does not lead to.
struct Ways {
  std::set<std::optional<std::uint32_t>> numbers;
  bool opaque = false;
};

std::optional<std::uint32_t> number_of(const settings::Egress& settings, std::size_t index, std::uint16_t port) {
  constexpr std::size_t most_gateways = 1 << 14;
  const auto& gateway = settings.gateways[index];
  if (gateway.transport == settings::Transport::tls || index >= most_gateways) return std::nullopt;
  const bool has_ports = std::all_of(gateway.addresses.begin(), gateway.addresses.end(),
                                     [](const Endpoint& endpoint) { return endpoint.port != 0; });
  return gateway_number(index, has_ports ? std::uint16_t{0} : port);
}

void add_unrouted(Ways& ways, const settings::Egress& settings, std::uint16_t port) {
  if (settings.unrouted == settings::Unrouted::gateway) ways.numbers.insert(number_of(settings, 0, port));
  if (settings.unrouted == settings::Unrouted::direct) ways.numbers.insert(std::nullopt);
}

bool applies_to_port(const ConnectionRule& rule, std::uint16_t port) {
  return rule.matches.empty() || std::any_of(rule.matches.begin(), rule.matches.end(),
                                             [&](const auto& match) { return !match.port || *match.port == port; });
}

bool shares_host(const VirtualService& rules, const Service& service) {
  return std::any_of(rules.hosts.begin(), rules.hosts.end(), [&](const std::string& host) {
    return std::any_of(service.hosts.begin(), service.hosts.end(),
                       [&](const std::string& own) { return hosts_overlap(host, own); });
  });
}

// Every destination of rules that some call of the service on this port may follow, whatever else they ask for.
void add_routed(Ways& ways, const std::vector<ConnectionRule>& rules, const settings::Egress& settings,
                std::uint16_t port) {
  for (const auto& rule : rules) {
    if (!applies_to_port(rule, port)) continue;
    for (const auto& destination : rule.destinations) {
      const auto& gateways = settings.gateways;
      const auto gateway =
          std::find_if(gateways.begin(), gateways.end(), [&](const auto& one) { return one.name == destination.host; });
      // Any other host leads nowhere, or to the host itself as if nothing were routed.
      if (gateway == gateways.end()) continue;
      const auto index = static_cast<std::size_t>(gateway - gateways.begin());
      ways.numbers.insert(number_of(settings, index, destination.port != 0 ? destination.port : port));
    }
  }
}

Ways ways_of(const Snapshot& snapshot, const settings::Egress& settings, std::uint16_t port) {
  Ways ways;
  add_unrouted(ways, settings, port);
  for (const auto& service : snapshot.services()) {
    const auto here = std::find_if(service.ports.begin(), service.ports.end(),
                                   [&](const ServicePort& one) { return one.number == port; });
    if (here == service.ports.end()) continue;
    if (is_http(here->protocol)) ways.numbers.insert(std::nullopt);  // every request is checked
    if (!is_http(here->protocol) && !is_tls(here->protocol)) ways.opaque = true;
    for (const auto& rules : snapshot.routing().virtual_services()) {
      if (!shares_host(rules, service)) continue;
      add_routed(ways, rules.tls, settings, port);
      add_routed(ways, rules.tcp, settings, port);
    }
  }
  return ways;
}

}  // namespace

std::vector<kernel::PortEntry> port_entries(const Snapshot& snapshot, const settings::Egress& settings) {
  std::vector<kernel::PortEntry> entries;
  for (auto& rule : snapshot.port_rules()) {
    kernel::PortEntry entry;
    const auto ways = ways_of(snapshot, settings, rule.port);
    entry.rule = std::move(rule);
    if (settings.datapath == settings::Datapath::gate && ways.numbers.size() == 1 && *ways.numbers.begin()) {
      entry.gated = true;
      entry.opaque = ways.opaque;
      entry.gateway = **ways.numbers.begin();
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace sluice::egress
