#include "relay/pump.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

namespace sluice::relay {
namespace {

constexpr unsigned splice_flags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;
constexpr int steps_at_once = 16;

// Makes a system call that does not wait, again when a signal interrupts it.
template <typename Call>
ssize_t retry(Call call) {
  ssize_t result = -1;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

}  // namespace

Pump::Need Pump::run() {
  need_ = Need::turn;
  for (int count = 0; count < steps_at_once && need_ == Need::turn; ++count) need_ = step();
  return need_;
}

// Need::turn: and there may be more to do.
Pump::Need Pump::step() {
  if (!rest_.empty()) return flush();
  if (inside_ > 0) return drain();
  if (at_end_) return stop(MoveEnd::end_of_stream);
  if (broken_) return stop(MoveEnd::read_failed);
  if (limit_ == 0) return stop(MoveEnd::limit);
  return many_ ? fill() : copy();
}

Pump::Need Pump::copy() {
  const auto room = pipes_.buffer().first(std::min<std::uint64_t>(limit_, pipes_.buffer().size()));
  std::size_t size = 0;
  do {
    const auto free = room.subspan(size);
    const auto got = retry([&] { return ::recv(from_.native_handle(), free.data(), free.size(), MSG_DONTWAIT); });
    broken_ = got < 0 && errno != EAGAIN;
    at_end_ = got == 0;
    if (got <= 0) break;
    size += static_cast<std::size_t>(got);
  } while (fin_ && size < room.size());
  if (size == 0) return at_end_ || broken_ ? Need::turn : Need::bytes;
  limit_ -= size;
  const int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (at_end_ ? MSG_MORE : 0);
  auto put = retry([&] { return ::send(to_.native_handle(), room.data(), size, flags); });
  if (put < 0 && errno != EAGAIN) return stop(MoveEnd::write_failed);
  put = std::max<ssize_t>(put, 0);
  moved_ += static_cast<std::uint64_t>(put);
  if (static_cast<std::size_t>(put) < size) {
    rest_.assign(room.begin() + put, room.begin() + static_cast<std::ptrdiff_t>(size));
    return Need::room;
  }
  many_ = size == pipes_.buffer().size();
  const bool took_all = size < room.size() && told_ && !fin_;
  return took_all ? Need::bytes : Need::turn;
}

Pump::Need Pump::flush() {
  const auto put =
      retry([&] { return ::send(to_.native_handle(), rest_.data(), rest_.size(), MSG_NOSIGNAL | MSG_DONTWAIT); });
  if (put < 0) return errno == EAGAIN ? Need::room : stop(MoveEnd::write_failed);
  moved_ += static_cast<std::uint64_t>(put);
  rest_.erase(rest_.begin(), rest_.begin() + put);
  if (!rest_.empty()) return Need::room;
  rest_ = std::vector<std::uint8_t>();
  return Need::turn;
}

Pump::Need Pump::fill() {
  if (!pipe_) pipe_ = pipes_.take();
  if (!pipe_) return stop(MoveEnd::out_of_files);
  const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(limit_, PipePool::pipe_bytes));
  const auto got =
      retry([&] { return ::splice(from_.native_handle(), nullptr, pipe_->write.get(), nullptr, want, splice_flags); });
  if (got == 0) return stop(MoveEnd::end_of_stream);
  if (got < 0) {
    if (errno != EAGAIN) return stop(MoveEnd::read_failed);
    give_back();
    return Need::bytes;
  }
  inside_ = static_cast<std::size_t>(got);
  limit_ -= inside_;
  many_ = inside_ >= pipes_.buffer().size();
  return drain();
}

Pump::Need Pump::drain() {
  while (inside_ > 0) {
    const auto put = retry(
        [&] { return ::splice(pipe_->read.get(), nullptr, to_.native_handle(), nullptr, inside_, splice_flags); });
    if (put < 0 && errno == EAGAIN) return Need::room;
    if (put <= 0) return stop(MoveEnd::write_failed);
    inside_ -= static_cast<std::size_t>(put);
    moved_ += static_cast<std::uint64_t>(put);
  }
  if (!many_) give_back();
  return Need::turn;
}

Pump::Need Pump::stop(MoveEnd end) {
  give_back();
  end_ = end;
  return Need::ended;
}

// The pipe goes back when it is empty and is closed when it is not.
void Pump::give_back() {
  if (pipe_ && inside_ == 0) pipes_.give_back(std::move(*pipe_));
  pipe_.reset();
}

}  // namespace sluice::relay
