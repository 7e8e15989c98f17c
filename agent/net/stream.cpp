#include "net/stream.h"

#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>

namespace sluice::net {
namespace {

constexpr auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);

}  // namespace

void Stream::cancel() {
  boost::system::error_code ignored;
  socket().cancel(ignored);
}

void Stream::close() {
  boost::system::error_code ignored;
  socket().close(ignored);
}

Task<IoResult> PlainStream::read_some(std::span<std::uint8_t> buffer) {
  return net::read_some(socket_, buffer);
}

Task<Input> PlainStream::wait_input() {
  for (;;) {
    std::uint8_t byte = 0;
    const auto peeked = ::recv(socket_.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (peeked > 0) co_return Input::bytes;
    if (peeked == 0) co_return Input::end;
    if (errno != EAGAIN) co_return Input::broken;
    const auto [error] = co_await socket_.async_wait(Tcp::socket::wait_read, as_result);
    if (error) co_return Input::broken;
  }
}

Task<bool> PlainStream::write_all(ByteSpan bytes) {
  return net::write_all(socket_, bytes);
}

Task<void> PlainStream::finish_writing() {
  net::finish_writing(socket_);
  co_return;
}

Task<void> close_gently(Stream& stream, Milliseconds limit) {
  {
    const Deadline deadline(stream.socket(), limit);
    co_await stream.finish_writing();
    std::array<std::uint8_t, 4096> discarded;
    // A peer that goes on sending is cut off by the deadline.
    while (!deadline.expired()) {
      const auto got = co_await stream.read_some(discarded);
      const auto* size = std::get_if<std::size_t>(&got);
      if (!size || *size == 0) break;
    }
  }
  stream.close();
}

}  // namespace sluice::net
