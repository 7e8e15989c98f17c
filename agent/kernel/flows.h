// The flows of the gate: connections that the programs steer to a gateway, what they show of them, and the verdicts
// they obey. A flow is named by its id; every write says which one it is for, and reaches no other that took its ports.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/ip.h"
#include "base/result.h"
#include "kernel/owner.h"
#include "kernel/ring.h"
#include "kernel/table.h"

struct gate_bpf;
struct sluice_flow;
struct sluice_end_of_flow;
struct sluice_gateway;
struct sluice_host;
struct sluice_load;
struct sluice_piece;
struct sluice_promise;
struct sluice_syn;
struct sluice_tuple;
struct sluice_verdict;

namespace sluice::kernel {

// As the pod dialled it.
struct FlowKey {
  std::uint64_t id = 0;
  Endpoint source;
  Endpoint destination;
};

// In the order in which a flow goes through them, as far as it does (bpf/abi.h says what each means).
enum class FlowState : std::uint8_t { opening = 1, held, judging, allowed, open, denied, ended, collected, gone };
enum class FlowEnd : std::uint8_t { none, finished, client_reset, upstream_reset, replaced, cut };

using AuditId = std::array<std::uint64_t, 2>;

struct Flow {
  FlowKey key;
  FlowState state = FlowState::opening;
  FlowEnd end = FlowEnd::none;
  bool client_fin = false;   // the pod has ended its half
  bool was_allowed = false;  // now or before it ended
  bool recorded = false;     // denied: the kernel was told that the record is written
  bool reset_again = false;  // ended by the pod, and the gateway may have ignored that
  unsigned ifindex = 0;      // of the pod's interface
  Endpoint gateway;
  std::uint16_t source_port = 0;  // towards the gateway
  std::uint32_t gateway_number = 0;
  std::uint64_t cookie = 0;      // of the pod's socket; 0: unknown
  AuditId audit{};               // of its records
  std::uint64_t host = 0;        // see Flows::host()
  std::uint8_t note = 0;         // of who judged it
  std::uint8_t why = 0;          // denied: the same
  std::uint64_t began_ns = 0;    // monotonic
  std::uint64_t seen_ns = 0;     // the last packet, to about a second
  std::uint64_t bytes_sent = 0;  // by the pod
  std::uint64_t bytes_received = 0;
  // Sequence numbers as the pod sees them.
  std::uint32_t pod_first = 0;      // of its first byte
  std::uint32_t pod_next = 0;       // after its last byte that passed
  std::uint32_t pod_acked = 0;      // by the gateway
  std::uint32_t gateway_next = 0;   // after the gateway's last byte that passed
  std::uint32_t gateway_acked = 0;  // by the pod
  std::uint32_t approved = 0;
  std::uint16_t header = 0;                 // bytes before the pod's own, towards the gateway
  std::uint16_t mss = 0;                    // that both take
  std::array<std::uint8_t, 12> ethernet{};  // destination and source, as the pod sends
};

enum class UpcallKind : std::uint8_t {
  held = 1,  // a segment with payload or FIN did not pass; `frame`
  ask,       // the handshake is complete, and the server may speak first; `frame`: the pod's acknowledgement
  refused,   // the gateway answered the SYN with RST
  ended,
  late,  // found by sweep(): too long in its state
};
struct Upcall {
  UpcallKind kind = UpcallKind::held;
  bool first = false;  // nothing was shown of this flow before, so nobody has judged what it sent
  Flow flow;           // when the upcall was made
  std::optional<Owner> owner;
  ByteSpan frame;  // as far as it was copied; good during the call only
};

// What is to become of a flow.
struct Verdict {
  enum class Kind : std::uint8_t {
    allow,    // it was held: what was approved comes from the agent, and then everything passes
    deny,     // nothing passes any more
    reroute,  // it is opening: its next SYN goes to another address of its gateway
    collect,  // it was denied or has ended, and its record is written: it goes when nothing late can come any more
  };
  Kind kind = Kind::deny;
  FlowKey key;
  // Of allow, and of deny where nobody judged the flow before: what is kept for its last record.
  std::uint64_t host = 0;
  std::uint8_t note = 0;
  std::uint32_t approved = 0;             // allow: sequence number after what was approved
  std::uint16_t header = 0;               // allow: bytes before that
  std::array<std::uint8_t, 32> digest{};  // allow: SHA-256 of what was approved
  std::uint8_t why = 0;                   // deny
  bool done = false;                      // out; false: it is not the one any more, or not in a state for that
  bool no_room = false;                   // out, allow: not done, because its promise cannot be kept
};

// What is sent for a flow that was allowed: kept from its verdict until the gateway has all.
struct Promise {
  std::vector<std::uint8_t> header;
  std::uint32_t approved = 0;
  std::array<std::uint8_t, 32> digest{};
};
// A header that is to be promised with a verdict.
struct FlowHeader {
  std::uint64_t flow_id = 0;
  ByteSpan bytes;
};
inline constexpr std::size_t max_promised_header_bytes = 2560;

// How long a flow may be in its state, nanoseconds. Late ones come as upcalls, each sweep again.
struct FlowPatience {
  std::uint64_t opening = 0;
  std::uint64_t held = 0;
  std::uint64_t allowed = 0;
  std::uint64_t idle = 0;
  std::uint64_t answer = 0;  // of TLS, until the first byte of the answer
  std::uint64_t ended = 0;   // after its last packet: denied and collected ones, which go then
};
struct Swept {
  std::uint32_t late = 0;
  std::uint32_t undecided = 0;
  std::uint32_t flows = 0;
};

// What the kernel keeps of flows, for whoever looks.
class FlowEntries {
 public:
  FlowEntries(Table<sluice_tuple, sluice_flow> flows, Table<std::uint64_t, sluice_host> hosts)
      : flows_(std::move(flows)), hosts_(std::move(hosts)) {}

