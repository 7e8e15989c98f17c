// What Istio's Gateway, VirtualService and DestinationRule say (networking/v1alpha3), checked and normalised. Host
// names are lower-case without a trailing dot, short names are expanded, "." is replaced by the object's own namespace.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

// ServerTLSSettings.minProtocolVersion and maxProtocolVersion
enum class TlsVersion : std::uint8_t { automatic, v1_0, v1_1, v1_2, v1_3 };

// A certificate chain in files.
struct CertificateFiles {
  std::string certificate;
  std::string private_key;
  bool operator==(const CertificateFiles&) const = default;
};

// ServerTLSSettings. Where TLS ends here the certificates are in Secrets beside the gateway's workload or in files,
// never both; several are of different key types (RSA and ECDSA).
struct ServerTls {
  ServerTlsMode mode = ServerTlsMode::passthrough;
  std::vector<std::string> credentials;  // credentialName or credentialNames
  std::vector<CertificateFiles> files;   // serverCertificate with privateKey, or tlsCertificates
  // The roots of clients' certificates: a file, or a Secret or ConfigMap; with neither, what the credentials bring.
  std::string ca_certificates;
  std::string ca_credential;                       // caCertCredentialName
  std::string ca_crl;                              // file
  std::vector<std::string> subject_alt_names;      // any of them must be in the client's certificate; empty: any name
  std::vector<std::string> certificate_hashes;     // verifyCertificateHash: SHA-256, 64 lower-case hex digits
  std::vector<std::string> public_key_hashes;      // verifyCertificateSpki: SHA-256 in base64; one of either list fits
  TlsVersion min_version = TlsVersion::automatic;  // automatic: TLS 1.2
  TlsVersion max_version = TlsVersion::automatic;
  std::vector<std::string> cipher_suites;  // OpenSSL's or IANA's names, as written; empty: the default ones
  bool insecure_skip_verify = false;       // a client's certificate is asked for and anything taken

  bool ends_here() const {
    return mode == ServerTlsMode::simple || mode == ServerTlsMode::mutual || mode == ServerTlsMode::optional_mutual;
  }
};

struct GatewayServer {
  std::uint16_t port = 0;
  std::string port_name;
  ServerProtocol protocol = ServerProtocol::http;
  // HTTPS and TLS without `tls` are taken as passthrough. nullopt: the server has no TLS.
  std::optional<ServerTls> tls;
  bool https_redirect = false;  // plain HTTP only
  std::string bind;             // an address, "unix://path", or empty: every address
  std::string name;
  std::vector<ServerHost> hosts;

  std::optional<ServerTlsMode> tls_mode() const { return tls ? std::optional(tls->mode) : std::nullopt; }
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

// Headers.HeaderOperations: fields that are removed, then set (all others of the name go), then added. Names are in
// lower case; what is set or added for "host" or ":authority" becomes the request's authority.
struct HeaderOperations {
  std::vector<std::pair<std::string, std::string>> set;
  std::vector<std::pair<std::string, std::string>> add;
  std::vector<std::string> remove;

  bool empty() const { return set.empty() && add.empty() && remove.empty(); }
};

// Headers
struct HttpHeaders {
  HeaderOperations request;
  HeaderOperations response;

