#include "policy/ingress_routes.h"

#include "policy/ingress_index.h"

namespace sluice {

std::string_view IngressRoute::reason() const {
  switch (kind) {
    case Kind::bad_path:
      return "ambiguous path";
    case Kind::no_server:
      return "no server";
    case Kind::no_virtual_service:
      return "no VirtualService bound to this gateway";
    case Kind::no_route:
      return "no route matched";
    case Kind::misdirected:
      return "misdirected request";
    case Kind::https_redirect:
    case Kind::redirect:
    case Kind::direct_response:
    case Kind::forward:
      return "";
  }
  return "";
}

IngressRoutes::IngressRoutes(const std::vector<Gateway>& gateways, std::vector<VirtualService> virtual_services,
                             const Vantage& vantage)
    : index_(std::make_unique<const Index>(gateways, std::move(virtual_services), vantage)) {}
IngressRoutes::~IngressRoutes() = default;

std::span<const IngressListener> IngressRoutes::listeners() const {
  return index_->listeners;
}

const std::vector<SkippedServer>& IngressRoutes::skipped() const {
  return index_->skipped;
}

const IngressServer* IngressRoutes::find_server(const IngressListener& listener, std::string_view sni) const {
  const auto& hosts = index_->server_hosts[listener.number];
  const auto found = hosts.match(sni);
  return found.ids().empty() ? nullptr : hosts.entries(found.ids().front()).front();
}

IngressRoute IngressRoutes::route(const IngressListener& listener, const IngressServer* server, std::string_view host,
                                  const HttpRequest& request) const {
  using Kind = IngressRoute::Kind;
  IngressRoute route;
  if (!has_one_reading(request.path)) {
    route.kind = Kind::bad_path;
    return route;
  }
  const auto* own = find_server(listener, host);
  if (own == nullptr) return route;
  if (listener.kind == IngressListener::Kind::tls && own != server) {
    route.kind = Kind::misdirected;
    return route;
  }
  const auto* site =
      server != nullptr ? index_->server_sites[server->number].get() : index_->listener_sites[listener.number].get();
  if (site == nullptr) return route;
  const auto found = site->match(host);
  if (found.ids().empty()) {
    route.kind = Kind::no_virtual_service;
    return route;
  }
  const auto& virtual_host = site->entries(found.ids().front()).front();
  route.host = virtual_host.host;
  route.kind = virtual_host.https_redirect ? Kind::https_redirect
               : virtual_host.entrances    ? Kind::no_route
                                           : Kind::no_virtual_service;
  if (route.kind != Kind::no_route) return route;
  for (const auto& entrance : *virtual_host.entrances) {
    if (!entrance.takes(request)) continue;
    const auto& rule = *entrance.rule;
    route.kind = rule.rule.redirect          ? Kind::redirect
                 : rule.rule.direct_response ? Kind::direct_response
                                             : Kind::forward;
    route.rule = &rule.rule;
    route.actions = &rule.actions;
    route.match = entrance.match;
    route.virtual_service = &rule.virtual_service;
    route.name = rule.name;
    return route;
  }
  return route;
}

IngressConnectionRoute IngressRoutes::route_connection(const IngressServer& server, std::string_view sni) const {
  using Kind = IngressConnectionRoute::Kind;
  IngressConnectionRoute route;
  const auto* relay = index_->relays[server.number].get();
  if (relay == nullptr || !relay->has_rules) return route;
  route.kind = Kind::no_route;
  const auto found =
      relay->by_host.match(server.content == IngressServer::Content::passthrough ? sni : std::string_view());
  if (found.ids().empty()) return route;
  const auto& place = relay->by_host.entries(found.ids().front()).front();
  return {Kind::forward, place.rule, place.virtual_service, place.name};
}

}  // namespace sluice
