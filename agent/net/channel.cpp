#include "net/channel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace sluice::net {
namespace {

constexpr std::size_t kept_buffers = 64;
constexpr std::size_t budget_bytes = 256UL * 1024;

}  // namespace

std::vector<std::uint8_t> Buffers::take() {
  if (idle_.empty()) {
    std::vector<std::uint8_t> buffer;
    buffer.reserve(buffer_bytes);
    return buffer;
  }
  auto buffer = std::move(idle_.back());
  idle_.pop_back();
  return buffer;
}

void Buffers::give_back(std::vector<std::uint8_t> buffer) {
  if (idle_.size() >= kept_buffers || buffer.capacity() < buffer_bytes || buffer.capacity() > 4 * buffer_bytes) return;
  buffer.clear();
  idle_.push_back(std::move(buffer));
}

Channel::~Channel() {
  drop_written();
}

void Channel::on_ready(std::uint32_t events) {
  budget_ = budget_bytes;
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) drained_ = false;
  if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) end_announced_ = true;
}

void Channel::write(ByteSpan bytes) {
  if (bytes.empty()) return;
  if (out_.capacity() == 0) out_ = buffers_.take();
  out_.insert(out_.end(), bytes.begin(), bytes.end());
}

void Channel::write(std::string_view text) {
  write(ByteSpan(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

Socket Channel::take_socket() {
  Socket taken(socket_.poller(), UniqueFd());
  std::swap(taken, socket_);
  return taken;
}

Io Channel::pause_reading() {
  socket_.listen_later();
  return Io::wait;
}

Io Channel::await_room() {
  out_.erase(out_.begin(), out_.begin() + static_cast<std::ptrdiff_t>(std::exchange(sent_, 0)));
  return socket_.listen_writable() ? Io::wait : Io::broken;
}

void Channel::drop_written() {
  sent_ = 0;
  if (out_.capacity() > 0) buffers_.give_back(std::exchange(out_, {}));
}

Io PlainChannel::read(std::span<std::uint8_t> buffer, std::size_t& size) {
  if (drained_) return Io::wait;
  if (budget_ == 0) return pause_reading();
  const auto got = ::recv(socket_.native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (got == 0) return Io::end;
  if (got < 0) {
    if (errno != EAGAIN && errno != EINTR) return Io::broken;
    drained_ = true;
    return Io::wait;
  }
  size = static_cast<std::size_t>(got);
  budget_ -= std::min(budget_, size);
  drained_ = size < buffer.size() && !end_announced_;
  return Io::done;
}

Io PlainChannel::flush() {
  while (sent_ < out_.size()) {
    const auto put =
        ::send(socket_.native_handle(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0) return errno == EAGAIN || errno == EINTR ? await_room() : Io::broken;
    sent_ += static_cast<std::size_t>(put);
  }
  drop_written();
  return Io::done;
}

}  // namespace sluice::net
