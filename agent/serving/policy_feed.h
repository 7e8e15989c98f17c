// Policy from its sources to those who decide: read, compile, hand out; again whenever a source changes.
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

namespace sluice::serving {

// Belongs to the control loop's thread. Reading and compiling go on in a thread of their own, so that large resources
// never hold up the heartbeat.
class PolicyFeed {
 public:
  // Called with every new snapshot, on the control loop.
  using Publish = std::function<void(std::shared_ptr<const Snapshot>)>;

  // Reads everything once, compiles it as seen from `vantage`, and publishes before it returns.
  static Result<std::unique_ptr<PolicyFeed>> start(boost::asio::io_context& control,
                                                   const settings::Resources& settings, Vantage vantage,
                                                   Publish publish);
  ~PolicyFeed();
  PolicyFeed(const PolicyFeed&) = delete;
  PolicyFeed& operator=(const PolicyFeed&) = delete;

  const Snapshot& snapshot() const { return *current_.snapshot; }
  // Counts the snapshots, from 1.
  std::uint64_t generation() const { return generation_; }
  // What is wrong with the resources now; objects with errors are in force as they last were good.
  const std::vector<resources::Problem>& problems() const { return current_.problems; }

 private:
  struct Policy {
    std::shared_ptr<const Snapshot> snapshot;  // null: as before
    std::vector<resources::Problem> problems;
  };

  PolicyFeed(boost::asio::io_context& control, std::unique_ptr<sources::FileSource> source, Vantage vantage,
             Publish publish);

  // On the reading thread.
  void follow();
  void watch_source();
  void notice_changes();
  void read_after(std::chrono::milliseconds delay);
  Policy read(bool even_unchanged);

  // On the control loop.
  void take(Policy policy);

  boost::asio::io_context& control_;
  Publish publish_;
  Policy current_;
  std::uint64_t generation_ = 0;

  // The reading thread's own.
  const Vantage vantage_;
  std::unique_ptr<sources::FileSource> source_;
  boost::asio::io_context reading_{1};
  boost::asio::steady_timer settle_;
  bool settling_ = false;
  std::optional<FdWatch> watch_;
  std::thread thread_;
};

}  // namespace sluice::serving
