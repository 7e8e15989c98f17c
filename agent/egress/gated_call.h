// One connection of a pod in the gate, while it is not open yet: its held bytes, the verdict, and what is sent in the
// pod's place until the gateway has it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "egress/held_stream.h"
#include "egress/node.h"
#include "identity/pod.h"
#include "kernel/flows.h"
#include "net/injection.h"
#include "observe/audit.h"
#include "policy/snapshot.h"
#include "relay/first_bytes.h"
#include "serving/upstreams.h"
#include "wire/tcp_segment.h"

namespace sluice::egress {

// What the connections of the gate share. It belongs to one thread.
struct GateDesk {
  const Node& node;
  kernel::Flows& flows;
  net::Injector& injector;
  std::shared_ptr<const Snapshot> snapshot;  // null until the first policy came
  std::shared_ptr<const identity::PodTable> pods;
};

// Sends RST for a flow, with the numbers that each side expects.
void reset_gateway(GateDesk& desk, const kernel::Flow& flow);
void reset_pod(GateDesk& desk, const kernel::Flow& flow);

// The record of a flow that was judged, from what the kernel keeps of it: without what only its open record says.
observe::Record record_of(const GateDesk& desk, const kernel::Flow& flow);
std::string format_audit_id(const kernel::AuditId& id);

class GatedCall {
 public:
  GatedCall(GateDesk& desk, const kernel::Flow& flow);

  // A frame of it that was held. What is not TCP of it is ignored.
  void take(ByteSpan frame);
  // Its handshake is complete.
  void ask(ByteSpan frame);
  // The address that was tried does not answer: another one is, a bounded number of times, or the call is denied. The
  // time of the last try is dialled_ns().
  void dial_next(std::string_view failure);
  std::uint64_t dialled_ns() const { return dialled_ns_; }
  // Denied for want of time, or of a gateway.
  void time_out();
  void refuse_gateway(std::string_view detail);
  // It is over without a verdict.
  void end(const kernel::Flow& flow);

  // Looks whether the gateway has everything, and sends again what it does not acknowledge in time; a pod that has sent
  // what its window allows and waits is told that it came. To be called every few milliseconds.
  void keep_going(std::uint64_t now_ns);
  // Nothing is left to do for it.
  bool is_done() const { return phase_ == Phase::done; }

 private:
  enum class Phase : std::uint8_t { holding, sending, done };

  bool identify();
  void take_promise();
  void refresh();
  void look();
  void judge(Sniffed sniffed);
  void note_success(std::size_t gateway);
  std::optional<serving::Refusal> decide(Sniffed sniffed);
  std::optional<serving::Refusal> allow(Sniffed sniffed);
  void deny(Sniffed sniffed, const serving::Refusal& refusal);
  void answer_pod(Sniffed sniffed, const serving::Refusal& refusal);
  void record_denied(const serving::Refusal& refusal);
  void note(const relay::FirstBytes& first);
  void inject();
  void acknowledge();
  void send(wire::TcpSegment segment);

  GateDesk& desk_;
  kernel::Flow flow_;
  HeldStream stream_;
  wire::TcpSegment newest_;  // of the pod, without payload: its numbers, options and addresses
  bool seen_ = false;        // newest_ is there
  bool fin_ = false;         // the pod has ended its half
  std::size_t looked_at_ = 0;
  Phase phase_ = Phase::holding;
  observe::Record record_;
  std::string host_;
  std::string pod_namespace_;
  const Labels* pod_labels_ = nullptr;
  std::shared_ptr<const identity::PodTable> pods_;  // keeps pod_labels_
  std::vector<std::uint8_t> header_;
  std::size_t approved_ = 0;      // bytes of the stream
  std::uint32_t acknowledged_;    // to the pod, of what is held
  std::uint64_t changed_ns_ = 0;  // when more was held
  std::uint64_t due_ns_ = 0;      // of the next repetition
  std::uint64_t look_ns_ = 0;     // before it: of the next look
  std::uint64_t wait_ns_ = 0;
  unsigned attempts_ = 0;
  unsigned dials_ = 1;
  std::uint64_t dialled_ns_;
  std::optional<kernel::Promise> promise_;  // of a predecessor
};

}  // namespace sluice::egress
