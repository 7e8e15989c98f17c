// The cluster from the API server to those who ask for it: read in a thread of its own, so that neither a large list
// nor the compiling of policy holds up who is who.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "settings/settings.h"
#include "sources/cluster_source.h"

namespace sluice::serving {

// Belongs to the control loop's thread.
class ClusterFeed {
 public:
  // On the control loop, with what is known now.
  using Publish = std::function<void(const sources::Cluster&)>;

  static Result<std::unique_ptr<ClusterFeed>> start(boost::asio::io_context& control,
                                                    const settings::Kubernetes& settings,
                                                    const sources::ClusterWants& wants, Publish publish);
  ~ClusterFeed();
  ClusterFeed(const ClusterFeed&) = delete;
  ClusterFeed& operator=(const ClusterFeed&) = delete;

  // See sources::ClusterSource.
  void want_secrets(std::set<std::string> names);

  const sources::Cluster& current() const { return current_; }

 private:
  ClusterFeed(boost::asio::io_context& control, Publish publish);

  // On the reading thread.
  void read();
  void look_soon();

  // On the control loop.
  void take(sources::Cluster cluster);

  boost::asio::io_context& control_;
  Publish publish_;
  sources::Cluster current_;

  // The reading thread's own.
  boost::asio::io_context reading_{1};
  boost::asio::steady_timer settle_;
  bool settling_ = false;
  std::unique_ptr<sources::ClusterSource> source_;
  std::thread thread_;
};

}  // namespace sluice::serving
