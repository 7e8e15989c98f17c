// What both roles stand on: the control loop with its signals and its clock, the audit log, the metrics, the policy and
// the workers, which come and go in the right order here.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "observe/audit.h"
#include "observe/metrics.h"
#include "serving/policy_feed.h"
#include "serving/recorder.h"
#include "serving/status.h"
#include "serving/worker.h"
#include "settings/settings.h"

namespace sluice::serving {

// The settings that both roles have. They outlive the control.
struct RoleSettings {
  std::string role;  // "agent", "gateway"
  std::string version;
  const settings::Node& node;
  const settings::Resources& resources;
  const settings::Limits& limits;
  const settings::Audit& audit;
  const settings::Admin& admin;
};

// What a role does besides. Each is called on the control loop; empty ones are left out.
struct RoleHooks {
  std::function<void()> beat;         // twice a second, while every worker answers
  std::function<void()> each_second;  // before the audit log is looked at
  std::function<void()> drain;        // new connections are to be refused from here on
};

// Belongs to the main thread.
class Control {
 public:
  // Opens the audit log and makes the workers, none of them started.
  static Result<std::unique_ptr<Control>> open(RoleSettings settings);
  ~Control();
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;

  boost::asio::io_context& context() { return context_; }
  Recorder& recorder() { return recorder_; }
  observe::Metrics& metrics() { return metrics_; }
  const std::vector<std::unique_ptr<Worker>>& workers() const { return workers_; }

  // Reads the first policy, as seen from `vantage`, and hands it to the workers, and each one that follows; `publish`
  // gets it too.
  Status read_policy(Vantage vantage, PolicyFeed::Publish publish);

  // Starts the workers and serves until SIGTERM or SIGINT; then drains: listeners close, open connections get a few
  // seconds to end, what is left is cut, and every record is written.
  void run(RoleHooks hooks);

  // The parts of a status that both roles have.
  StatusView status() const;
  std::vector<Flow> flows();
  // Why no new connection would be served; nullopt: they are.
  std::optional<std::string> not_ready() const;

 private:
  Control(RoleSettings settings, std::unique_ptr<observe::AuditLog> audit);

  void start_workers();
  void await_hangup();
  void await_end();
  void tick();
  void look_at_workers();
  void do_each_second();
  void begin_drain();
  void await_drained();
  void finish();
  void note_event(observe::Event event);
  std::size_t count_live();

  const RoleSettings settings_;
  const std::uint64_t started_ns_;
  std::unique_ptr<observe::AuditLog> audit_;
  observe::Metrics metrics_;
  Recorder recorder_;
  boost::asio::io_context context_{1};
  boost::asio::signal_set hangup_;
  boost::asio::signal_set end_;
  boost::asio::steady_timer clock_;
  boost::asio::steady_timer drain_clock_;
  RoleHooks hooks_;
  std::optional<std::string> stalled_;  // which worker does not answer
  std::uint64_t ticks_ = 0;
  std::uint64_t drain_until_ns_ = 0;  // 0: not draining
  // Behind all that their connections refer to.
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<PolicyFeed> policy_;
};

}  // namespace sluice::serving
