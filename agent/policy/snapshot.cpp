#include "policy/snapshot.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <utility>

#include "policy/address_index.h"
#include "policy/export_scope.h"
#include "policy/host_index.h"
#include "policy/oldest_first.h"
#include "policy/port_index.h"

namespace sluice {
namespace {

std::size_t count_hosts(const std::vector<Service>& services) {
  std::size_t count = 0;
  for (const Service& service : services) count += service.hosts.size();
  return count;
}

// What the bytes are matched by; nullopt: they carry no name.
std::optional<PortKind> named_kind(Sniffed sniffed) {
  if (sniffed == Sniffed::tls) return PortKind::tls;
  if (sniffed == Sniffed::http) return PortKind::http;
  return std::nullopt;
}

// The bytes are none of what is served.
Reason wrong_protocol(PortKinds served) {
  return served == only(PortKind::tls) ? Reason::not_tls : Reason::protocol_not_allowed;
}

Reason name_missing(PortKind kind) {
  return kind == PortKind::tls ? Reason::sni_missing : Reason::host_missing;
}

std::uint64_t next_number() {
  static std::atomic<std::uint64_t> count{0};
  return count.fetch_add(1, std::memory_order_relaxed) + 1;
}

constexpr PortKinds named_kinds = only(PortKind::tls) | only(PortKind::http);

}  // namespace

struct Snapshot::Index {
  // A service that names a host.
  struct Registration {
    Scope scope = 0;
    std::uint32_t service = 0;
    PortList ports = 0;
  };
  struct Match {
    std::uint32_t service = 0;
    std::uint32_t port = 0;
  };
  // A request and the patterns that match its name; none when it carries no name.
  struct Call {
    const Request& request;
    std::optional<PortKind> named;
    std::span<const HostIndex::Id> patterns;
  };

  explicit Index(std::vector<Service> unsorted);

  // The service that allows the call, among those in sight.
  std::optional<Match> match(const Call& call, const Sight& sight) const;
  // The reason when match() finds none.
  Reason why_denied(const Call& call, const Sight& sight) const;
  Reason why_name_denied(const Call& call, const Sight& sight, PortKinds names_on_port) const;
  // The registration in sight with the most specific host among those for which `accept` is true; null: none.
  template <typename Accept>
  const Registration* find_host(const Call& call, const Sight& sight, Accept accept) const;
  std::optional<Match> find_host_on_port(const Call& call, PortKinds kinds, const Sight& sight) const;
  // The kinds in sight on `port`, among `kinds`.
  PortKinds kinds_on(std::uint16_t port, PortKinds kinds, const Sight& sight) const;

  void index_hosts();

