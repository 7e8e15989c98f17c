#include "serving/worker.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

namespace sluice::serving {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds accept_pause{50};

void log_failure(std::string_view what, const std::exception_ptr& failure) {
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    spdlog::error("{}: {}", what, error.what());
  } catch (...) {
    spdlog::error("{}: unknown failure", what);
  }
}

// One connection more; false when there was none to take or nothing to serve it with.
net::Task<bool> accept_one(net::Tcp::acceptor& acceptor, const Worker::Serve& serve) {
  auto [error, socket] = co_await acceptor.async_accept(as_result);
  if (error == asio::error::connection_aborted) co_return true;
  if (error) co_return false;
  socket.native_non_blocking(true, error);
  socket.set_option(net::Tcp::no_delay(true), error);
  asio::co_spawn(acceptor.get_executor(), serve(std::move(socket)),
                 [](const std::exception_ptr& failure) { log_failure("a connection ended", failure); });
  co_return true;
}

net::Task<void> accept_loop(std::shared_ptr<net::Tcp::acceptor> acceptor, Worker::Serve serve) {
  asio::steady_timer pause(acceptor->get_executor());
  while (acceptor->is_open()) {
    bool accepted = false;
    try {
      accepted = co_await accept_one(*acceptor, serve);
    } catch (const std::exception& error) {
      spdlog::error("accept: {}", error.what());
    }
    if (accepted || !acceptor->is_open()) continue;
    pause.expires_after(accept_pause);
    co_await pause.async_wait(as_result);
  }
}

}  // namespace

Worker::Worker(LiveLimits limits) : live_(limits), work_(context_.get_executor()) {}

Worker::~Worker() {
  stop();
}

void Worker::start() {
  thread_ = std::thread([this] {
    while (!context_.stopped()) {
      try {
        context_.run();
      } catch (const std::exception& error) {
        spdlog::error("event loop: {}", error.what());
      }
    }
  });
}

void Worker::stop() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

void Worker::adopt(std::shared_ptr<const Snapshot> snapshot) {
  asio::post(context_, [this, snapshot = std::move(snapshot)]() mutable {
    snapshot_ = std::move(snapshot);
    const auto cut = live_.recheck(*snapshot_);
    if (cut > 0) spdlog::info("policy changed: {} connections cut", cut);
  });
}

void Worker::ask_for_sign(std::uint64_t now_ns) {
  asio::post(context_, [this, now_ns] { last_sign_ns_.store(now_ns, std::memory_order_relaxed); });
}

void Worker::accept_all(net::Tcp::acceptor acceptor, Serve serve) {
  auto shared = acceptors_.emplace_back(std::make_shared<net::Tcp::acceptor>(std::move(acceptor)));
  asio::co_spawn(context_, accept_loop(shared, std::move(serve)), [shared](const std::exception_ptr& failure) {
    if (!failure) return;
    log_failure("accepting ended for good", failure);
    // Closed, it is refused at once; open and never read from, it would hang its clients.
    boost::system::error_code ignored;
    shared->close(ignored);
  });
}

void Worker::stop_accepting() {
  asio::post(context_, [this] {
    boost::system::error_code ignored;
    for (const auto& acceptor : acceptors_) acceptor->close(ignored);
  });
}

}  // namespace sluice::serving
