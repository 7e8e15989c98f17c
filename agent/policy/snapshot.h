// The compiled policy: immutable, shared by all threads, replaced as a whole. Deciding is a pure function of a snapshot
// and a request.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "policy/reason.h"
#include "policy/service.h"

namespace sluice {

// What the first bytes of a connection were. `none`: nobody looked (a server-first service by address).
enum class Sniffed : std::uint8_t { none, tls, http, opaque };

// The facts about one call.
struct Request {
  std::string_view pod_namespace;
  IpAddress destination;       // as the pod dialled it
  std::uint16_t port = 0;      // as the pod dialled it
  Sniffed sniffed = Sniffed::none;
  std::string_view host;       // SNI or Host, normalised (lower case, no trailing dot, no port); empty when there is none
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
  // True: any address may be dialled on this port and the agent decides by name. False: only `addresses`.
  bool any_address = false;
  std::vector<Cidr> addresses;
};

class Snapshot {
 public:
  // Compiles `services`, whose order does not matter. The result is complete: nothing is computed lazily.
  static std::shared_ptr<const Snapshot> compile(std::vector<Service> services);

  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  // May a pod of `request.pod_namespace` make this call? Host precedence is Istio's: exact before wildcard, then the
  // longest wildcard, then the oldest service. A service not exported to the namespace is passed over; the reason is
  // `not_exported` when only such services match. TLS is matched by SNI against HTTPS and TLS ports, HTTP by Host
  // against HTTP, HTTP2 and GRPC ports; TCP and MONGO ports by address and, without addresses, by port alone. A TCP
  // port never captures TLS or HTTP of other hosts on a port where names are registered.
  Verdict decide(const Request& request) const;

  Inspection inspect(std::string_view pod_namespace, const IpAddress& destination, std::uint16_t port) const;

  // Every registered TCP port once, ascending.
  std::vector<PortRule> port_rules() const;

  const std::vector<Service>& services() const;
  std::size_t host_count() const;
  // Bytes used by the lookup structure, without the services themselves.
  std::size_t index_bytes() const;

 private:
  struct Index;
  explicit Snapshot(std::vector<Service> services);
  std::unique_ptr<const Index> index_;
};

}  // namespace sluice