  std::vector<Service> services;  // from the oldest on, so that a smaller index is an older service
  ExportScopes scopes;
  PortIndex ports;
  HostIndex hosts;
  std::vector<Registration> registrations;       // by host, scope, service
  std::vector<std::uint32_t> registration_ends;  // of each host's part
  AddressIndex addresses;
};

Snapshot::Index::Index(std::vector<Service> unsorted)
    : services(oldest_first(std::move(unsorted))),
      scopes(services),
      ports(services, scopes),
      hosts(count_hosts(services)) {
  index_hosts();
  for (std::uint32_t service = 0; service < services.size(); ++service) {
    for (const ServicePort& port : services[service].ports) {
      if (kind_of(services[service], port) != PortKind::tcp_by_address) continue;
      for (const Cidr& cidr : services[service].addresses)
        addresses.add(cidr, port.number, scopes.of(service), service);
    }
  }
  addresses.seal();
}

void Snapshot::Index::index_hosts() {
  struct Named {
    HostIndex::Id host;
    Scope scope;
    std::uint32_t service;
    auto operator<=>(const Named&) const = default;
  };
  std::vector<Named> all;
  all.reserve(count_hosts(services));
  for (std::uint32_t service = 0; service < services.size(); ++service) {
    for (const auto& host : services[service].hosts) all.push_back({hosts.add(host), scopes.of(service), service});
  }
  hosts.shrink();
  std::sort(all.begin(), all.end());
  registrations.reserve(all.size());
  registration_ends.resize(hosts.size());
  for (const auto& named : all) {
    registrations.push_back({named.scope, named.service, ports.list_of(named.service)});
    registration_ends[named.host] = static_cast<std::uint32_t>(registrations.size());
  }
}

template <typename Accept>
const Snapshot::Index::Registration* Snapshot::Index::find_host(const Call& call, const Sight& sight,
                                                                Accept accept) const {
  for (const HostIndex::Id id : call.patterns) {
    const std::uint32_t begin = id == 0 ? 0 : registration_ends[id - 1];
    const auto these = std::span(registrations).subspan(begin, registration_ends[id] - begin);
    if (const auto* found = sight.oldest(these, accept); found != nullptr) return found;
  }
  return nullptr;
}

std::optional<Snapshot::Index::Match> Snapshot::Index::find_host_on_port(const Call& call, PortKinds kinds,
                                                                         const Sight& sight) const {
  const auto port = call.request.port;
  const auto* found = find_host(
      call, sight, [&](const Registration& one) { return ports.find_in(one.ports, port, kinds) != PortIndex::absent; });
  return found != nullptr ? std::optional(Match{found->service, ports.find_in(found->ports, port, kinds)})
                          : std::nullopt;
}

PortKinds Snapshot::Index::kinds_on(std::uint16_t port, PortKinds kinds, const Sight& sight) const {
  PortKinds found = 0;
  for (const auto kind : {PortKind::tls, PortKind::http, PortKind::tcp_anywhere, PortKind::tcp_by_address}) {
    if ((kinds & only(kind)) != 0 && ports.find(port, kind, sight) != nullptr) found |= only(kind);
  }
  return found;
}

std::optional<Snapshot::Index::Match> Snapshot::Index::match(const Call& call, const Sight& sight) const {
  const Request& request = call.request;
  if (const auto* entry = addresses.find(request.destination, request.port, sight); entry != nullptr) {
    return Match{entry->service,
                 ports.find_in(ports.list_of(entry->service), request.port, only(PortKind::tcp_by_address))};
  }
  if (call.named) {
    if (const auto named = find_host_on_port(call, only(*call.named), sight)) return named;
  }
  const auto* anywhere = ports.find(request.port, PortKind::tcp_anywhere, sight);
  if (anywhere == nullptr) return std::nullopt;
  // Where names are registered, only bytes that were read and carry none may go by the port alone.
  if (request.sniffed != Sniffed::opaque && kinds_on(request.port, named_kinds, sight) != 0) return std::nullopt;
  return Match{anywhere->service,
               ports.find_in(ports.list_of(anywhere->service), request.port, only(PortKind::tcp_anywhere))};
}

Reason Snapshot::Index::why_denied(const Call& call, const Sight& sight) const {
  const Request& request = call.request;
  const PortKinds on_port = kinds_on(request.port, any_kind, sight);
  const PortKinds names_on_port = on_port & named_kinds;
  if (call.named && request.host.empty() && (on_port & only(*call.named)) != 0) return name_missing(*call.named);
  if (match(call, Sight::of_everything())) return Reason::not_exported;
  if (names_on_port == 0) {
    if (on_port != 0) return Reason::address_not_registered;
    const bool hidden_name =
        request.sniffed == Sniffed::none && kinds_on(request.port, named_kinds, Sight::of_everything()) != 0;
    return hidden_name ? Reason::not_exported : Reason::port_not_registered;
  }
  if (request.sniffed == Sniffed::none) {
    return name_missing((on_port & only(PortKind::tls)) != 0 ? PortKind::tls : PortKind::http);
  }
  return call.named ? why_name_denied(call, sight, names_on_port) : wrong_protocol(names_on_port);
}

Reason Snapshot::Index::why_name_denied(const Call& call, const Sight& sight, PortKinds names_on_port) const {
  if (const auto here = find_host_on_port(call, any_kind, sight)) {
    const Service& service = services[here->service];
    const auto kind = kind_of(service, service.ports[here->port]);
    return kind == PortKind::tcp_by_address ? Reason::address_not_registered : wrong_protocol(only(kind));
  }
  if ((names_on_port & only(*call.named)) == 0) return wrong_protocol(names_on_port);
  const auto* elsewhere = find_host(call, sight, [](const Registration&) { return true; });
  return elsewhere != nullptr ? Reason::port_not_registered : Reason::host_not_registered;
}

std::shared_ptr<const Snapshot> Snapshot::compile(PolicyObjects objects, Vantage vantage) {
  return std::shared_ptr<const Snapshot>(new Snapshot(std::move(objects), std::move(vantage)));
}

Snapshot::Snapshot(PolicyObjects objects, Vantage vantage)
    : index_(std::make_unique<const Index>(std::move(objects.services))),
      ingress_(vantage.is_ingress
                   ? std::make_unique<const IngressRoutes>(objects.gateways, objects.virtual_services, vantage)
                   : nullptr),
      routing_(objects.gateways, std::move(objects.virtual_services), vantage),
      destination_rules_(std::move(objects.destination_rules), std::move(vantage)),
      number_(next_number()) {}
Snapshot::~Snapshot() = default;

Verdict Snapshot::decide(const Request& request) const {
  const Index& index = *index_;
  const Sight sight = index.scopes.from(request.pod_namespace);
  const auto named = named_kind(request.sniffed);
  const auto patterns = index.hosts.match(named ? request.host : std::string_view{});
  const Index::Call call{request, named, request.host.empty() ? std::span<const HostIndex::Id>{} : patterns.ids()};
  const auto match = index.match(call, sight);
  if (!match) return {index.why_denied(call, sight), nullptr, nullptr};
  const Service& service = index.services[match->service];
  return {Reason::registered, &service, &service.ports[match->port]};
}

Inspection Snapshot::inspect(std::string_view pod_namespace, const IpAddress& destination, std::uint16_t port) const {
  const Sight sight = index_->scopes.from(pod_namespace);
  if (index_->addresses.find(destination, port, sight) != nullptr) return Inspection::opaque;
  const PortKinds on_port = index_->kinds_on(port, any_kind, sight);
  if ((on_port & named_kinds) != 0) return Inspection::sniff;
  return (on_port & only(PortKind::tcp_anywhere)) != 0 ? Inspection::opaque : Inspection::refuse;
}

RouteQuery Snapshot::route_query(const Request& request, const Verdict& verdict, const Caller& caller) const {
  const auto kind = kind_of(*verdict.service, *verdict.port);
  RouteQuery query;
  query.kind = kind == PortKind::tls ? RouteKind::tls : kind == PortKind::http ? RouteKind::http : RouteKind::tcp;
  if (query.kind != RouteKind::tcp) query.host = request.host;
  query.service_hosts = &verdict.service->hosts;
  query.pod_namespace = request.pod_namespace;
  query.pod_labels = caller.labels;
  query.destination = request.destination;
  query.port = caller.gateway_port != 0 ? caller.gateway_port : request.port;
  query.http = caller.http;
  query.pick = caller.pick;
  return query;
}

Route Snapshot::route(const Request& request, const Verdict& verdict, const Caller& caller) const {
  return routing_.route(route_query(request, verdict, caller));
}

Verdict Snapshot::find_destination(std::string_view pod_namespace, std::string_view host, std::uint16_t port,
                                   std::uint16_t dialled) const {
  const Index& index = *index_;
  const Sight sight = index.scopes.from(pod_namespace);
  const auto patterns = index.hosts.match(host);
  const Request request{pod_namespace, {}, port, Sniffed::none, host};
  const auto port_of = [&](const Index::Registration& one) {
    const auto& ports = index.services[one.service].ports;
    if (port == 0 && ports.size() == 1) return std::uint32_t{0};
    return index.ports.find_in(one.ports, port != 0 ? port : dialled, any_kind);
  };
  const auto* found =
      index.find_host({request, PortKind::tls, patterns.ids()}, sight,
                      [&](const Index::Registration& one) { return port_of(one) != PortIndex::absent; });
  if (!found) return {Reason::no_gateway_route, nullptr, nullptr};
  const Service& service = index.services[found->service];
  return {Reason::registered, &service, &service.ports[port_of(*found)]};
}

std::vector<PortRule> Snapshot::port_rules() const {
  struct Ranges {
    bool any_address = false;
    std::set<Cidr> addresses;
  };
  std::map<std::uint16_t, Ranges> by_port;
  for (const Service& service : index_->services) {
    for (const ServicePort& port : service.ports) {
      Ranges& ranges = by_port[port.number];
      if (kind_of(service, port) != PortKind::tcp_by_address) {
        ranges.any_address = true;
      } else {
        ranges.addresses.insert(service.addresses.begin(), service.addresses.end());
      }
    }
  }
  std::vector<PortRule> rules;
  rules.reserve(by_port.size());
  for (const auto& [port, ranges] : by_port) {
    PortRule rule{port, ranges.any_address, {}};
    if (!rule.any_address) rule.addresses.assign(ranges.addresses.begin(), ranges.addresses.end());
    rules.push_back(std::move(rule));
  }
  return rules;
}

const std::vector<Service>& Snapshot::services() const {
  return index_->services;
}

std::size_t Snapshot::host_count() const {
  return index_->hosts.size();
}

std::size_t Snapshot::index_bytes() const {
  return sizeof(Index) + index_->scopes.bytes() + index_->ports.bytes() + index_->hosts.bytes() +
         index_->addresses.bytes() + index_->registrations.capacity() * sizeof(Index::Registration) +
         index_->registration_ends.capacity() * sizeof(std::uint32_t);
}

}  // namespace sluice