  std::vector<Flow> all() const;
  // The name of this number; empty: none, or not known any more.
  std::string host(std::uint64_t number) const;

 protected:
  Table<sluice_tuple, sluice_flow> flows_;
  Table<std::uint64_t, sluice_host> hosts_;
};

// One thread calls it.
class Flows : public FlowEntries {
 public:
  ~Flows();
  Flows(const Flows&) = delete;
  Flows& operator=(const Flows&) = delete;
  static Result<std::unique_ptr<Flows>> open(const gate_bpf& gate);

  // The addresses that flows of gateway number `number` go to; none of a family: its calls are relayed.
  Status set_gateway(std::uint32_t number, const std::vector<Endpoint>& addresses) const;
  // Takes every other one away.
  Status keep_gateways(const std::vector<std::uint32_t>& numbers) const;

  // Readable when upcalls wait.
  int upcalls_fd() const;
  // Calls `each` for those waiting, at most `limit`; returns how many.
  std::size_t read_upcalls(std::size_t limit, const std::function<void(const Upcall&)>& each);
  // The same for those of flows that have ended or are late, which wake nobody. What they sent before stands in the
  // upcalls when these are read afterwards.
  std::size_t read_endings(std::size_t limit, const std::function<void(const Upcall&)>& each);

  // One that another connection replaced has its last totals.
  std::optional<Flow> find(const FlowKey& key) const;
  // How many nobody has judged yet, those that nothing was shown of included.
  std::size_t undecided() const;
  // Those that were replaced and not released yet.
  std::vector<Flow> replaced() const;

  // Carries them out in this order, with one system call for hundreds.
  void judge(std::span<Verdict> verdicts) const;
  bool judge(Verdict verdict) const {
    judge(std::span(&verdict, 1));
    return verdict.done;
  }
  // Its SYN as the pod sent it, a whole frame with a partial checksum; kept while there is another address.
  std::optional<std::vector<std::uint8_t>> syn(std::uint64_t id) const;
  Swept sweep(std::uint64_t now_ns, const FlowPatience& patience) const;

  // Before their verdicts. All or an error; then some may be kept.
  Status keep_headers(std::span<const FlowHeader> headers) const;
  std::optional<Promise> promised(std::uint64_t flow_id) const;
  // Of one with a header of so many bytes, whatever of it is kept.
  void drop_promise(std::uint64_t flow_id, std::size_t header) const;
  // Those of no flow in `flows`.
  void drop_promises_without(const std::unordered_set<std::uint64_t>& flows) const;

  // A number for the name, 0 for the empty one; the same each time.
  Result<std::uint64_t> number_of(const std::string& host);
  // Whether so many names are known that those of no flow should be forgotten.
  bool has_many_hosts() const;
  void forget_hosts_without(const std::unordered_set<std::uint64_t>& used);

 private:
  explicit Flows(const gate_bpf& gate);
  void judge_some(std::span<Verdict> verdicts) const;

  Table<std::uint32_t, sluice_gateway> gateways_;
  Table<std::uint64_t, sluice_end_of_flow> ends_;
  Table<std::uint64_t, sluice_syn> syns_;
  Table<std::uint32_t, sluice_load> loads_;
  Table<std::uint64_t, sluice_promise> promises_;
  Table<std::uint64_t, sluice_piece> pieces_;
  int judge_fd_;
  int sweep_fd_;
  std::span<sluice_verdict> verdicts_;                      // the map's memory
  std::unordered_map<std::string, std::uint64_t> numbers_;  // of what is in hosts_
  std::unique_ptr<Ring> upcalls_;
  std::unique_ptr<Ring> endings_;
};

// The mark by which a frame for flow `id` finds its way from the helper interface.
std::uint32_t injection_mark(std::uint64_t id);

}  // namespace sluice::kernel
