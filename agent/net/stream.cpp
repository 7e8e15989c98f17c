#include "net/stream.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>

namespace sluice::net {

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
    const bool ready = co_await socket_.wait_readable();
    if (!ready) co_return Input::broken;
  }
}

Task<bool> PlainStream::write_all(ByteSpan bytes) {
  return net::write_all(socket_, bytes);
}

Task<void> PlainStream::finish_writing() {
  net::finish_writing(socket_);
  co_return;
}

std::optional<bool> try_append(Stream& stream, std::vector<std::uint8_t>& bytes) {
  thread_local std::array<std::uint8_t, 4096> room;
  const auto got = stream.try_read(room);
  if (!got) return std::nullopt;
  const auto* size = std::get_if<std::size_t>(&*got);
  if (size != nullptr) bytes.insert(bytes.end(), room.begin(), room.begin() + static_cast<std::ptrdiff_t>(*size));
  return size != nullptr && *size > 0;
}

Task<bool> append_next(Stream& stream, std::vector<std::uint8_t>& bytes, std::size_t max) {
  const auto before = bytes.size();
  bytes.resize(before + max);
  const auto got = co_await stream.read_some(std::span(bytes).subspan(before));
  const auto* size = std::get_if<std::size_t>(&got);
  bytes.resize(before + (size ? *size : 0));
  co_return size && *size > 0;
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
