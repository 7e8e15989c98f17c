// Which way a call takes, by VirtualServices: the mesh's half picks the gateway, a gateway's half picks the
// destination. Compiled once for one vantage; asked with the facts of one call.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "policy/http_match.h"
#include "policy/routes.h"
#include "policy/vantage.h"

namespace sluice {

// What the registered port of a call speaks, which decides the list of rules that is asked.
enum class RouteKind : std::uint8_t { tls, http, tcp };

// The facts about one call. All views and pointers live as long as the query.
struct RouteQuery {
  RouteKind kind = RouteKind::tls;
  std::string_view host;                                    // SNI or Host, normalised; empty for tcp
  const std::vector<std::string>* service_hosts = nullptr;  // of the service that allowed the call
  std::string_view pod_namespace;
  const Labels* pod_labels = nullptr;  // null: not known, and then no rule with sourceLabels applies
  IpAddress destination;               // as dialled
  std::uint16_t port = 0;              // mesh: as dialled; gateway: of the Gateway server
  const HttpRequest* http = nullptr;   // null: not HTTP, or not read yet
  std::uint64_t pick = 0;              // chooses among weights: evenly spread over all values
};

struct Route {
  enum class Kind : std::uint8_t {
    unrouted,  // no rule applies
    routed,    // to `destination`
    refused,   // rules apply and lead nowhere; `why` says how
  };
  Kind kind = Kind::unrouted;
  const Destination* destination = nullptr;
  const VirtualService* virtual_service = nullptr;
  std::string rule;  // "namespace/name tls[0]"
  std::string why;
};

// Why a VirtualService does not route a call.
struct RouteMiss {
  std::string rule;  // "namespace/name", or "namespace/name tls[0].match[1]"
  std::string why;
};

class Routing {
 public:
  Routing(const std::vector<Gateway>& gateways, std::vector<VirtualService> virtual_services, Vantage vantage);
  ~Routing();
  Routing(const Routing&) = delete;
  Routing& operator=(const Routing&) = delete;

  // A VirtualService counts when it is exported to the pod's namespace (mesh) or the gateway's, and bound: "mesh" is
  // among its gateways, or a Gateway of this vantage that has a server for the query's port and protocol and for the
  // host, open to the VirtualService's namespace. `match.gateways` replaces the VirtualService's list for that match.
  //  tls   the most specific of the sniHosts that match the SNI, then the oldest VirtualService, then the first rule:
  //        as proxies find the chain of a name. When none applies, as tcp.
  //  http  the VirtualServices with the most specific host that matches; of each the rules up to one that matches
  //        everything, oldest first, those that match everything last; the first that matches. None: refused.
  //  tcp   the VirtualServices with a host of the service, the most specific first, then the oldest; the first rule
  //        that matches.
  // Of several destinations, one by weight; a single one whatever its weight is. On a gateway only port and gateways of
  // a connection match count, as in Istio.
  Route route(const RouteQuery& query) const;

  // Each VirtualService that has a host for the call, or one much like it, and why it does not apply; the one that
  // route() takes is not among them.
  std::vector<RouteMiss> misses(const RouteQuery& query) const;

  // All of them, whatever their vantage: for who asks what calls of a port may do at most.
  const std::vector<VirtualService>& virtual_services() const;

 private:
  struct Index;
  std::unique_ptr<const Index> index_;
};

}  // namespace sluice
