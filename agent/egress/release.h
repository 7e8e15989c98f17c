// Letting go of the node, in the place of an agent: whatever is new passes unenforced, what nobody has judged is cut,
// and open flows of the gate go on until they end or are cut. Removing what is pinned is the caller's, afterwards.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "egress/cut.h"
#include "egress/gate_desk.h"
#include "egress/gated_call.h"
#include "egress/gateway_pool.h"
#include "egress/node.h"
#include "kernel/interception.h"
#include "net/injection.h"
#include "observe/audit.h"
#include "observe/metrics.h"
#include "serving/recorder.h"
#include "settings/settings.h"

namespace sluice::egress {

// The agent's audit log, for the last records of flows.
class ReleaseLog {
 public:
  // `settings` outlive it. Fails while an agent has the log.
  static Result<std::unique_ptr<ReleaseLog>> open(const settings::AgentSettings& settings, const std::string& version);

 private:
  friend class Release;
  ReleaseLog(const settings::AgentSettings& settings, const std::string& version,
             std::unique_ptr<observe::AuditLog> audit);

  const settings::AgentSettings& settings_;
  std::unique_ptr<observe::AuditLog> audit_;
  observe::Metrics metrics_;
  serving::Recorder recorder_;
  GatewayPool gateways_;
  std::shared_ptr<const identity::PodTable> pods_;
};

// Belongs to one thread. Holds the pins as an agent does, for as long as it lives; should it end before all flows have,
// they go on, and everything new still passes, until an agent or another release comes.
class Release {
 public:
  // Takes over the pins in `bpffs`, without a gap for the flows. `log`, which outlives it, may be null: then nothing is
  // recorded. An error: no flow is cut.
  static Result<std::unique_ptr<Release>> open(const std::string& bpffs, ReleaseLog* log);

  // Cuts what is not open yet and records what has ended; how many flows are open still.
  std::size_t look();
  // Cuts all that is open; how many that were.
  std::size_t cut();
  // Records the refusals that were only counted. How many flows have ended, by now, without a record of it.
  std::size_t finish();

 private:
  Release(std::unique_ptr<kernel::Interception> kernel, net::Injector injector, ReleaseLog* log);

  void abandon(const kernel::Flow& flow);
  void end(const kernel::Flow& flow);
  // Writes what was begun when it is much, or `all`.
  void commit(bool all);

  // Of the log.
  struct Records {
    Records(const Node& of, kernel::Flows& flows, net::Injector& injector,
            std::shared_ptr<const identity::PodTable> pods);

    Node node;
    GateDesk desk;
    std::vector<std::unique_ptr<GatedCall>> calls;  // whose verdicts are in the turn
    std::size_t begun = 0;
  };

  std::unique_ptr<kernel::Interception> kernel_;
  net::Injector injector_;
  ReleaseLog* log_;
  std::unique_ptr<Records> records_;  // null without a log
};

}  // namespace sluice::egress
