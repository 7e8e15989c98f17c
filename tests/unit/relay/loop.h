// One event loop with connected sockets on it, and scripts that run there until all of them have ended.
#pragma once

#include <sys/socket.h>

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "net/stream.h"
#include "relay/pipe_pool.h"
#include "tests/support/run_scripts.h"

namespace sluice::relay {

class Loop {
 public:
  struct Pair {
    net::PlainStream near;  // the relay's end
    net::Socket far;        // the script's end
  };

  boost::asio::io_context& context() { return context_; }
  PipePool& pipes() { return pipes_; }

  // A connection over loopback.
  Pair connect() {
    boost::asio::ip::tcp::acceptor acceptor(context_, {boost::asio::ip::address_v4::loopback(), 0});
    boost::asio::ip::tcp::socket far(context_);
    far.connect(acceptor.local_endpoint());
    auto near = acceptor.accept();
    return {net::PlainStream(adopt(near)), adopt(far)};
  }

  // See run_scripts().
  template <typename... Scripts>
  void run(Scripts... scripts) {
    run_scripts(context_, std::move(scripts)...);
  }

 private:
  net::Socket adopt(boost::asio::ip::tcp::socket& socket) {
    socket.non_blocking(true);
    socket.set_option(net::Tcp::no_delay(true));
    return {net::Poller::of(context_.get_executor()), UniqueFd(socket.release())};
  }

  PipePool pipes_;
  boost::asio::io_context context_{1};
};

// What a script does at its end of a connection. Reads end early when the connection does.

inline net::Task<void> send(net::Socket& socket, std::string_view text) {
  co_await net::write_all(socket, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
}

// Exactly `size` bytes.
inline net::Task<std::string> receive(net::Socket& socket, std::size_t size) {
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
inline net::Task<std::string> receive_until(net::Socket& socket, std::string_view mark) {
  std::string text;
  while (!text.ends_with(mark)) {
    const auto next = co_await receive(socket, 1);
    if (next.empty()) break;
    text += next;
  }
  co_return text;
}

// Everything to the end, and how it ended: "..." or "... RST".
inline net::Task<std::string> receive_all(net::Socket& socket) {
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
