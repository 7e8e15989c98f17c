// What is wrong with resources, as it is told to their author.
#pragma once

#include <compare>
#include <cstdint>
#include <string>

namespace sluice::resources {

// An error found while an object is read keeps the object out of force; what only shows when all objects are seen
// together keeps none out.
enum class Severity : std::uint8_t { warning, error };

// Codes of `istioctl analyze` where it has one for the case (IST...), our own (SLU...) otherwise.
// Of one object or file:
//   IST0106 not valid                           IST0133 doubtful
//   IST0134 TCP without addresses               IST0177 one host and port, two protocols
//   SLU0001 resolution NONE opens a port to every address
//   SLU0002 no endpoint to dial
//   SLU0003 not read here
//   SLU0004 the file cannot be read
//   SLU0005 one object in two places
//   SLU0006 an HTTPS or TLS server without `tls`, taken as PASSTHROUGH
//   SLU0007 a `tls` match without sniHosts, taken as the VirtualService's hosts
// Of all objects together (analysis.h):
//   IST0101 refers to a gateway, host, port, subset or delegate that is not there
//   IST0109 a host in two VirtualServices of the mesh
//   IST0112 a destination without port, of a service with several
//   IST0128 IST0129 TLS without a check of the server's certificate (129: of a port)
//   IST0130 a rule that is never reached         IST0131 a match that an earlier one covers
//   IST0132 no host of the VirtualService is in its Gateway
//   IST0138 one certificate in two Gateways of the same workloads
//   IST0145 one port and host in two Gateways of the same workloads
//   IST0173 a subset without endpoints           IST0174 a DestinationRule for an unknown host
//   SLU0008 a registered host that no VirtualService steers to a gateway
//   SLU0009 steered at an egress gateway, but nothing brings calls there: no `mesh`
//   SLU0010 steered to a gateway that has no rule for it
//   SLU0011 a VirtualService for a host that no ServiceEntry registers
//   SLU0012 a host of the VirtualService is in none of its Gateways, though others are
//   SLU0013 an SNI host that an older VirtualService has at the same port of a Gateway
//   SLU0014 a PASSTHROUGH server whose VirtualServices have `http` rules only
//   SLU0015 a server that ends TLS, whose VirtualServices have `tls` rules only
//   SLU0016 a VirtualService that its gateway's namespace does not see
//   SLU0017 one host and port in ServiceEntries of two namespaces
//   SLU0018 a Gateway server that Istio skips: its port or host is taken
//   SLU0019 a port whose calls may go to different gateways: it is relayed
//   SLU0020 a rule of which nothing, or not all, is left: its delegate is none, or does not fit
//   SLU0021 a VirtualService without hosts that no rule delegates to
//   SLU0022 a rewrite that doubles or drops a slash
//   SLU0023 every website may call with its user's credentials
//   SLU0024 redirected to https, where no server has the host
//   SLU0025 a match for pods of the mesh that applies at gateways only
// Of the API server:
//   SLU0026 it cannot be asked, or does not answer as it should
//   SLU0027 a kind that it does not serve
struct Problem {
  Severity severity = Severity::error;
  std::string code;
  std::string file;
  unsigned line = 0;    // from 1; 0 for the file as a whole
  std::string field;    // "spec.hosts[0]"; empty for the object or file as a whole
  std::string object;   // ObjectKey::to_string(); empty when the problem is no object's
  std::string message;  // what is wrong and what to change

  // "FILE:LINE: error IST0106: ServiceEntry ns/name: spec.hosts[0]: MESSAGE"
  std::string to_string() const;
  auto operator<=>(const Problem&) const = default;
};

}  // namespace sluice::resources
