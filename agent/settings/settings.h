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
  std::string name;                          // default: the host name
  unsigned threads = 1;                      // 1..64 event loops
  std::string bpffs = "/sys/fs/bpf/sluice";  // where programs, links and maps are pinned (agent)
  std::string cgroup;              // cgroup2 directory for process identity; empty: the root of the cgroup2 mount
  std::string log_level = "info";  // debug, info, warning, error
};

// resources:
struct Resources {
  std::vector<std::string> files;  // files or directories (*.yaml, *.yml, not recursive), watched
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
                                     // which only the agent may call; egress.gateway.address is added
  std::vector<UdpAllow> udp_allow;
  bool inbound_replies = true;  // answers of pods to connections that were opened from outside pass
};

enum class Transport : std::uint8_t { raw, proxy };
enum class Mode : std::uint8_t { enforce, audit };
enum class EchPolicy : std::uint8_t { allow, deny };

// egress.gateway:
struct GatewayTarget {
  IpAddress address;
  std::uint16_t port = 0;  // 0: the port of the call (raw only)
  Transport transport = Transport::proxy;
};

// egress:
struct Egress {
  Mode mode = Mode::enforce;
  std::vector<std::string> audit_namespaces;  // these are in mode audit whatever `mode` says
  GatewayTarget gateway;                      // required: "ADDRESS[:PORT]" and transport
  EchPolicy ech = EchPolicy::allow;
};

// identity.pods[]: until Kubernetes tells. At least one of addresses and interface; the other is found by the node's
// routes.
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
  std::uint32_t denials_per_second = 20;   // deny records a pod may cause a second; the rest is counted in one record
  Milliseconds first_bytes_timeout{5000};  // to a complete ClientHello or HTTP head, from accept
  Milliseconds http_idle_timeout{60000};   // between requests of one connection
  Milliseconds connect_timeout{3000};
  Milliseconds idle_timeout{3600000};  // no byte either way
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
};

struct AgentSettings {
  Node node;
  Resources resources;
  Interception interception;
  Egress egress;
  std::vector<Pod> pods;  // identity.pods
  Limits limits;
  Audit audit;
  Admin admin;
};

// gateway.listen[]: {address: "0.0.0.0:15443", transport: proxy}
struct Listen {
  Endpoint address;
  Transport transport = Transport::proxy;
  std::uint16_t service_port = 0;  // raw only: the registered port that calls mean; default: the listener's own
};

// gateway:
struct Gateway {
  std::vector<Listen> listen;         // required, at least one
  std::vector<Endpoint> resolvers;    // DNS servers, "10.0.0.10:53"; empty: those of /etc/resolv.conf
  std::vector<Cidr> forbidden_cidrs;  // refused as resolved addresses besides the special-purpose ranges
  std::vector<Cidr> permitted_cidrs;  // special-purpose ranges that names may resolve to after all
};

struct GatewaySettings {
  Node node;
  Resources resources;
  Gateway gateway;
  Limits limits;
  Audit audit;
  Admin admin;
};

// `path` is named in errors; load_* read it, parse_* take the text (for tests).
Result<AgentSettings> load_agent(const std::string& path);
Result<GatewaySettings> load_gateway(const std::string& path);
Result<AgentSettings> parse_agent(std::string_view yaml, const std::string& path);
Result<GatewaySettings> parse_gateway(std::string_view yaml, const std::string& path);

}  // namespace sluice::settings
