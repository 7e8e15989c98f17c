#include "serving/cluster_feed.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <utility>

namespace sluice::serving {
namespace {

// The API server tells of each object by itself: a burst of changes is one.
constexpr std::chrono::milliseconds settle_time{10};

}  // namespace

Result<std::unique_ptr<ClusterFeed>> ClusterFeed::start(boost::asio::io_context& control,
                                                        const settings::Kubernetes& settings,
                                                        const sources::ClusterWants& wants, Publish publish) {
  std::unique_ptr<ClusterFeed> feed(new ClusterFeed(control, std::move(publish)));
  auto source =
      sources::ClusterSource::start(feed->reading_, settings, wants, [raw = feed.get()] { raw->look_soon(); });
  if (!source) return source.error().in("resources");
  feed->source_ = *std::move(source);
  feed->thread_ = std::thread([raw = feed.get()] { raw->read(); });
  return feed;
}

ClusterFeed::ClusterFeed(boost::asio::io_context& control, Publish publish)
    : control_(control), publish_(std::move(publish)), settle_(reading_) {}

ClusterFeed::~ClusterFeed() {
  reading_.stop();
  if (thread_.joinable()) thread_.join();
}

void ClusterFeed::want_secrets(std::set<std::string> names) {
  boost::asio::post(reading_, [this, names = std::move(names)] { source_->want_secrets(names); });
}

void ClusterFeed::read() {
  const auto work = boost::asio::make_work_guard(reading_);
  while (!reading_.stopped()) {
    try {
      reading_.run();
    } catch (const std::exception& error) {
      // What was read before stays in force; the next change is another try.
      spdlog::error("reading the cluster: {}", error.what());
    }
  }
}

void ClusterFeed::look_soon() {
  if (settling_) return;
  settling_ = true;
  settle_.expires_after(settle_time);
  settle_.async_wait([this](const boost::system::error_code& error) {
    settling_ = false;
    if (error) return;
    boost::asio::post(control_, [this, cluster = source_->look()]() mutable { take(std::move(cluster)); });
  });
}

void ClusterFeed::take(sources::Cluster cluster) {
  const auto& before = current_.wrong;
  for (const auto& line : cluster.wrong) {
    if (std::find(before.begin(), before.end(), line) == before.end()) spdlog::error("{}", line);
  }
  current_ = std::move(cluster);
  publish_(current_);
}

}  // namespace sluice::serving
