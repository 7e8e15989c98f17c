// Typed settings, one file per role. Every key has a default; unknown keys, wrong types and values out of range are
// refused with "FILE:LINE: section.key: what is wrong and what is expected".
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::settings {

using Milliseconds = std::chrono::milliseconds;

// node:
struct Node {
  std::string name;                          // default: $NODE_NAME, and without one the host name
  unsigned threads = 1;                      // 1..64 event loops
  std::string bpffs = "/sys/fs/bpf/sluice";  // where programs, links and maps are pinned (agent)
  std::string cgroup;              // cgroup2 directory for process identity; empty: the root of the cgroup2 mount
  std::string log_level = "info";  // debug, info, warning, error
};

enum class ResourceSource : std::uint8_t { files, kubernetes };

// resources.kubernetes: how the API server is reached
struct Kubernetes {
  std::string kubeconfig;  // empty: as the pod that this runs in, by its service account
  std::string context;     // of the kubeconfig; empty: its current one
};

// resources:
struct Resources {
  ResourceSource source = ResourceSource::files;
  std::vector<std::string> files;  // files or directories (*.yaml, *.yml, not recursive), watched
  Kubernetes kubernetes;
};

// interception.udp_allow[]: "ADDRESS[/LENGTH]:PORT" ("[fd00::/8]:53" for IPv6), datagrams that pass uninspected
struct UdpAllow {
  Cidr addresses;
  std::uint16_t port = 0;
};

// interception:
struct Interception {
  std::vector<std::string> pod_interfaces = {"veth*", "cali*", "lxc*"};  // fnmatch(3) patterns of host-side names
  std::vector<std::string> uplinks = {"eth*", "en*"};  // patterns of interfaces that leave the cluster
  std::vector<Cidr> internal_cidrs;  // pods, services, nodes: pass untouched; the node's own addresses are added
  std::vector<Cidr> guarded_cidrs;   // never internal, whatever internal_cidrs says: all addresses of the gateways,
                                     // which only the agent may call; those in egress.gateways are added
  std::vector<UdpAllow> udp_allow;
  // With resources.source kubernetes the Nodes' podCIDRs and internal addresses are internal too.
  bool internal_nodes = true;
  bool inbound_replies = true;  // answers of pods to connections that were opened from outside pass
};

enum class Transport : std::uint8_t { raw, proxy, tls };
enum class Mode : std::uint8_t { enforce, audit };
enum class EchPolicy : std::uint8_t { allow, deny };
// How TLS and opaque TCP are forwarded: decided in flight by the gate where it can be, or always relayed.
enum class Datapath : std::uint8_t { gate, relay };
// What becomes of a registered host that no VirtualService routes.
enum class Unrouted : std::uint8_t { gateway, direct, deny };

// What precedes the client's bytes with transport proxy. plain: the addresses alone, for a gateway that is not
// Sluice's.
enum class Header : std::uint8_t { signed_, plain };

// egress.gateways[]: one gateway Service with the addresses of its replicas, or of what stands before them
struct GatewayTarget {
  std::string name;                 // as destination.host of VirtualServices names it: a fully qualified name
  std::vector<Endpoint> addresses;  // at least one; port 0: the port of the route (raw only)
  Transport transport = Transport::proxy;
  Header header = Header::signed_;

  bool signs() const { return transport != Transport::raw && header == Header::signed_; }
};

// egress.health: of each gateway address, from what calls see
struct GatewayHealth {
  std::uint32_t failures = 3;    // dials that fail one after the other before the address is left out
  Milliseconds ejection{10000};  // for so long; then one call tries it again
};

// egress.tls and gateway.tls: certificates of the transport tls, PEM files, read again when they change
struct TransportTls {
  std::string certificate_file;  // chain, leaf first; its URI SAN is this side's identity
  std::string key_file;
  std::string ca_file;  // roots that the other side's certificate must lead to
};

// How names are resolved and dialled outside: keys of gateway, and of egress.direct
struct Outside {
  std::vector<Endpoint> resolvers;    // DNS servers, "10.0.0.10:53"; empty: those of /etc/resolv.conf
  std::vector<Cidr> forbidden_cidrs;  // refused as resolved addresses besides the special-purpose ranges
  std::vector<Cidr> permitted_cidrs;  // special-purpose ranges that names may resolve to after all
  std::string locality;               // "region/zone/subzone": endpoints nearest to it come first
};

// egress:
struct Egress {
  Mode mode = Mode::enforce;
  std::vector<std::string> audit_namespaces;  // these are in mode audit whatever `mode` says
  std::vector<GatewayTarget> gateways;        // required; the first is the default one
  GatewayHealth health;
  Unrouted unrouted = Unrouted::gateway;
  Datapath datapath = Datapath::gate;
  Outside direct;        // of calls that go by no gateway
  std::string key_file;  // NODE_KEYS: this node's key, with which headers are signed; required but for transport raw
  TransportTls tls;      // required with transport tls
  std::string gateway_identity;  // URI SAN that a gateway's certificate must have; required with transport tls
  EchPolicy ech = EchPolicy::allow;
  bool events = true;  // with resources.source kubernetes: denied calls, and what is wrong with the node, are Events
};

// identity.pods[], and what the API server says of a pod. At least one of addresses and interface; the other is found
// by the node's routes.
struct Pod {
  std::string namespace_name;  // key: namespace
  std::string name;
  std::string uid;
  std::string service_account = "default";
  std::map<std::string, std::string> labels;
  std::vector<IpAddress> addresses;
  std::string interface;
};

// limits:
struct Limits {
  std::uint32_t connections = 20000;  // open at once
  std::uint32_t connections_per_pod = 5000;
  std::uint32_t connections_per_second = 20000;  // accepted; bursts of one second's worth
  std::uint32_t connections_per_second_per_pod = 5000;
  std::uint32_t denials_per_second = 20;   // deny records a pod may cause a second; the rest is counted in one record
  Milliseconds first_bytes_timeout{5000};  // to a complete ClientHello or HTTP head, from accept
  Milliseconds http_idle_timeout{60000};   // between requests of one connection
  Milliseconds connect_timeout{3000};
  Milliseconds answer_timeout{30000};  // of a TLS call, from its ClientHello to the first byte of the answer
  Milliseconds idle_timeout{3600000};  // no byte either way
  Milliseconds drain_timeout{5000};    // from SIGTERM until open connections are cut
};

enum class OnAuditFailure : std::uint8_t { deny, count };

// audit:
struct Audit {
  std::string path = "/var/log/sluice/audit.jsonl";
  std::uint64_t rotate_bytes = 100UL * 1024 * 1024;
  unsigned keep_files = 10;  // rotated ones: path.1 (newest) .. path.N
  OnAuditFailure on_failure = OnAuditFailure::deny;
  std::string key_file;                     // HMAC key of checkpoints; empty: checkpoints are plain hashes
  std::uint32_t checkpoint_records = 1000;  // a checkpoint at least every so many lines
};

// admin:
struct Admin {
  std::string socket = "/run/sluice/admin.sock";
  std::optional<Endpoint> metrics_listen;  // /metrics, /healthz and /readyz over TCP; nullopt: nowhere
};

struct AgentSettings {
  Node node;
  Resources resources;
  Interception interception;
  Egress egress;
  std::vector<Pod> pods;  // identity.pods: besides those that the API server tells of, whose word counts more
  // identity.wait_ms, with resources.source kubernetes: a call of an address that no pod is known to have waits so
  // long for the API server to tell.
  Milliseconds pod_wait{2000};
  Limits limits;
  Audit audit;
  Admin admin;
};

// gateway.listen[]: {address: "0.0.0.0:15443", transport: proxy}
struct Listen {
  Endpoint address;
  Transport transport = Transport::proxy;
  std::uint16_t service_port = 0;  // raw only: the registered port that calls mean; default: the listener's own
  // Networks whose connections need no signed header: required with raw, whose callers are unknown. With proxy their
  // headers may be unsigned, and then only the addresses in them count.
  std::vector<Cidr> unsigned_from;
  // The agents' addresses do not arrive as they are (masquerade): the header's claim about them is not compared.
  bool translated = false;
};

// gateway:
struct Gateway {
  std::vector<Listen> listen;  // required, at least one
  std::string name;            // required: this gateway as agents know it (egress.gateways[].name)
  std::string namespace_name;  // key: namespace; of the workload, where Gateways and VirtualServices are seen
  std::map<std::string, std::string> labels;  // of the workload, which selectors of Gateways are matched to
  Unrouted unrouted = Unrouted::direct;       // direct: to the name itself; deny. `gateway` is the agent's
  std::string node_keys;           // directory of NODE.yaml files: {keys, addresses}; required but for transport raw
  Milliseconds header_age{10000};  // a signed header is good for so long, clocks' difference included
  TransportTls tls;                // required with transport tls
  Outside outside;
};

struct GatewaySettings {
  Node node;
  Resources resources;
  Gateway gateway;
  Limits limits;
  Audit audit;
  Admin admin;
};

// ingress.services[]: a Service of the cluster, besides those that the API server tells of
struct ClusterService {
  std::string host;  // as destination.host of VirtualServices names it: a fully qualified name
  std::uint16_t port = 0;
  enum class Protocol : std::uint8_t {
    http,
    http2,
    grpc,
    https,
    tcp
  };  // https: TLS begins with a DestinationRule only
  Protocol protocol = Protocol::http;
  struct Place {
    Endpoint address;
    std::map<std::string, std::string> labels;  // which subsets of DestinationRules go by
  };
  std::vector<Place> endpoints;  // at least one
};

// Which requests get an access record.
enum class AccessLog : std::uint8_t { all, failures, none };

// ingress:
struct Ingress {
  std::string namespace_name;  // key: namespace; of the workload, where Gateways and VirtualServices are seen
  std::map<std::string, std::string> labels;  // of the workload, which selectors of Gateways are matched to
  // Where servers without `bind` are listened to, on the ports that they have.
  std::vector<IpAddress> addresses = {*IpAddress::parse("0.0.0.0"), IpAddress()};
  std::string secrets;  // directory of credentialName's Secrets: NAME/tls.crt, NAME/tls.key, ...; empty, with
                        // resources.source kubernetes: those of the namespace, from the API server
  std::vector<ClusterService> services;
  AccessLog access_log = AccessLog::all;
  std::uint32_t max_head_bytes = 60UL * 1024;  // of a request; 431 beyond
  std::uint64_t max_body_bytes = 0;            // of a request; 413 beyond; 0: any
  std::uint32_t max_streams = 128;             // of one HTTP/2 connection at once
  Milliseconds stall_timeout{30000};           // a side that neither sends nor takes what is due is cut off
  std::uint32_t outlier_failures = 5;          // in a row before an endpoint is left out
  Milliseconds outlier_ejection{30000};        // for so long
  Outside outside;
};

struct IngressSettings {
  Node node;
  Resources resources;
  Ingress ingress;
  Limits limits;
  Audit audit;
  Admin admin;
};

// `path` is named in errors; load_* read it, parse_* take the text (for tests).
Result<AgentSettings> load_agent(const std::string& path);
Result<GatewaySettings> load_gateway(const std::string& path);
Result<IngressSettings> load_ingress(const std::string& path);
Result<AgentSettings> parse_agent(std::string_view yaml, const std::string& path);
Result<GatewaySettings> parse_gateway(std::string_view yaml, const std::string& path);
Result<IngressSettings> parse_ingress(std::string_view yaml, const std::string& path);

}  // namespace sluice::settings
