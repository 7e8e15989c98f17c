// Gateways and VirtualServices of an ingress, and what it makes of a request, in the words of Istio's objects.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "policy/ingress_routes.h"

namespace sluice::test {

inline ObjectName object_name(const std::string& name, std::int64_t created = 0) {
  const auto slash = name.find('/');
  return {name.substr(0, slash), name.substr(slash + 1), created};
}

inline Destination to(std::string host) {
  return {.host = std::move(host), .subset = "", .port = 80, .weight = 0};
}

inline HttpMatch prefix(const std::string& value) {
  HttpMatch match;
  match.uri = StringMatch{StringMatch::Kind::prefix, value};
  return match;
}

inline const Labels ingress_labels = {{"istio", "ingressgateway"}, {"pod", "x"}};

// A server; hosts are "host" or "namespace/host".
class Server {
 public:
  Server(std::uint16_t port, ServerProtocol protocol, const std::vector<std::string>& hosts) {
    server_.port = port;
    server_.protocol = protocol;
    for (const auto& host : hosts) {
      const auto slash = host.find('/');
      server_.hosts.push_back(slash == host.npos ? ServerHost{"*", host}
                                                 : ServerHost{host.substr(0, slash), host.substr(slash + 1)});
    }
  }
  static Server http(const std::vector<std::string>& hosts, std::uint16_t port = 80) {
    return {port, ServerProtocol::http, hosts};
  }
  static Server https(const std::vector<std::string>& hosts, ServerTlsMode mode = ServerTlsMode::simple) {
    return Server(443, ServerProtocol::https, hosts).tls(mode);
  }
  Server& tls(ServerTlsMode mode) {
    server_.tls.emplace().mode = mode;
    return *this;
  }
  Server& redirected() {
    server_.https_redirect = true;
    return *this;
  }
  Server& bind(std::string address) {
    server_.bind = std::move(address);
    return *this;
  }
  operator GatewayServer() const { return server_; }  // NOLINT(google-explicit-constructor)

 private:
  GatewayServer server_;
};

inline Gateway gateway(const std::string& name, std::vector<GatewayServer> servers, std::int64_t created = 0) {
  return {object_name(name, created), {{"istio", "ingressgateway"}}, std::move(servers)};
}

class Vs {
 public:
  Vs(const std::string& name, std::vector<std::string> hosts, std::vector<std::string> gateways = {"infra/in"}) {
    service_.object = object_name(name);
    service_.hosts = std::move(hosts);
    service_.gateways = std::move(gateways);
  }
  Vs& created(std::int64_t seconds) {
    service_.object.created = seconds;
    return *this;
  }
  Vs& export_to(std::vector<std::string> namespaces) {
    service_.export_to = std::move(namespaces);
    return *this;
  }
  Vs& http(HttpRule rule) {
    service_.http.push_back(std::move(rule));
    return *this;
  }
  Vs& http(std::vector<HttpMatch> matches, const std::string& host) {
    return http({.name = "", .matches = std::move(matches), .destinations = {to(host)}});
  }
  Vs& delegate(std::vector<HttpMatch> matches, const std::string& name) {
    const auto object = object_name(name);
    HttpRule rule{.name = "", .matches = std::move(matches), .destinations = {}};
    rule.delegate = DelegateName{object.namespace_name, object.name};
    return http(std::move(rule));
  }
  Vs& tls(std::vector<std::string> sni_hosts, const std::string& host) {
    ConnectionMatch match;
    match.sni_hosts = std::move(sni_hosts);
    service_.tls.push_back({{std::move(match)}, {to(host)}});
    return *this;
  }
  Vs& tcp(std::vector<ConnectionMatch> matches, const std::string& host) {
    service_.tcp.push_back({std::move(matches), {to(host)}});
    return *this;
  }
  operator VirtualService() const { return service_; }  // NOLINT(google-explicit-constructor)

 private:
  VirtualService service_;
};

// An ingress in namespace "infra".
class Ingress {
 public:
  explicit Ingress(const std::vector<Gateway>& gateways, std::vector<VirtualService> services = {})
      : routes_(gateways, std::move(services), Vantage::ingress(ingress_labels, "infra")) {}

  const IngressRoutes& routes() const { return routes_; }
  // The first listener of a port; null when there is none.
  const IngressListener* at(std::uint16_t port) const {
    for (const auto& listener : routes_.listeners()) {
      if (listener.port == port) return &listener;
    }
    return nullptr;
  }
  IngressRoute route(std::uint16_t port, std::string_view sni, std::string_view host,
                     const HttpRequest& request) const {
    const auto& listener = *at(port);
    const bool tls = listener.kind == IngressListener::Kind::tls;
    return routes_.route(listener, tls ? routes_.find_server(listener, sni) : nullptr, host, request);
  }
  // "RULE -> HOST", "RULE" for an answer of its own, or why there is none.
  static std::string text(const IngressRoute& route) {
    using Kind = IngressRoute::Kind;
    if (route.kind == Kind::https_redirect) return "https";
    if (route.is_refused()) return std::string(route.reason());
    const auto name = std::string(route.name);
    return route.kind == Kind::forward ? name + " -> " + route.rule->destinations.at(0).host : name;
  }
  // Over plain HTTP at port 80.
  std::string plain(std::string_view host, std::string_view path = "/") const {
    return text(route(80, "", host, request(host, path, "http")));
  }
  // Over TLS at port 443, with the host as SNI unless told.
  std::string tls(std::string_view host, std::string_view path = "/") const { return tls_with(host, host, path); }
  std::string tls_with(std::string_view sni, std::string_view host, std::string_view path = "/") const {
    return text(route(443, sni, host, request(host, path, "https")));
  }
  static HttpRequest request(std::string_view host, std::string_view path, std::string_view scheme) {
    return {"GET", host, path, "", "", scheme};
  }
  // A connection that is relayed: "RULE -> HOST", "no server", "no VirtualService" or "no route".
  std::string relayed(std::uint16_t port, std::string_view sni = "") const {
    using Kind = IngressConnectionRoute::Kind;
    const auto& listener = *at(port);
    const bool tls = listener.kind == IngressListener::Kind::tls;
    const auto* server = tls ? routes_.find_server(listener, sni) : listener.servers.data();
    if (server == nullptr) return "no server";
    const auto route = routes_.route_connection(*server, sni);
    if (route.kind == Kind::no_virtual_service) return "no VirtualService";
    if (route.kind == Kind::no_route) return "no route";
    return std::string(route.name) + " -> " + route.rule->destinations.at(0).host;
  }

 private:
  IngressRoutes routes_;
};

}  // namespace sluice::test
