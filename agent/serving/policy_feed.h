// Policy from its source to those who decide: read, compile, hand out; again whenever the source changes.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "policy/snapshot.h"
#include "resources/registry.h"
#include "serving/fd_watch.h"
#include "settings/settings.h"
#include "sources/file_source.h"
#include "sources/kube_source.h"

namespace sluice::serving {

// Belongs to the control loop's thread. Reading and compiling go on in a thread of their own, so that large resources
// never hold up the heartbeat.
class PolicyFeed {
 public:
  // Called with every new snapshot, on the control loop.
  using Publish = std::function<void(std::shared_ptr<const Snapshot>)>;

  // Reads everything once, compiles it as seen from `vantage`, and publishes before it returns; what the API server has
  // is published when all of it was read.
  static Result<std::unique_ptr<PolicyFeed>> start(boost::asio::io_context& control,
                                                   const settings::Resources& settings, Vantage vantage,
                                                   Publish publish);
  ~PolicyFeed();
  PolicyFeed(const PolicyFeed&) = delete;
  PolicyFeed& operator=(const PolicyFeed&) = delete;

  // Null before the first one.
  const Snapshot* snapshot() const { return current_.snapshot.get(); }
  // Counts the snapshots, from 1.
  std::uint64_t generation() const { return generation_; }
  // What is wrong with the resources now; objects with errors are in force as they last were good.
  const std::vector<resources::Problem>& problems() const { return current_.problems; }

 private:
  struct Policy {
    std::shared_ptr<const Snapshot> snapshot;  // null: as before
    std::vector<resources::Problem> problems;
  };

  PolicyFeed(boost::asio::io_context& control, Vantage vantage, Publish publish);

  Status open_source(const settings::Resources& settings);

  // On the reading thread.
  void follow();
  void watch_files();
  void notice_changes();
  void read_after(std::chrono::milliseconds delay);
  void read_and_post();
  Policy read_files(bool even_unchanged);
  Policy read_kubernetes();

  // On the control loop.
  void take(Policy policy);

  boost::asio::io_context& control_;
  Publish publish_;
  Policy current_;
  std::uint64_t generation_ = 0;

  // The reading thread's own.
  const Vantage vantage_;
  boost::asio::io_context reading_{1};
  boost::asio::steady_timer settle_;
  bool settling_ = false;
  std::chrono::steady_clock::time_point next_reading_;  // of the API server's objects, at the earliest
  // One of the two.
  std::unique_ptr<sources::FileSource> files_;
  std::unique_ptr<sources::KubeSource> kubernetes_;
  std::optional<FdWatch> watch_;
  std::thread thread_;
};

}  // namespace sluice::serving
