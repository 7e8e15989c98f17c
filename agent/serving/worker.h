// One event loop in a thread of its own, with what its connections share: the snapshot, the live table, the pipes.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <vector>

#include "net/listen.h"
#include "policy/snapshot.h"
#include "relay/pipe_pool.h"
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
  // From any other thread: runs `task` on the worker's thread and waits for what it returns, nullopt when that takes
  // too long. A late task still runs: it may refer to the worker, not to the asking function.
  template <typename Task>
  auto ask(Task task, std::chrono::milliseconds patience) -> std::optional<std::invoke_result_t<Task>> {
    auto packaged = std::make_shared<std::packaged_task<std::invoke_result_t<Task>()>>(std::move(task));
    auto answer = packaged->get_future();
    boost::asio::post(context_, [packaged] { (*packaged)(); });
    if (answer.wait_for(patience) != std::future_status::ready) return std::nullopt;
    return answer.get();
  }

  // Accepts on the worker's loop until stop_accepting(), handing each connection to `serve` as a task of its own. What
  // a task throws ends that connection alone, and running out of files or memory only pauses accepting for a moment.
  // Before start(), or on the worker's thread. The acceptor was made for context().
  using Serve = std::function<net::Task<void>(net::Socket)>;
  void accept_all(net::Tcp::acceptor acceptor, Serve serve);
  // From any thread: the same as soon as the loop turns. What it returns names the listener, and is for this worker's
  // thread.
  std::shared_ptr<net::Socket> accept_soon(net::Tcp::acceptor acceptor, Serve serve);
  // From any thread: closes the listeners, or one of them.
  void stop_accepting();
  void stop_accepting(std::shared_ptr<net::Socket> listener);

  boost::asio::io_context& context() { return context_; }
  // For the worker's thread only. Null until the first policy came.
  const std::shared_ptr<const Snapshot>& snapshot() const { return snapshot_; }
  LiveTable& live() { return live_; }
  relay::PipePool& pipes() { return pipes_; }

 private:
  void accept_on(const std::shared_ptr<net::Socket>& listener, Serve serve);

  std::shared_ptr<const Snapshot> snapshot_;
  LiveTable live_;
  relay::PipePool pipes_;
  std::atomic<std::uint64_t> last_sign_ns_{0};
  // Behind what its suspended connections refer to: they end when it is destroyed.
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  std::vector<std::shared_ptr<net::Socket>> listeners_;
  std::thread thread_;
};

}  // namespace sluice::serving
