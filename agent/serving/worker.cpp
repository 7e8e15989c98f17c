#include "serving/worker.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace sluice::serving {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds accept_pause{50};

net::Task<void> accept_loop(net::Tcp::acceptor acceptor, std::function<net::Task<void>(net::Tcp::socket)> serve) {
  asio::steady_timer pause(acceptor.get_executor());
  for (;;) {
    auto [error, socket] = co_await acceptor.async_accept(as_result);
    if (error == asio::error::operation_aborted) co_return;
    if (error == asio::error::connection_aborted) continue;
    if (error) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(as_result);
      continue;
    }
    socket.native_non_blocking(true, error);
    socket.set_option(net::Tcp::no_delay(true), error);
    asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)), asio::detached);
  }
}

}  // namespace

Worker::Worker(LiveLimits limits) : live_(limits), work_(context_.get_executor()) {}

Worker::~Worker() { stop(); }

void Worker::start() {
  thread_ = std::thread([this] { context_.run(); });
}

void Worker::stop() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::adopt(std::shared_ptr<const Snapshot> snapshot) {
  asio::post(context_, [this, snapshot = std::move(snapshot)]() mutable {
    snapshot_ = std::move(snapshot);
    live_.recheck(*snapshot_);
  });
}

void Worker::ask_for_sign(std::uint64_t now_ns) {
  asio::post(context_, [this, now_ns] { last_sign_ns_.store(now_ns, std::memory_order_relaxed); });
}

void accept_all(Worker& worker, net::Tcp::acceptor acceptor, std::function<net::Task<void>(net::Tcp::socket)> serve) {
  asio::co_spawn(worker.context(), accept_loop(std::move(acceptor), std::move(serve)), asio::detached);
}

}  // namespace sluice::serving
