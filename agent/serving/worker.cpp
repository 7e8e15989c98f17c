#include "serving/worker.h"

#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <exception>
#include <utility>

namespace sluice::serving {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds accept_pause{50};
constexpr int accepts_at_once = 64;

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

// Connections that wait at `listener`, so many at once; how many there were, nullopt when one cannot be taken or
// served.
std::optional<int> accept_some(const net::Socket& listener, const Worker::Serve& serve) {
  for (int count = 0; count < accepts_at_once; ++count) {
    auto socket = net::accept(listener);
    if (!socket && errno == EAGAIN) return count;
    if (!socket && errno != ECONNABORTED && errno != EINTR) return std::nullopt;
    if (!socket) continue;
    asio::co_spawn(listener.get_executor(), serve(std::move(*socket)),
                   [](const std::exception_ptr& failure) { log_failure("a connection ended", failure); });
  }
  return accepts_at_once;
}

net::Task<void> accept_loop(std::shared_ptr<net::Socket> listener, Worker::Serve serve) {
  asio::steady_timer pause(listener->get_executor());
  while (listener->is_open()) {
    std::optional<int> accepted;
    try {
      accepted = accept_some(*listener, serve);
    } catch (const std::exception& error) {
      spdlog::error("accept: {}", error.what());
    }
    if (!accepted) {
      pause.expires_after(accept_pause);
      co_await pause.async_wait(as_result);
    } else if (*accepted == accepts_at_once) {
      co_await listener->wait_turn();
    } else {
      co_await listener->wait_readable();
    }
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
  acceptor.native_non_blocking(true);
  net::Socket listener(net::Poller::of(acceptor.get_executor()), UniqueFd(acceptor.release()));
  accept_on(std::make_shared<net::Socket>(std::move(listener)), std::move(serve));
}

std::shared_ptr<net::Socket> Worker::accept_soon(net::Tcp::acceptor acceptor, Serve serve) {
  acceptor.native_non_blocking(true);
  net::Socket listener(net::Poller::of(acceptor.get_executor()), UniqueFd(acceptor.release()));
  auto shared = std::make_shared<net::Socket>(std::move(listener));
  asio::post(context_, [this, shared, serve = std::move(serve)] { accept_on(shared, serve); });
  return shared;
}

void Worker::accept_on(const std::shared_ptr<net::Socket>& listener, Serve serve) {
  listeners_.push_back(listener);
  asio::co_spawn(context_, accept_loop(listener, std::move(serve)), [listener](const std::exception_ptr& failure) {
    if (!failure) return;
    log_failure("accepting ended for good", failure);
    // Closed, it is refused at once; open and never read from, it would hang its clients.
    listener->close();
  });
}

void Worker::stop_accepting(std::shared_ptr<net::Socket> listener) {
  asio::post(context_, [this, listener = std::move(listener)] {
    listener->close();
    std::erase(listeners_, listener);
  });
}

void Worker::stop_accepting() {
  asio::post(context_, [this] {
    for (const auto& listener : listeners_) listener->close();
  });
}

}  // namespace sluice::serving
