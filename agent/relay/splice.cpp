#include "relay/splice.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <memory>

namespace sluice::relay {
namespace {

constexpr auto as_result = boost::asio::as_tuple(boost::asio::use_awaitable);
constexpr std::size_t idle_pipes = 64;
constexpr int pipe_bytes = 256 * 1024;
constexpr std::size_t copy_buffer_bytes = 16UL * 1024;  // the most that a TLS record holds
constexpr unsigned splice_flags = SPLICE_F_NONBLOCK | SPLICE_F_MOVE;

// A pipe out of the pool that goes back when it is empty and is closed when it is not.
class Borrowed {
 public:
  explicit Borrowed(PipePool& pool) : pool_(pool) {}
  ~Borrowed() { give_back(); }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

  bool hold() {
    if (!pipe_) pipe_ = pool_.take();
    return pipe_.has_value();
  }
  void give_back() {
    if (pipe_ && inside == 0) pool_.give_back(std::move(*pipe_));
    pipe_.reset();
  }
  int read_end() const { return pipe_->read.get(); }
  int write_end() const { return pipe_->write.get(); }

  std::size_t inside = 0;

 private:
  PipePool& pool_;
  std::optional<Pipe> pipe_;
};

net::Task<MoveEnd> splice_bytes(net::Tcp::socket& from, net::Tcp::socket& to, std::uint64_t limit, PipePool& pipes,
                                std::uint64_t& moved) {
  Borrowed pipe(pipes);
  while (limit > 0) {
    if (!pipe.hold()) co_return MoveEnd::out_of_files;
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(limit, pipe_bytes));
    const auto got = ::splice(from.native_handle(), nullptr, pipe.write_end(), nullptr, want, splice_flags);
    if (got == 0) co_return MoveEnd::end_of_stream;
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) co_return MoveEnd::read_failed;
      pipe.give_back();
      const auto [error] = co_await from.async_wait(net::Tcp::socket::wait_read, as_result);
      if (error) co_return MoveEnd::read_failed;
      continue;
    }
    pipe.inside = static_cast<std::size_t>(got);
    limit -= pipe.inside;
    while (pipe.inside > 0) {
      const auto put = ::splice(pipe.read_end(), nullptr, to.native_handle(), nullptr, pipe.inside, splice_flags);
      if (put > 0) {
        pipe.inside -= static_cast<std::size_t>(put);
        moved += static_cast<std::uint64_t>(put);
        continue;
      }
      if (put < 0 && errno == EINTR) continue;
      if (put == 0 || errno != EAGAIN) co_return MoveEnd::write_failed;
      const auto [error] = co_await to.async_wait(net::Tcp::socket::wait_write, as_result);
      if (error) co_return MoveEnd::write_failed;
    }
  }
  co_return MoveEnd::limit;
}

net::Task<MoveEnd> copy_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, std::uint64_t& moved) {
  while (limit > 0) {
    const auto input = co_await from.wait_input();
    if (input == net::Input::end) co_return MoveEnd::end_of_stream;
    if (input == net::Input::broken) co_return MoveEnd::read_failed;
    const auto want = static_cast<std::size_t>(std::min<std::uint64_t>(limit, copy_buffer_bytes));
    const auto buffer = std::make_unique_for_overwrite<std::uint8_t[]>(want);
    const auto got = co_await from.read_some({buffer.get(), want});
    const auto* size = std::get_if<std::size_t>(&got);
    if (!size) co_return MoveEnd::read_failed;
    if (*size == 0) co_return MoveEnd::end_of_stream;
    const bool written = co_await to.write_all({buffer.get(), *size});
    if (!written) co_return MoveEnd::write_failed;
    limit -= *size;
    moved += *size;
  }
  co_return MoveEnd::limit;
}

}  // namespace

std::optional<Pipe> PipePool::take() {
  if (!idle_.empty()) {
    auto pipe = std::move(idle_.back());
    idle_.pop_back();
    return pipe;
  }
  int ends[2];
  if (::pipe2(ends, O_NONBLOCK | O_CLOEXEC) != 0) return std::nullopt;
  // A larger pipe is a wish: past the user's pipe quota the kernel says no and the default size does.
  ::fcntl(ends[1], F_SETPIPE_SZ, pipe_bytes);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void PipePool::give_back(Pipe pipe) {
  if (idle_.size() < idle_pipes) idle_.push_back(std::move(pipe));
}

net::Task<MoveEnd> move_bytes(net::Stream& from, net::Stream& to, std::uint64_t limit, PipePool& pipes,
                              std::uint64_t& moved) {
  if (!from.is_plain() || !to.is_plain()) return copy_bytes(from, to, limit, moved);
  return splice_bytes(from.socket(), to.socket(), limit, pipes, moved);
}

}  // namespace sluice::relay
