// The gate's half in the agent: upcalls in, verdicts out. Everything that is not open yet is here; what is open is the
// kernel's alone, and is looked at again when policy changes, when it ends, and when it falls silent.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "egress/cut.h"
#include "egress/gate_desk.h"
#include "egress/gated_call.h"
#include "egress/gateway_probe.h"
#include "egress/node.h"
#include "identity/pod.h"
#include "kernel/flows.h"
#include "net/injection.h"
#include "policy/snapshot.h"
#include "serving/fd_watch.h"
#include "serving/worker.h"

namespace sluice::egress {

// Belongs to the worker's thread, but for what says otherwise.
class Gate {
 public:
  // On `worker`, which is not started yet. Reads upcalls from its first turn on. `gateway_ejected` is called on
  // the worker's thread when calls are not to go to some address any more.
  Gate(const Node& node, serving::Worker& worker, kernel::Flows& flows, net::Injector injector,
       std::function<void()> gateway_ejected);

  // From any thread.
  void set_pods(std::shared_ptr<const identity::PodTable> pods);
  // From any thread: open flows that `snapshot` does not allow any more, or not this way, are cut.
  void adopt(std::shared_ptr<const Snapshot> snapshot);

 private:
  // Interfaces and what addresses pods have there.
  using Places = std::set<std::pair<unsigned, IpAddress>>;
  // An upcall that waits for its turn, with its frame.
  struct Waiting {
    kernel::Upcall upcall;
    std::vector<std::uint8_t> frame;
  };
  struct Queue {
    std::deque<Waiting> waiting;
    std::size_t bytes = 0;  // of their frames
  };

  void read();
  void read_endings();
  void take_endings(const std::vector<kernel::Upcall>& endings);
  void take(const kernel::Upcall& upcall);
  void serve_soon();
  void serve();
  void handle(const kernel::Upcall& upcall);
  void handle_late(const kernel::Upcall& upcall);
  void handle_refused(const kernel::Upcall& upcall);
  GatedCall* find_call(const kernel::Upcall& upcall);
  void finish_turn();
  void handle_ended(const kernel::Upcall& upcall);
  void look_for_end(const kernel::Upcall& upcall);
  void handle_end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner);
  void end(const kernel::Flow& flow, const std::optional<kernel::Owner>& owner);
  void cut(const kernel::Flow& flow, Cut why);
  void recheck();
  void cut_orphans(const Places& gone);
  bool is_still_allowed(const kernel::Flow& flow) const;
  void take_over();
  void forget_hosts();

  void tick();
  void set_clock(std::chrono::milliseconds time);
  void sweep(std::uint64_t now_ns);
  bool is_quiet(std::uint64_t now_ns) const;

  GateDesk desk_;
  serving::Worker& worker_;
  net::Injector injector_;
  GatewayProbe probe_;
  boost::asio::steady_timer clock_;
  bool slow_ = false;  // clock_ is
  std::optional<serving::FdWatch> readable_;
  std::unordered_map<unsigned, Queue> queues_;  // of each pod's interface that has any
  std::deque<unsigned> turns_;                  // these interfaces
  bool serving_ = false;
  std::unordered_map<std::uint64_t, std::unique_ptr<GatedCall>> calls_;
  std::vector<std::uint64_t> handled_;       // flows of this turn
  std::vector<std::uint64_t> asked_;         // of them: to be judged in the next turn
  std::unordered_set<std::uint64_t> ended_;  // of them: their last record is to be written
  // Whose ends were looked up since the last sweep, and the one before it: what tells of them may be on its way.
  std::unordered_set<std::uint64_t> found_;
  std::unordered_set<std::uint64_t> found_before_;
  Places places_;              // of pods
  std::uint64_t busy_ns_ = 0;  // when the last upcall came
  std::size_t taken_ = 0;      // upcalls since memory was given back
  std::uint64_t next_sweep_ns_ = 0;
  std::uint64_t past_until_ns_ = 0;
};

}  // namespace sluice::egress
