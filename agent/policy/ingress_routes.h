// What an ingress listens on and what it does with each request, by Gateways and VirtualServices. Immutable, shared by
// all threads. Asking allocates nothing, unless a rule looks at a header that came in several lines. Views and pointers
// that it gives away live as long as it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "policy/http_actions.h"
#include "policy/http_match.h"
#include "policy/http_path.h"
#include "policy/routes.h"
#include "policy/vantage.h"

namespace sluice {

// One server of a Gateway that is in force at its listener.
struct IngressServer {
  // What becomes of the bytes of a connection, once its TLS has ended where `server->tls` ends here.
  enum class Content : std::uint8_t {
    http,         // route()
    tcp,          // route_connection(): relayed
    passthrough,  // route_connection() by SNI: relayed with its TLS
  };
  Content content = Content::http;
  const GatewayServer* server = nullptr;  // its hosts, and its TLS settings in full
  std::string_view name;                  // "namespace/gateway servers[0]"
  std::uint32_t number = 0;               // among all of IngressRoutes
};

// One address and port. Servers with the same ones are merged as Istio merges them (pilot/pkg/model/gateway.go), the
// oldest Gateway first: plain HTTP with plain HTTP, TLS with TLS when no host is there already.
struct IngressListener {
  enum class Kind : std::uint8_t {
    http,  // plain: all servers are one
    tls,   // the server is chosen by SNI
    tcp,   // plain: a single server
  };
  Kind kind = Kind::http;
  std::string_view bind;  // an address, "unix://path", or empty: every address
  std::uint16_t port = 0;
  std::vector<IngressServer> servers;  // at least one
  std::uint32_t number = 0;            // its place in listeners()
};

// A server that is left out, and why: another one has the port for another protocol or, with TLS, the host; or its TLS
// mode is between proxies of a mesh (AUTO_PASSTHROUGH, ISTIO_MUTUAL).
struct SkippedServer {
  std::string server;  // "namespace/gateway servers[0]"
  std::string why;
};

// The answer for one request.
struct IngressRoute {
  enum class Kind : std::uint8_t {
    bad_path,            // 400: its path has several readings (http_path.h)
    no_server,           // 404: no server of this listener has the host
    no_virtual_service,  // 404: no VirtualService with a rule for this port is bound to that Gateway for the host
    no_route,            // 404: there are rules, and none matches
    misdirected,         // 421: on a connection with another SNI the host would have met another server of the listener
    https_redirect,      // 301 to https_location(): httpsRedirect, for hosts without a VirtualService too
    redirect,            // actions->location()
    direct_response,     // rule->direct_response
    forward,             // to one of rule->destinations
  };
  Kind kind = Kind::no_server;
  // The following are set for redirect, direct_response and forward.
  const HttpRule* rule = nullptr;
  const HttpActions* actions = nullptr;  // what the rule does, compiled
  const HttpMatch* match = nullptr;      // the one of its matches that took the request; null: it has none
  const VirtualService* virtual_service = nullptr;
  std::string_view name;  // "namespace/name http[0]", with the rule's name if it has one: "namespace/name http[0] main"
  // The host as Gateway or VirtualService writes it ("*.example.com"), for metrics; empty for bad_path, no_server and
  // misdirected.
  std::string_view host;

  bool is_refused() const { return kind <= Kind::misdirected; }
  // "no server", "no VirtualService bound to this gateway", "no route matched", ... for header x-sluice-reason and log;
  // empty unless refused.
  std::string_view reason() const;
};

// The answer for one connection that is relayed.
struct IngressConnectionRoute {
  enum class Kind : std::uint8_t {
    no_virtual_service,  // none is bound
    no_route,            // there are rules, and none matches
    forward,
  };
  Kind kind = Kind::no_virtual_service;
  const ConnectionRule* rule = nullptr;
  const VirtualService* virtual_service = nullptr;
  std::string_view name;  // "namespace/name tls[0]"
};

class IngressRoutes {
 public:
  // Of Gateways those count whose selector the labels of `vantage` satisfy; of VirtualServices those that are exported
  // to its namespace. Delegates stand in for the rules that name them (delegates.h).
  IngressRoutes(const std::vector<Gateway>& gateways, std::vector<VirtualService> virtual_services,
                const Vantage& vantage);
  ~IngressRoutes();
  IngressRoutes(const IngressRoutes&) = delete;
  IngressRoutes& operator=(const IngressRoutes&) = delete;

  // By port, then bind.
  std::span<const IngressListener> listeners() const;
  const std::vector<SkippedServer>& skipped() const;

  // The server of a listener for TLS with this SNI, normalised, empty when there is none: the one with that very host,
  // else with the longest wildcard. Null: there is none, and the connection is to end.
  const IngressServer* find_server(const IngressListener& listener, std::string_view sni) const;

  // `server` is the one that the connection's TLS ended at; for plain HTTP null. `host` is that of the request's
  // authority, normalised, without port (wire::parse_authority). Its path must be what canonical_path() made of it.
  //
  // The most specific of the hosts that servers and VirtualServices share takes the request: exact before wildcard, the
  // longest first. Its rules are asked oldest VirtualService first, those that match everything last, the first that
  // matches wins; no less specific host is asked then. A VirtualService without a rule for this gateway and port is no
  // candidate.
  IngressRoute route(const IngressListener& listener, const IngressServer* server, std::string_view host,
                     const HttpRequest& request) const;

  // For servers with content tcp or passthrough. `sni` as above; of tcp servers empty.
  //  passthrough  the `tls` rule with the most specific of the sniHosts that match, then the oldest VirtualService
  //  tcp          the first `tcp` rule that matches, oldest VirtualService first
  // Only gateways and port of a match count here besides sniHosts, as in Istio.
  IngressConnectionRoute route_connection(const IngressServer& server, std::string_view sni) const;

 private:
  struct Index;
  std::unique_ptr<const Index> index_;
};

}  // namespace sluice
