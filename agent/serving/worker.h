// One event loop in a thread of its own, with what its connections share: the snapshot, the live table, the pipes.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "net/socket.h"
#include "policy/snapshot.h"
#include "relay/splice.h"
#include "serving/live.h"

namespace sluice::serving {

class Worker {
 public:
  explicit Worker(LiveLimits limits);
  ~Worker();  // stops the loop and waits for it; what still runs there is destroyed
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void start();
  void stop();

  // From any thread: the worker takes the snapshot and cuts what it does not allow any more.
  void adopt(std::shared_ptr<const Snapshot> snapshot);
  // From any thread: says on the worker's thread that it still turns; a worker that hangs stops the node's heartbeat.
  void ask_for_sign(std::uint64_t now_ns);
  std::uint64_t last_sign_ns() const { return last_sign_ns_.load(std::memory_order_relaxed); }
  // From any other thread: runs `task` on the worker's thread and waits for it.
  template <typename T>
  T ask(std::function<T()> task) {
    auto packaged = std::make_shared<std::packaged_task<T()>>(std::move(task));
    auto answer = packaged->get_future();
    boost::asio::post(context_, [packaged] { (*packaged)(); });
    return answer.get();
  }

  boost::asio::io_context& context() { return context_; }
  // For the worker's thread only. Null until the first policy came.
  const std::shared_ptr<const Snapshot>& snapshot() const { return snapshot_; }
  LiveTable& live() { return live_; }
  relay::PipePool& pipes() { return pipes_; }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  LiveTable live_;
  relay::PipePool pipes_;
  std::atomic<std::uint64_t> last_sign_ns_{0};
  // Behind what its suspended connections refer to: they end when it is destroyed.
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::thread thread_;
};

// Accepts forever on the worker's loop, handing each connection to `serve` as a task of its own. Running out of files or
// memory pauses accepting for a moment instead of ending it.
void accept_all(Worker& worker, net::Tcp::acceptor acceptor,
                std::function<net::Task<void>(net::Tcp::socket)> serve);

}  // namespace sluice::serving
