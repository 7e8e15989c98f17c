// The audit log: JSON Lines with a hash chain. Two records a connection (open, close); a denied call has one.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/ip.h"
#include "base/result.h"
#include "policy/reason.h"
#include "settings/settings.h"

namespace sluice::observe {

enum class Event : std::uint8_t { open, request, close, deny, recovered, checkpoint, start, stop, drops };
enum class Decision : std::uint8_t { allow, deny, would_deny };

struct PodFacts {
  std::string namespace_name;
  std::string name;
  std::string uid;
  std::string service_account;
};

struct ProcessFacts {
  std::int32_t pid = 0;  // 0: unknown, and the object is left out of the record
  std::string comm;
  std::string exe;
  std::uint64_t cgroup_id = 0;
};

struct HttpFacts {
  std::string method;
  std::string host;
  std::string path;
};

// One record. Empty text, zero and nullopt fields are left out of the line.
struct Record {
  Event event = Event::open;
  std::string id;  // one a connection: the same in its records, and in the gateway's by the PROXY header
  std::optional<PodFacts> pod;
  ProcessFacts process;
  std::optional<Endpoint> source;
  std::optional<Endpoint> destination;
  std::string protocol;  // "tls", "http", "tcp", "udp", "icmp", "ip/<n>"
  std::string sni;
  std::vector<std::string> alpn;
  std::vector<std::string> tls_versions;
  std::string ja4;
  bool ech = false;
  std::optional<HttpFacts> http;
  std::optional<Decision> verdict;
  std::optional<Reason> reason;
  std::string detail;  // for people: what exactly was wrong, e.g. "second Host field"
  std::string rule;
  std::string route;
  std::string gateway;
  std::string upstream;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::optional<double> duration_ms;
  std::string datapath;      // "gate", "relay" or "kernel"
  std::string close_reason;  // "finished", "client_reset", "upstream_reset", "idle", "policy_changed", ...
  std::uint64_t count = 1;   // over 1: this record stands for so many calls
};

}  // namespace sluice::observe
