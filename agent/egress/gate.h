// The gate's half in the agent: upcalls in, verdicts out. Everything that is not open yet is here; what is open is the
// kernel's alone, and is looked at again when policy changes, when it ends, and when it falls silent.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "egress/gated_call.h"
#include "egress/node.h"
#include "identity/pod.h"
#include "kernel/flows.h"
#include "net/injection.h"
#include "policy/snapshot.h"
#include "serving/fd_watch.h"
#include "serving/live.h"
#include "serving/worker.h"

namespace sluice::egress {

// Belongs to the worker's thread, but for what says otherwise.
class Gate {
 public:
  // On `worker`, which is not started yet. Reads upcalls from its first turn on. `gateway_failed` is called on the
  // worker's thread when an address did not answer.
  Gate(const Node& node, serving::Worker& worker, kernel::Flows& flows, net::Injector injector,
       std::function<void()> gateway_failed);

  // From any thread.
  void set_pods(std::shared_ptr<const identity::PodTable> pods);
  // From any thread: open flows that `snapshot` does not allow any more, or not this way, are cut.
  void adopt(std::shared_ptr<const Snapshot> snapshot);
  // From any thread: what is open, as far as the kernel knows it.
  static std::vector<serving::Flow> flows(const kernel::Flows& flows, const identity::PodTable& pods);

 private:
  struct Held {
    kernel::UpcallKind kind;
    kernel::FlowKey key;
    std::vector<std::uint8_t> frame;
  };
  // Upcalls of one pod's interface that wait for their turn.
  struct Queue {
    std::deque<Held> waiting;
    bool in_turn = false;
  };

  void read();
  void take(const kernel::Upcall& upcall);
  void serve_soon();
  void serve();
  void handle(const Held& held);
  void handle_late(const kernel::FlowKey& key);
  void handle_refused(const kernel::FlowKey& key);
  GatedCall* find_call(const kernel::FlowKey& key);
  void finish_if_done(std::uint64_t id);
  void end(const kernel::FlowKey& key);
  void record_end(const kernel::Flow& flow, std::string_view why);
  void cut(const kernel::Flow& flow, std::string_view why);
  void recheck();
  bool is_still_allowed(const kernel::Flow& flow) const;
  void note_failure(const kernel::Flow& flow);

  void tick();
  void sweep(std::uint64_t now_ns);

  GateDesk desk_;
  serving::Worker& worker_;
  net::Injector injector_;
  std::function<void()> gateway_failed_;
  boost::asio::steady_timer clock_;
  std::optional<serving::FdWatch> readable_;
  std::unordered_map<unsigned, Queue> queues_;
  std::deque<unsigned> turns_;  // interfaces with waiting upcalls, each once
  bool serving_ = false;
  std::unordered_map<std::uint64_t, std::unique_ptr<GatedCall>> calls_;
  std::uint64_t next_sweep_ns_ = 0;
};

}  // namespace sluice::egress
