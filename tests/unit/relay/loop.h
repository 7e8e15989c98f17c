// One event loop with connected sockets on it, and scripts that run there until all of them have ended.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <exception>
#include <string>
#include <string_view>
#include <utility>

#include "net/stream.h"
#include "relay/splice.h"

namespace sluice::relay {

class Loop {
 public:
  struct Pair {
    net::PlainStream near;  // the relay's end
    net::Tcp::socket far;   // the script's end
  };

  boost::asio::io_context& context() { return context_; }
  PipePool& pipes() { return pipes_; }

  // A connection over loopback, each end non-blocking.
  Pair connect() {
    net::Tcp::acceptor acceptor(context_, {boost::asio::ip::address_v4::loopback(), 0});
    net::Tcp::socket far(context_);
    far.connect(acceptor.local_endpoint());
    auto near = acceptor.accept();
    near.native_non_blocking(true);
    far.native_non_blocking(true);
    near.set_option(net::Tcp::no_delay(true));
    far.set_option(net::Tcp::no_delay(true));
    return {net::PlainStream(std::move(near)), std::move(far)};
  }

  // Runs the scripts side by side; one that hangs fails the test.
  template <typename... Scripts>
  void run(Scripts... scripts) {
    std::size_t running = sizeof...(scripts);
    const auto ended = [&running](const std::exception_ptr& failure) {
      --running;
      if (failure) std::rethrow_exception(failure);
    };
    (boost::asio::co_spawn(context_, std::move(scripts), ended), ...);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    context_.restart();
    while (running > 0 && std::chrono::steady_clock::now() < limit) {
      context_.run_one_for(std::chrono::milliseconds(100));
    }
    ASSERT_EQ(running, 0U) << "a script still waits";
  }

 private:
  PipePool pipes_;
  boost::asio::io_context context_{1};
};

// What a script does at its end of a connection. Reads end early when the connection does.

inline net::Task<void> send(net::Tcp::socket& socket, std::string_view text) {
  co_await net::write_all(socket, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

// Exactly `size` bytes.
inline net::Task<std::string> receive(net::Tcp::socket& socket, std::size_t size) {
  std::string text(size, '\0');
  std::size_t used = 0;
  while (used < size) {
    const auto got =
        co_await net::read_some(socket, {reinterpret_cast<std::uint8_t*>(text.data()) + used, size - used});
    const auto* count = std::get_if<std::size_t>(&got);
    if (!count || *count == 0) break;
    used += *count;
  }
  text.resize(used);
  co_return text;
}

// Up to and including `mark`.
inline net::Task<std::string> receive_until(net::Tcp::socket& socket, std::string_view mark) {
  std::string text;
  while (!text.ends_with(mark)) {
    const auto next = co_await receive(socket, 1);
    if (next.empty()) break;
    text += next;
  }
  co_return text;
}

// Everything to the end, and how it ended: "..." or "... RST".
inline net::Task<std::string> receive_all(net::Tcp::socket& socket) {
  std::string text;
  std::array<std::uint8_t, 65536> buffer;
  for (;;) {
    const auto got = co_await net::read_some(socket, buffer);
    const auto* count = std::get_if<std::size_t>(&got);
    if (!count) co_return text + "RST";
    if (*count == 0) co_return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), *count);
  }
}

}  // namespace sluice::relay
