// One connection of a pod in the gate, while it is not open yet: its held bytes, the verdict, and what is sent in the
// pod's place until the gateway has it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "egress/gate_desk.h"
#include "egress/held_stream.h"
#include "identity/pod.h"
#include "kernel/flows.h"
#include "observe/audit.h"
#include "policy/snapshot.h"
#include "relay/first_bytes.h"
#include "serving/upstreams.h"
#include "wire/tcp_segment.h"

namespace sluice::egress {

// The last record of a flow that was judged, from what the kernel keeps of it: without what only its open record says.
observe::Record close_record(const GateDesk& desk, const kernel::Flow& flow, std::string_view host,
                             std::string_view why);
// Why a flow ended by itself.
std::string_view close_reason(kernel::FlowEnd end);

class GatedCall final : private Judged {
 public:
  // `first`: nobody has seen anything of it. Else a predecessor may have judged it, and been interrupted.
  GatedCall(GateDesk& desk, const kernel::Flow& flow, bool first);
  GatedCall(const GatedCall&) = delete;
  GatedCall& operator=(const GatedCall&) = delete;

  // A frame of it that was held, as part of `upcall`. What is not TCP of it is ignored.
  void take(const kernel::Upcall& upcall);
  // Its handshake is complete. Where its server may speak first it is judged by judge_asked(), with what it has sent
  // until then, or by that: bytes that were held before a verdict reach the gateway with it, and the pod repeats
  // others.
  void ask(const kernel::Upcall& upcall);
  void judge_asked();
  // The address that was tried does not answer: another one is, a bounded number of times, or the call is denied. The
  // time of the last try is dialled_ns().
  void dial_next(std::string_view failure);
  std::uint64_t dialled_ns() const { return dialled_ns_; }
  // Denied because nobody will judge it.
  void abandon();
  // Denied for want of time, or of a gateway.
  void time_out();
  void refuse_gateway(std::string_view detail);
  // It is over, as `flow` says. `owner`, if known, opened it.
  void end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner);

  // Looks whether it is known by now who calls, and whether the gateway has everything, and sends again what it does
  // not acknowledge in time; a pod that has sent what its window allows and waits is told that it came. To be called
  // every few milliseconds.
  void keep_going(std::uint64_t now_ns);
  // Its verdict is carried out at the end of the turn; until then nothing may be asked of it.
  bool is_judged() const { return phase_ == Phase::judged; }
  // Nothing is left to do for it.
  bool is_done() const { return phase_ == Phase::done; }

 private:
  enum class Phase : std::uint8_t {
    holding,
    judged,
    sending,  // what was approved
    ending,   // it ended before its verdict stood: the kernel tells of it
    done,
  };

  void take_over();
  bool identify();
  bool may_be_identified(std::uint64_t now_ns);
  bool meet(const kernel::Upcall& upcall);
  void send_promised();
  void send_header_again();
  void look();
  void judge(Sniffed sniffed);
  std::optional<serving::Refusal> decide(Sniffed sniffed);
  std::optional<serving::Refusal> allow(Sniffed sniffed);
  void deny(Sniffed sniffed, serving::Refusal refusal);
  void settled(Settled how) override;
  void settle_allowed(Settled how);
  void settle_denied(Settled how);
  void answer();
  observe::Record deny_record() const;
  std::size_t header_bytes(const kernel::Flow& flow) const;
  void wait_for_end();
  void look_after(std::uint64_t now_ns);
  void inject();
  void acknowledge();

  GateDesk& desk_;
  kernel::Flow flow_;
  HeldStream stream_;
  wire::TcpSegment newest_;  // of the pod, without payload: its numbers, options and addresses
  bool seen_ = false;        // newest_ is there
  bool fin_ = false;         // the pod has ended its half
  bool unknown_ = false;     // who calls is to be told yet
  bool opened_ = false;      // its open record is written
  bool promised_ = false;    // the kernel may keep what is to be sent
  std::size_t looked_at_ = 0;
  Phase phase_ = Phase::holding;
  observe::Record record_;
  std::string host_;
  std::string pod_namespace_;
  const Labels* pod_labels_ = nullptr;
  std::shared_ptr<const identity::PodTable> pods_;  // keeps pod_labels_
  std::optional<kernel::Owner> owner_;
  Sniffed sniffed_ = Sniffed::none;          // as what it was judged
  std::optional<serving::Refusal> refusal_;  // how it was judged
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
  std::optional<kernel::Promise> promise_;  // of a predecessor, until the pod has repeated what it is about
};

}  // namespace sluice::egress
