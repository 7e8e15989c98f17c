// Where a gateway sends an allowed call: its half of routing. `sluice explain` asks it too.
#pragma once

#include <string>
#include <variant>

#include "policy/snapshot.h"
#include "settings/settings.h"

namespace sluice::gateway {

// A service to dial, and how. Pointers lead into the snapshot that was asked.
struct Outgoing {
  const Service* service = nullptr;
  const ServicePort* port = nullptr;
  std::string host;                // to resolve and dial; empty for services without names
  std::string route;               // the rule, "namespace/name tls[0]"; "default": no rule applied
  bool is_tls_call = false;        // what the pod sends is TLS already
  const Labels* subset = nullptr;  // of the endpoints; null: all
  TrafficPolicy policy;            // what DestinationRules say of it

  // TLS that the gateway begins: of what comes in the clear, by DestinationRule. Calls that are TLS already stay as
  // they are.
  const ClientTls* origination() const;
  // Tells apart what must not share a connection, and what a connection that is open no longer is.
  std::string key() const;
};
struct NoOutgoing {
  std::string detail;  // of no_gateway_route
};

// By the rule, whose destination must be a service that the pod may use as well, with a port of that; a destination
// that is a wildcard around it, or the host itself, is the name that was called. Without a rule by `unrouted`: to
// itself, or nowhere. What comes in the clear never goes in the clear to a port that is for TLS.
std::variant<Outgoing, NoOutgoing> choose_outgoing(const Snapshot& snapshot, const Route& route, const Request& request,
                                                   const Verdict& verdict, settings::Unrouted unrouted);

}  // namespace sluice::gateway