  bool empty() const { return request.empty() && response.empty(); }
};

// RouteDestination / HTTPRouteDestination
struct Destination {
  // NOLINTBEGIN(readability-redundant-member-init)
  std::string host{};
  std::string subset{};
  std::uint16_t port = 0;  // 0: not given
  std::uint32_t weight = 0;
  HttpHeaders headers{};  // http only
  // NOLINTEND(readability-redundant-member-init)
};

// One by weight; a single one whatever its weight is; null when there is none or every weight is 0. `pick` is evenly
// spread over all values.
const Destination* choose_destination(std::span<const Destination> destinations, std::uint64_t pick);

// One rule of `tls` or `tcp`. Without matches it matches everything (tcp).
struct ConnectionRule {
  std::vector<ConnectionMatch> matches;
  std::vector<Destination> destinations;
};

// HTTPRedirect. Empty texts leave that part as the request has it.
struct HttpRedirect {
  // Initialisers, so that a caller may name some of them only (-Wmissing-field-initializers).
  // NOLINTBEGIN(readability-redundant-member-init)
  std::string uri{};             // replaces path and query
  std::string prefix_rewrite{};  // replaces what the uri match took of the path; the query stays
  std::string authority{};
  std::string scheme{};
  // Of the Location; 0: as `derived_port` says. Without an authority of its own only.
  std::uint16_t port = 0;
  enum class DerivedPort : std::uint8_t {
    unset,  // the request's authority stays as it is; when the scheme changes, without its port
    from_protocol_default,
    from_request_port
  };
  DerivedPort derived_port = DerivedPort::unset;
  std::uint16_t code = 301;
  // NOLINTEND(readability-redundant-member-init)
};

// HTTPDirectResponse
struct DirectResponse {
  std::uint16_t status = 0;
  std::string body;  // of `string`, or of `bytes` decoded; at most 1 MiB
};

// HTTPRewrite
struct HttpRewrite {
  // NOLINTBEGIN(readability-redundant-member-init)
  std::string uri{};  // replaces the prefix that the uri match took, or the whole path of an exact or regex match
  std::string authority{};
  std::string regex{};  // RE2; every place in the path where it is found becomes `substitution` ("\1": a group)
  std::string substitution{};
  // NOLINTEND(readability-redundant-member-init)
};

// A share of all requests.
struct Share {
  static constexpr std::uint32_t whole = 1'000'000;
  std::uint32_t millionths = whole;
};

// HTTPFaultInjection
struct HttpFault {
  struct Delay {
    std::uint32_t delay_ms = 0;
    Share share;
  };
  struct Abort {
    std::uint16_t http_status = 0;  // 0: `grpc_status`
    std::uint8_t grpc_status = 0;
    Share share;
  };
  std::optional<Delay> delay;
  std::optional<Abort> abort;
};

// HTTPRetry. What is not given is as Istio has it by default.
struct HttpRetries {
  // The conditions of retryOn.
  enum Condition : std::uint32_t {
    server_error = 1U << 0,     // 5xx, and no answer at all
    gateway_error = 1U << 1,    // 502, 503, 504
    reset = 1U << 2,            // no answer
    connect_failure = 1U << 3,  // the request was not sent
    refused_stream = 1U << 4,   // HTTP/2 REFUSED_STREAM: nothing was done
    retriable_4xx = 1U << 5,    // 409
    reset_before_request = 1U << 6,
    grpc_cancelled = 1U << 7,
    grpc_deadline_exceeded = 1U << 8,
    grpc_internal = 1U << 9,
    grpc_resource_exhausted = 1U << 10,
    grpc_unavailable = 1U << 11,
  };
  std::uint32_t attempts = 2;  // after the first one; 0: none
  std::uint32_t on = connect_failure | refused_stream | grpc_unavailable | grpc_cancelled;
  std::vector<std::uint16_t> on_statuses;
  std::uint32_t per_try_timeout_ms = 0;  // 0: the rule's timeout alone
  std::uint32_t backoff_ms = 25;
  bool remote_localities = false;
};

// HTTPMirrorPolicy: a copy of the request whose answer nobody sees.
struct HttpMirror {
  Destination destination;
  Share share;
};

// CorsPolicy
struct CorsPolicy {
  std::vector<StringMatch> allow_origins;  // an exact "*": every one
  std::vector<std::string> allow_methods;
  std::vector<std::string> allow_headers;
  std::vector<std::string> expose_headers;
  std::optional<std::uint32_t> max_age_s;
  bool allow_credentials = false;
  bool forward_unmatched_preflights = true;  // unmatchedPreflights
};

// Delegate: another VirtualService, without hosts, whose http rules stand in for this one.
struct DelegateName {
  std::string namespace_name;
  std::string name;
};

// One rule of `http`. Without matches it matches everything. Just one of destinations, redirect, direct_response and
// delegate is there.
struct HttpRule {
  // NOLINTBEGIN(readability-redundant-member-init)
  std::string name{};
  std::vector<HttpMatch> matches{};
  std::vector<Destination> destinations{};
  std::optional<HttpRedirect> redirect{};
  std::optional<DirectResponse> direct_response{};
  std::optional<DelegateName> delegate{};
  std::optional<HttpRewrite> rewrite{};
  std::optional<HttpFault> fault{};
  std::vector<HttpMirror> mirrors{};  // mirror, or mirrors
  std::optional<CorsPolicy> cors{};
  HttpHeaders headers{};
  std::optional<std::uint32_t> timeout_ms{};  // of the whole answer; absent or 0: none
  std::optional<HttpRetries> retries{};       // absent: as HttpRetries() says
  // NOLINTEND(readability-redundant-member-init)
};

// What the rule does besides sending requests on as they are, the first of it by its field's name; empty: nothing.
// Timeouts and retries alter no request.
std::string_view altering_action(const HttpRule& rule);

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

// LoadBalancerSettings.simple; LEAST_REQUEST unless given, as in Istio.
enum class Balancing : std::uint8_t { least_request, round_robin, random, passthrough };

// OutlierDetection: an endpoint that fails is left out for a while.
struct OutlierDetection {
  std::uint32_t consecutive_5xx = 5;             // 0: not looked at
  std::uint32_t consecutive_gateway_errors = 0;  // 502, 503, 504 and no answer; 0: not looked at
  std::uint32_t interval_ms = 10'000;            // between looks
  std::uint32_t base_ejection_ms = 30'000;       // times how often it was left out
  std::uint32_t max_ejection_percent = 10;
  std::uint32_t min_health_percent = 0;  // below it nobody is left out
};

// ConnectionPoolSettings.http
struct HttpPool {
  std::optional<std::uint32_t> max_pending_requests;         // http1MaxPendingRequests
  std::optional<std::uint32_t> max_requests;                 // http2MaxRequests
  std::optional<std::uint32_t> max_requests_per_connection;  // 0: no limit
  std::optional<std::uint32_t> max_retries;                  // at a time
  std::optional<std::uint32_t> idle_timeout_ms;
};

// What is read of trafficPolicy, at the top, for a port or for a subset. A port's policy replaces the whole of it.
struct TrafficPolicy {
  std::optional<ClientTls> tls;
  std::optional<std::uint32_t> connect_timeout_ms;  // connectionPool.tcp.connectTimeout
  std::optional<std::uint32_t> idle_timeout_ms;     // connectionPool.tcp.idleTimeout
  std::optional<std::uint32_t> max_connections;     // connectionPool.tcp.maxConnections
  std::optional<HttpPool> http;                     // connectionPool.http
  std::optional<Balancing> balancing;
  std::optional<OutlierDetection> outliers;
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
