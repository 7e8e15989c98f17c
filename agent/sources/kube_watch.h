// The watch of one kind at work: asks the API server what kube::Watch says, and hands on what it learns.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "kube/watch.h"
#include "sources/api_connection.h"
#include "sources/api_server.h"

namespace sluice::sources {

// A trouble with the time when it began.
struct Since {
  std::string time;
  std::string why;  // empty: none

  // True when it is another one than before.
  bool update(std::string now);
};

// By which clients of one server do not come in step.
std::uint32_t random_number();

// Belongs to the thread of its io_context. Always shared: what it waits for keeps it.
class KubeWatch : public std::enable_shared_from_this<KubeWatch> {
 public:
  struct Sink {
    // Each change, in order. One that throws comes again.
    std::function<void(kube::Change&)> apply;
    // After changes, which there may be none of, and whenever something else about the watch may be different.
    // `news`: there were changes, or its trouble is another one.
    std::function<void(bool news)> delivered;
  };

  KubeWatch(boost::asio::io_context& context, std::shared_ptr<ApiServer> server, kube::WatchLimits limits,
            kube::Watch::Trim trim, Sink sink);
  KubeWatch(const KubeWatch&) = delete;
  KubeWatch& operator=(const KubeWatch&) = delete;

  // Asks at `path` from now on, "/apis/networking.istio.io/v1/serviceentries", with `selector`, "fieldSelector=..." or
  // nothing; what is known stays until it was listed there.
  void follow(std::string path, const std::string& selector = {});
  // There are no objects any more: each is removed, soon.
  void forget();
  // Nothing is handed on from now on.
  void end();

  bool is_followed() const { return !target_.empty(); }
  bool is_complete() const { return watch_.is_complete(); }
  const std::string& path() const { return path_; }
  const Since& trouble() const { return trouble_; }

 private:
  static net::Task<void> run(std::shared_ptr<KubeWatch> self);
  net::Task<void> step(std::unique_ptr<ApiConnection>& connection, kube::Watch::Step step);
  net::Task<void> list(std::unique_ptr<ApiConnection>& connection, std::string query);
  net::Task<void> stream(std::unique_ptr<ApiConnection>& connection, kube::Watch::Follow follow);
  net::Task<void> read_lines(std::unique_ptr<ApiConnection>& connection, net::Milliseconds silence);
  void deliver();

  boost::asio::io_context& context_;
  const std::shared_ptr<ApiServer> server_;
  const kube::WatchLimits limits_;
  const kube::Watch::Trim trim_;
  Sink sink_;
  kube::Watch watch_;
  boost::asio::steady_timer timer_;  // of a pause; cancelled when there is something else to do
  std::string path_;
  std::string target_;    // path and the beginning of the query; empty: nothing is asked
  bool running_ = false;  // run() is
  bool moved_ = false;    // `target_` is another one than that of the last list
  bool ended_ = false;
  std::deque<kube::Change> pending_;  // not yet applied
  Since trouble_;
};

}  // namespace sluice::sources
