#include "policy/near_miss.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>

#include "policy/export_to.h"
#include "policy/host_match.h"
#include "policy/port_index.h"

namespace sluice {
namespace {

std::string port_list(const Service& service) {
  std::vector<std::string> ports;
  ports.reserve(service.ports.size());
  for (const auto& port : service.ports) ports.push_back(std::to_string(port.number));
  return fmt::format("{}", fmt::join(ports, ", "));
}

bool speaks(Sniffed sniffed, PortKind kind) {
  if (kind == PortKind::tls) return sniffed == Sniffed::tls;
  if (kind == PortKind::http) return sniffed == Sniffed::http;
  return true;
}

// What keeps a service whose host matches from allowing the call.
std::string lack(const Service& service, const Request& request) {
  if (!is_exported_to(service.export_to, request.pod_namespace)) {
    return fmt::format("is not exported to namespace {} (exportTo {})", request.pod_namespace,
                       fmt::join(service.export_to, ", "));
  }
  const auto port = std::find_if(service.ports.begin(), service.ports.end(),
                                 [&](const ServicePort& one) { return one.number == request.port; });
  if (port == service.ports.end()) return fmt::format("has no port {}; it has {}", request.port, port_list(service));
  const auto kind = kind_of(service, *port);
  if (!speaks(request.sniffed, kind)) {
    return fmt::format("port {} is for {} alone", request.port, kind == PortKind::tls ? "TLS" : "HTTP");
  }
  if (kind == PortKind::tcp_by_address) return "the address is none of its own";
  return "another ServiceEntry counts before it";
}

std::optional<std::string> miss(const Service& service, const Request& request) {
  const auto& hosts = service.hosts;
  if (request.host.empty()) {
    const bool has_port = std::any_of(service.ports.begin(), service.ports.end(),
                                      [&](const ServicePort& port) { return port.number == request.port; });
    if (!has_port) return std::nullopt;
    return lack(service, request);
  }
  const bool matches =
      std::any_of(hosts.begin(), hosts.end(), [&](const auto& host) { return host_matches(host, request.host); });
  if (matches) return lack(service, request);
  const bool alike =
      std::any_of(hosts.begin(), hosts.end(), [&](const auto& host) { return looks_alike(host, request.host); });
  if (!alike) return std::nullopt;
  return fmt::format("its hosts are {}", fmt::join(hosts, ", "));
}

}  // namespace

bool looks_alike(std::string_view left, std::string_view right) {
  const auto first = [](std::string_view name) { return name.substr(0, name.find('.')); };
  const auto last_two = [](std::string_view name) {
    const auto last = name.rfind('.');
    if (last == name.npos || last == 0) return name;
    const auto second = name.rfind('.', last - 1);
    return second == name.npos ? name : name.substr(second + 1);
  };
  return first(left) == first(right) || last_two(left) == last_two(right);
}

std::vector<NearMiss> near_misses(const Snapshot& snapshot, const Request& request, std::size_t max) {
  const auto* allowed_by = snapshot.decide(request).service;
  std::vector<NearMiss> misses;
  for (const auto& service : snapshot.services()) {
    if (misses.size() == max) break;
    if (&service == allowed_by) continue;
    if (auto why = miss(service, request)) misses.push_back({service.rule(), *std::move(why)});
  }
  return misses;
}

}  // namespace sluice
