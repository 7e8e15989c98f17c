// Which servers of which Gateways a VirtualService may bind to, at a gateway with certain labels.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "policy/routes.h"

namespace sluice {

enum class RouteKind : std::uint8_t;

// A server that a VirtualService may bind to, with one of its hosts.
struct BoundServer {
  std::uint16_t port = 0;
  std::uint8_t kinds = 0;  // bit by RouteKind
  std::string host;        // what of the server's host and the VirtualService's is the narrower
  std::string gateway;     // "namespace/name"

  bool serves(RouteKind kind) const { return (kinds >> static_cast<unsigned>(kind) & 1) != 0; }
};

// Is the Gateway "namespace/name" among the VirtualService's, or those of a match of it?
bool names_gateway(const VirtualService& service, const std::string& gateway);
// Of each pair of a host of the server that is open to `namespace_name`, a VirtualService's, and one of `hosts` that
// overlap: the narrower one (pkg/config/host/names.go, Intersection).
std::vector<std::string> shared_hosts(const GatewayServer& server, const std::string& namespace_name,
                                      const std::vector<std::string>& hosts);

// Of every Gateway in `gateways` that is named by `service` (or by a match of its) and whose selector `labels` satisfy:
// the servers with a host that is open to the namespace of `service` and overlaps one of its hosts.
//
// What a server serves: TLS and HTTPS in mode PASSTHROUGH the `tls` rules; HTTP, HTTP2, GRPC and GRPC-WEB the `http`
// rules; TCP and MONGO the `tcp` rules. In mode ISTIO_MUTUAL, which is between proxies and nothing to the call itself,
// HTTPS serves `http` and `tcp`, anything else `tcp`. Other modes end TLS, which an outbound call is not asked to:
// none.
std::vector<BoundServer> bind_servers(const std::vector<Gateway>& gateways, const Labels& labels,
                                      const VirtualService& service);

// Is it for calls to `host`, or, where there is no name, for a service with `service_hosts`?
bool serves_host(const BoundServer& server, std::string_view host, const std::vector<std::string>& service_hosts);

}  // namespace sluice
