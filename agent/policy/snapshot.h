// The compiled policy: immutable, shared by all threads, replaced as a whole. Deciding is a pure function of a snapshot
// and a request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "policy/destination_rules.h"
#include "policy/ingress_routes.h"
#include "policy/policy_objects.h"
#include "policy/reason.h"
#include "policy/routing.h"
#include "policy/service.h"
#include "policy/vantage.h"

namespace sluice {

// What the first bytes of a connection were. `none`: nobody looked (a server-first service by address).
enum class Sniffed : std::uint8_t { none, tls, http, opaque };

// The facts about one call.
struct Request {
  std::string_view pod_namespace;
  IpAddress destination;   // as the pod dialled it
  std::uint16_t port = 0;  // as the pod dialled it
  Sniffed sniffed = Sniffed::none;
  std::string_view host;  // SNI or Host, normalised (lower case, no trailing dot, no port); empty when there is none
};

// `service` and `port` point into the snapshot that decided and live as long as it; null when denied.
struct Verdict {
  Reason reason = Reason::policy_not_ready;
  const Service* service = nullptr;
  const ServicePort* port = nullptr;

  bool allowed() const { return allows(reason); }
};

// What to do with a connection before a byte of it was read.
enum class Inspection : std::uint8_t {
  sniff,   // read the ClientHello or HTTP head, then decide() with what it says
  opaque,  // never read first: decide() with Sniffed::none (the server may speak first)
  refuse,  // no service can match; decide() with Sniffed::none gives the reason
};

// What the kernel decides by numbers alone; compiled into BPF maps.
struct PortRule {
  std::uint16_t port = 0;
  // True: any address may be dialled on this port, and the agent decides by name or by port alone; `addresses` is
  // empty. False: only `addresses`, which are sorted and distinct.
  bool any_address = false;
  std::vector<Cidr> addresses;
};

class Snapshot {
 public:
  // Compiles `objects`, whose order does not matter, as seen from `vantage`. The result is complete: nothing is
  // computed lazily.
  static std::shared_ptr<const Snapshot> compile(PolicyObjects objects, Vantage vantage = Vantage::mesh());

  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // May a pod of `request.pod_namespace` make this call? A service counts only when it is exported to that namespace,
  // has the port, and has it for the protocol that the bytes are. Among those, in this order:
  //  1. TCP and MONGO ports of services with addresses, when the destination is in one of them: the longest prefix,
  //  then
  //     the oldest service. Names are not looked at, the bytes may be anything.
  //  2. TLS by its SNI against HTTPS and TLS ports, HTTP by its Host against HTTP, HTTP2 and GRPC ports: the exact
  //  host,
  //     then the longest wildcard, then the oldest service. The destination does not matter, not even when the service
  //     has addresses: the name decides, and the name is what the gateway dials. A Host that is an IP literal is
  //     compared as text with the hosts, like any other.
  //  3. TCP and MONGO ports of services without addresses: the oldest. On a port where names are registered they take
  //     only bytes that were read and are neither TLS nor HTTP, so that they never capture what names decide.
  // A more specific host that does not count hides nothing.
  //
  // When nothing allows, the reason is the first of these that holds ("here": on this port, exported to the namespace):
  //   sni_missing, host_missing   TLS or HTTP without a name, and such names are registered here
  //   not_exported                a service not exported to the namespace matches all that is known of the call
  //   address_not_registered      here are only addresses, and the destination is not among them
  //   port_not_registered         nothing is registered here
  //   sni_missing, host_missing   nobody looked at the bytes, but names are registered here (TLS first)
  //   address_not_registered      the host is registered here by address, and the destination is not among its own
  //   not_tls                     HTTP or opaque bytes, where the host, or else the port, is registered for TLS only
  //   protocol_not_allowed        any other protocol than the host, or else the port, is registered for
  //   port_not_registered         the host is registered, on other ports
  //   host_not_registered
  Verdict decide(const Request& request) const;

  // `opaque` for what goes by address, and for a port with nothing but TCP services without addresses; `sniff` for any
  // other port with names. A service counts as in decide(). Whatever is `opaque` here is allowed by decide() with
  // Sniffed::none, whatever is `refuse` is denied by it.
  Inspection inspect(std::string_view pod_namespace, const IpAddress& destination, std::uint16_t port) const;

  // What is known of a call besides its request, for rules that look further than names.
  struct Caller {
    const Labels* labels = nullptr;     // of the pod; null: not known
    std::uint16_t gateway_port = 0;     // at a gateway: of the server that the call came to
    const HttpRequest* http = nullptr;  // the request's head; null when there is none
    std::uint64_t pick = 0;             // chooses among weights
  };
  // The way of a call that `verdict` of this snapshot allowed, by the VirtualServices of its vantage (see Routing).
  Route route(const Request& request, const Verdict& verdict, const Caller& caller) const;
  // The same facts, for who wants to ask more (Routing::misses).
  RouteQuery route_query(const Request& request, const Verdict& verdict, const Caller& caller) const;
  const Routing& routing() const { return routing_; }
  const DestinationRules& destination_rules() const { return destination_rules_; }

  // What comes in and where it goes; null unless the vantage is an ingress.
  const IngressRoutes* ingress() const { return ingress_.get(); }

  // The service that a destination of a VirtualService names, among those exported to `pod_namespace`: the one with
  // exactly this host, or else the most specific wildcard, the oldest of them; its port `port`, or with 0 its only one,
  // or else `dialled` if it has that. `reason` is no_gateway_route when there is none.
  Verdict find_destination(std::string_view pod_namespace, std::string_view host, std::uint16_t port,
                           std::uint16_t dialled) const;

  // Every registered port once, ascending, whatever namespace it is exported to: the namespace is the agent's part.
  std::vector<PortRule> port_rules() const;

  // Another number for each snapshot of this process.
  std::uint64_t number() const { return number_; }
  // From the oldest on.
  const std::vector<Service>& services() const;
  // Distinct hosts.
  std::size_t host_count() const;
  // Bytes used by the lookup structure, without the services themselves.
  std::size_t index_bytes() const;

 private:
  struct Index;
  Snapshot(PolicyObjects objects, Vantage vantage);
  std::unique_ptr<const Index> index_;
  const std::unique_ptr<const IngressRoutes> ingress_;
  const Routing routing_;
  const DestinationRules destination_rules_;
  const std::uint64_t number_;
};

}  // namespace sluice
