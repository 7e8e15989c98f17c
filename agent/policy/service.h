// A registered external service: what one Istio ServiceEntry says (networking/v1alpha3/service_entry.proto), checked
// and normalised. Host names are lower-case without a trailing dot; a first byte '*' makes a wildcard.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "policy/labels.h"

namespace sluice {

// spec.ports[].protocol. HTTPS and TLS both mean: matched by SNI, not terminated.
enum class Protocol : std::uint8_t { http, http2, grpc, https, tls, mongo, tcp };
constexpr bool is_tls(Protocol protocol) {
  return protocol == Protocol::https || protocol == Protocol::tls;
}
constexpr bool is_http(Protocol protocol) {
  return protocol <= Protocol::grpc;
}

// spec.resolution
enum class Resolution : std::uint8_t { none, static_, dns, dns_round_robin, dynamic_dns };

enum class Location : std::uint8_t { mesh_external, mesh_internal };

struct ServicePort {
  std::uint16_t number = 0;       // what pods dial
  std::uint16_t target_port = 0;  // what the upstream listens on; equal to number unless spec.ports[].targetPort
  Protocol protocol = Protocol::tcp;
  std::string name;
};

// spec.endpoints[]: a WorkloadEntry. `address` is an IP address or a name to resolve.
struct ServiceEndpoint {
  std::string address;
  std::vector<std::pair<std::string, std::uint16_t>> ports;  // port name -> port, overrides target_port
  std::uint32_t weight = 1;
  std::string locality;  // "region/zone/subzone", the later parts optional
  Labels labels;
};

struct Service {
  std::string namespace_name;
  std::string name;
  std::vector<std::string> hosts;
  std::vector<Cidr> addresses;
  std::vector<ServicePort> ports;
  Resolution resolution = Resolution::none;
  Location location = Location::mesh_external;
  std::vector<ServiceEndpoint> endpoints;
  std::vector<std::string> subject_alt_names;  // of the upstream's certificate, when the gateway begins TLS
  // spec.exportTo, normalised: empty = every namespace; else exactly these ("." replaced by the own one). "~" (nobody)
  // is the single element "~".
  std::vector<std::string> export_to;
  // metadata.creationTimestamp, seconds since the epoch, 0 when absent. Of two services for one host the older one
  // wins, then the smaller name, then the smaller namespace.
  std::int64_t created = 0;

  // "namespace/name", the rule named in verdicts and records.
  std::string rule() const { return namespace_name + "/" + name; }
};

}  // namespace sluice
