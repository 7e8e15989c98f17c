// The kernel half: loads, pins and feeds the BPF programs, and reads what they say. The only user of libbpf and
// bpf/abi.h. Programs, links and maps are pinned below `bpffs`, so enforcement outlives this process; a new process
// takes over what is pinned without a gap (links are updated in place, maps of the same ABI are reused, another ABI is
// refused by name).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "kernel/flows.h"
#include "kernel/owner.h"
#include "policy/reason.h"
#include "policy/snapshot.h"

namespace sluice::kernel {

struct Options {
  std::string
      bpffs;  // directory of the pins; created when its parent is a bpffs; a bpffs is mounted when there is none
  std::string cgroup;    // cgroup2 directory for identity hooks; empty: no process identity
  bool release = false;  // nothing is enforced from here on: only flows are gated, those that there are
};

// What from_pod knows of a pod interface.
struct PodInterface {
  std::vector<IpAddress>
      addresses;       // at most SLUICE_POD_ADDRESSES; empty: the pod is not known yet, only internal passes
  bool audit = false;  // mode audit: nothing of it is refused, would-be denials are events
};

struct UdpRule {
  Cidr addresses;
  std::uint16_t port = 0;
};

// One refusal by number, made in the kernel.
struct Denial {
  unsigned ifindex = 0;  // of the pod; 0: not known
  Endpoint source;       // ports are 0 for other protocols than TCP and UDP
  Endpoint destination;
  std::uint8_t protocol = 0;  // IP protocol number; 255: not IP
  Reason reason = Reason::protocol_not_allowed;
  bool audit = false;          // the packet passed (mode audit)
  bool guard = false;          // refused at an uplink: it had got past the pod's own interface
  std::optional<Owner> owner;  // when the socket was connect()ed
};

// Refusals that no event told: the pod's event budget was spent, the ring was full or nobody read it.
struct DenialCount {
  unsigned ifindex = 0;
  Reason reason = Reason::protocol_not_allowed;
  std::uint64_t count = 0;  // since the last time it was taken
};

// How many flows there may be at once, and begin in a second, with bursts of one second's worth.
struct FlowLimits {
  std::uint32_t flows = 0;
  std::uint32_t flows_per_pod = 0;
  std::uint32_t flows_per_second = 0;
  std::uint32_t flows_per_second_per_pod = 0;
};

// What is registered on a port, and which way its calls take.
struct PortEntry {
  PortRule rule;
  bool gated = false;   // by the gate, where gateway number `gateway` has addresses (Flows::set_gateway)
  bool opaque = false;  // gated: its servers may speak first, so the agent is asked at the handshake
  std::uint32_t gateway = 0;
};

enum class InterfaceRole : std::uint8_t { pod, uplink, other };

struct AttachedInterface {
  unsigned ifindex = 0;
  std::string name;
  InterfaceRole role = InterfaceRole::other;
};

// One owner calls it; only beat() and take_owner() may be called from any thread.
class Interception {
 public:
  // In the network namespace of the calling thread. The programs of a predecessor are replaced by this process's at
  // once; its interfaces (see attached()), ports and pods stay in force until they are set anew. Refused while another
  // process uses the same pins.
  static Result<std::unique_ptr<Interception>> open(const Options& options);
  ~Interception();  // leaves everything pinned in force

  // Attaching is idempotent. A pod interface gets from_pod and to_pod, an uplink the guard; an interface has the role
  // it got last. One that is replaced by another of the same number starts without what set_pod() said of the old one.
  Status attach_pod(unsigned ifindex, const std::string& name);
  Status attach_uplink(unsigned ifindex, const std::string& name);
  // One of the node's own, that is no pod's: what it brings may be a gateway's. Nothing is attached to it. Of an
  // interface that was given no role at all nothing is believed.
  Status note_other(unsigned ifindex, const std::string& name);
  // Detaches, and removes what is known of the interface, which may be gone already. Its counts can still be taken.
  Status forget(unsigned ifindex);
  // Those of a predecessor included, by their present names, until they are forgotten.
  std::vector<AttachedInterface> attached() const;

  Status set_pod(unsigned ifindex, const PodInterface& pod);
  // Destinations that pass untouched: `internal` without `except`; the longest prefix counts.
  Status set_internal(const std::vector<Cidr>& internal, const std::vector<Cidr>& except);
  // Takes effect with the first set_ports(), then at once.
  Status set_udp_rules(const std::vector<UdpRule>& rules);
  Status set_inbound_replies(bool allowed);
  // Replaces the table of ports as a whole, without a moment of neither. When it does not fit, the old one stays.
  Status set_ports(const std::vector<PortEntry>& entries);
  // New flows of the gate beyond that are refused.
  Status set_flow_limits(const FlowLimits& limits);
  // Listening transparent sockets, one a thread and family; sk_lookup spreads connections over them. As many of each
  // family, or none of one, whose connections are refused then. A socket that is closed leaves by itself.
  Status set_listeners(std::span<const int> v4, std::span<const int> v6);

  // The interface by which the agent sends for flows, `net::make_injection_link()`.
  Status attach_helper(unsigned ifindex);
  Flows& flows();

  // The heartbeat: without one for 3 s, or without listeners, new connections are refused by the programs.
  void beat();

  // Readable when denials wait.
  int events_fd() const;
  // Calls `each` for those waiting, at most `limit`; returns how many.
  std::size_t read_denials(std::size_t limit, const std::function<void(const Denial&)>& each);
  // Takes the counts of denials without an event.
  std::vector<DenialCount> take_counts();

  // Who opened the TCP connection source -> destination, as the pod dialled it; nullopt when unknown. To be asked once,
  // when the connection is accepted: the kernel forgets it then.
  std::optional<Owner> take_owner(const Endpoint& source, const Endpoint& destination) const;

 private:
  struct State;
  explicit Interception(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The packet mark by which the routing rule delivers relayed connections locally (see bpf/abi.h).
struct RelayMark {
  std::uint32_t value;
  std::uint32_t mask;
};
RelayMark relay_mark();

// Removes every pin, and with them every program, link and map. Fine when there is nothing.
Status detach(const std::string& bpffs);

}  // namespace sluice::kernel
