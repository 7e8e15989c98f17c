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
//   IST0134 TCP without addresses
//   SLU0001 resolution NONE opens a port to every address
//   SLU0002 no endpoint to dial
//   SLU0003 not read here
//   SLU0004 the file cannot be read
//   SLU0005 one object in two places
//   SLU0006 an HTTPS or TLS server without `tls`, taken as PASSTHROUGH
//   SLU0007 a `tls` match without sniHosts, taken as the VirtualService's hosts
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
