// Policy from its sources to those who decide: read, compile, hand out; again whenever a source changes.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "net/socket.h"
#include "policy/snapshot.h"
#include "resources/registry.h"
#include "settings/settings.h"
#include "sources/file_source.h"

namespace sluice::serving {

// Belongs to the control loop's thread.
class PolicyFeed {
 public:
  // Called with every new snapshot, on the control loop.
  using Publish = std::function<void(std::shared_ptr<const Snapshot>)>;

  // Reads everything once and publishes before it returns.
  static Result<std::unique_ptr<PolicyFeed>> start(boost::asio::io_context& context, const settings::Resources& settings,
                                                   Publish publish);

  const Snapshot& snapshot() const { return *snapshot_; }
  std::uint64_t generation() const { return generation_; }
  std::vector<resources::Problem> problems() const { return source_->registry().problems(); }

 private:
  PolicyFeed(boost::asio::io_context& context, std::unique_ptr<sources::FileSource> source, Publish publish);
  net::Task<void> follow();
  void publish_now();

  std::unique_ptr<sources::FileSource> source_;
  boost::asio::posix::stream_descriptor changes_;
  Publish publish_;
  std::shared_ptr<const Snapshot> snapshot_;
  std::uint64_t generation_ = 0;
};

}  // namespace sluice::serving
