// What Istio's Gateway, VirtualService and DestinationRule say (networking/v1alpha3), checked and normalised. Host
// names are lower-case without a trailing dot, short names are expanded, "." is replaced by the object's own namespace.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "policy/labels.h"
#include "policy/service.h"

namespace sluice {

// Who an object is, and its age: every list of objects is sorted by it, oldest first (creation, name, namespace).
struct ObjectName {
  std::string namespace_name;
  std::string name;
  std::int64_t created = 0;  // metadata.creationTimestamp, seconds since the epoch, 0 when absent

  // "namespace/name"
  std::string to_string() const { return namespace_name + "/" + name; }
};

// Gateway.spec.servers[].port.protocol
enum class ServerProtocol : std::uint8_t { http, https, grpc, grpc_web, http2, mongo, tcp, tls };

// ServerTLSSettings.mode
enum class ServerTlsMode : std::uint8_t {
  passthrough,
  simple,
  mutual,
  auto_passthrough,
  istio_mutual,
  optional_mutual
};

// Gateway.spec.servers[].hosts[]: "[namespace/]dnsName"
struct ServerHost {
  std::string namespace_name;  // of the VirtualServices that may bind; "*": any
  std::string host;            // a name, "*.name" or "*"
};

struct GatewayServer {
  std::uint16_t port = 0;
  std::string port_name;
  ServerProtocol protocol = ServerProtocol::http;
  // The mode of `tls`; HTTPS and TLS without `tls` are taken as passthrough. nullopt: the server has no TLS.
  std::optional<ServerTlsMode> tls;
  bool https_redirect = false;
  // The server's certificate: a Secret beside the gateway's workload, or files.
  std::string credential_name;
  std::string server_certificate;
  std::string private_key;
  std::string bind;
  std::string name;
  std::vector<ServerHost> hosts;
};

struct Gateway {
  ObjectName object;
  Labels selector;  // empty: every workload
  std::vector<GatewayServer> servers;
};

// StringMatch: `exact`, `prefix` or `regex` (RE2, the whole text).
struct StringMatch {
  enum class Kind : std::uint8_t { exact, prefix, regex, present };
  Kind kind = Kind::exact;  // present: the field is there, whatever it says (an empty exact header match)
  std::string value;
  bool operator==(const StringMatch&) const = default;
};

// A gateway that a rule applies at: "mesh", or "namespace/name".
inline constexpr const char* mesh_gateway = "mesh";

// TLSMatchAttributes and L4MatchAttributes. Absent fields match everything.
struct ConnectionMatch {
  std::vector<std::string> sni_hosts;                // tls only, at least one there
  std::vector<Cidr> destination_subnets;             // mesh only: of the address that was dialled
  std::optional<std::uint16_t> port;                 // mesh: as dialled; gateway: of the server
  Labels source_labels;                              // mesh only
  std::string source_namespace;                      // mesh only
  std::optional<std::vector<std::string>> gateways;  // replaces the VirtualService's own list
  bool operator==(const ConnectionMatch&) const = default;
};

// HTTPMatchRequest
struct HttpMatch {
  std::optional<StringMatch> uri;
  std::optional<StringMatch> scheme;
  std::optional<StringMatch> method;
  std::optional<StringMatch> authority;
  std::vector<std::pair<std::string, StringMatch>> headers;          // names in lower case; all must match
  std::vector<std::pair<std::string, StringMatch>> without_headers;  // names in lower case; none may match
  std::vector<std::pair<std::string, StringMatch>> query_params;
  bool ignore_uri_case = false;
  std::optional<std::uint16_t> port;
  Labels source_labels;
  std::string source_namespace;
  std::optional<std::vector<std::string>> gateways;
  bool operator==(const HttpMatch&) const = default;
};

// RouteDestination / HTTPRouteDestination
struct Destination {
  std::string host;
  std::string subset;
  std::uint16_t port = 0;  // 0: not given
  std::uint32_t weight = 0;
};

// One rule of `tls` or `tcp`. Without matches it matches everything (tcp).
struct ConnectionRule {
  std::vector<ConnectionMatch> matches;
  std::vector<Destination> destinations;
};

// One rule of `http`. Without matches it matches everything.
struct HttpRule {
  std::string name;
  std::vector<HttpMatch> matches;
  std::vector<Destination> destinations;
  // What the rule does besides sending on to `destinations`, by field name: "redirect", "directResponse", "delegate",
  // "rewrite", "fault", "mirror", "mirrors", "corsPolicy", "headers" (of the rule or a destination). Timeouts and
  // retries alter nothing and are not among them. Outbound calls are not altered on their way: a rule with any of these
  // refuses there.
  std::vector<std::string> actions;
};

struct VirtualService {
  ObjectName object;
  std::vector<std::string> hosts;
  std::vector<std::string> gateways;   // "mesh" or "namespace/name"; never empty
  std::vector<std::string> export_to;  // as in Service, without "~"
  std::vector<HttpRule> http;
  std::vector<ConnectionRule> tls;
  std::vector<ConnectionRule> tcp;
};

// ClientTLSSettings.mode
enum class ClientTlsMode : std::uint8_t { disable, simple, mutual, istio_mutual };

// DestinationRule.spec.trafficPolicy.tls: TLS that the gateway begins with the upstream.
struct ClientTls {
  ClientTlsMode mode = ClientTlsMode::disable;
  std::string client_certificate;  // files
  std::string private_key;
  std::string ca_certificates;  // file; empty: the system's roots
  std::string ca_crl;           // file
  std::string credential_name;
  std::vector<std::string> subject_alt_names;  // any of them must be in the upstream's certificate; empty: the SNI
  std::string sni;                             // empty: the Host of the request
  bool insecure_skip_verify = false;
  bool operator==(const ClientTls&) const = default;
};

// What is read of trafficPolicy, at the top, for a port or for a subset. A port's policy replaces the whole of it.
struct TrafficPolicy {
  std::optional<ClientTls> tls;
  std::optional<std::uint32_t> connect_timeout_ms;  // connectionPool.tcp.connectTimeout
  std::optional<std::uint32_t> idle_timeout_ms;     // connectionPool.tcp.idleTimeout
  std::optional<std::uint32_t> max_connections;     // connectionPool.tcp.maxConnections
};

struct DestinationSubset {
  std::string name;
  Labels labels;
  std::optional<TrafficPolicy> policy;
  std::map<std::uint16_t, TrafficPolicy> port_policies;
};

struct DestinationRule {
  ObjectName object;
  std::string host;  // a name or a wildcard
  std::vector<std::string> export_to;
  TrafficPolicy policy;
  std::map<std::uint16_t, TrafficPolicy> port_policies;  // portLevelSettings
  std::vector<DestinationSubset> subsets;
  Labels workload_selector;
};

}  // namespace sluice
