#include "net/socket.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr unsigned reads_in_a_row = 16;
constexpr std::uint32_t to_read = EPOLLIN | EPOLLRDHUP;
// The end of a connection that `ask`, such as getsockname(2), tells.
template <typename Ask>
boost::asio::ip::tcp::endpoint name_of(int fd, boost::system::error_code& error, Ask ask) {
  boost::asio::ip::tcp::endpoint name;
  auto size = static_cast<socklen_t>(name.capacity());
  error.clear();
  if (ask(fd, name.data(), &size) != 0) {
    error.assign(errno, boost::system::system_category());
  } else {
    name.resize(size);
  }
  return name;
}

}  // namespace

Endpoint to_endpoint(const Tcp::endpoint& endpoint) {
  const auto address = endpoint.address();
  if (address.is_v4()) {
    const auto bytes = address.to_v4().to_bytes();
    return {*IpAddress::from_bytes(bytes), endpoint.port()};
  }
  return {IpAddress(address.to_v6().to_bytes()), endpoint.port()};
}

Tcp::endpoint to_asio(const Endpoint& endpoint) {
  const auto native = endpoint.address.native();
  if (endpoint.address.is_v4()) {
    asio::ip::address_v4::bytes_type bytes{};
    std::copy(native.begin(), native.end(), bytes.begin());
    return {asio::ip::address_v4(bytes), endpoint.port};
  }
  return {asio::ip::address_v6(endpoint.address.bytes()), endpoint.port};
}

// Waits are kept here, and not in the Socket, because the loop knows it by its address.
class Socket::State final : public Poller::Watcher {
 public:
  State(Poller& its_poller, UniqueFd its_fd, const Endpoint& its_peer)
      : poller(its_poller), fd(std::move(its_fd)), peer(its_peer) {}
  ~State() override { close(); }

  using Waiter = asio::async_result<asio::use_awaitable_t<>, void(bool)>::handler_type;
  // One direction: who waits, and whether something happened while nobody did.
  struct Direction {
    std::optional<Waiter> waiter;
    bool ready = false;
    bool told = false;  // whether anything ever happened
  };

  bool watch(std::uint32_t wanted) {
    if ((interest & wanted) == wanted) return true;
    const auto all = interest | wanted;
    const bool done = interest == 0 ? poller.add(fd.get(), *this, all) : poller.change(fd.get(), *this, all);
    if (done) interest = all;
    return done;
  }

  Task<bool> wait(Direction& direction, std::uint32_t wanted) {
    return asio::async_initiate<const asio::use_awaitable_t<>, void(bool)>(
        [this, &direction, wanted](Waiter waiter) {
          const bool watched = fd && watch(wanted);
          if (!watched || std::exchange(direction.ready, false)) return resume_later(std::move(waiter), watched);
          direction.waiter.emplace(std::move(waiter));
        },
        asio::use_awaitable);
  }

  // From a handler of its own: nobody who cancels or closes finds another coroutine run meanwhile.
  void resume_later(Waiter waiter, bool result) {
    asio::post(poller.get_executor(), [waiter = std::move(waiter), result]() mutable { std::move(waiter)(result); });
  }

  void cancel() {
    for (auto* direction : {&reading, &writing}) {
      if (auto waiter = std::exchange(direction->waiter, std::nullopt)) resume_later(std::move(*waiter), false);
    }
  }

  void close() {
    if (std::exchange(interest, 0) != 0) {
      // Closing ends the registration, unless another process has the socket too, as of listeners that were handed
      // over: it is to tell nothing then.
      if (peer == Endpoint{}) poller.change(fd.get(), *this, 0);
      poller.remove(*this);
    }
    fd.reset();
  }

  void on_ready(std::uint32_t events) override {
    if (listener != nullptr) return listener->on_ready(*socket, events);
    failed = failed || (events & (EPOLLERR | EPOLLHUP)) != 0;
    ended = ended || (events & EPOLLRDHUP) != 0 || failed;
    const bool turn = events == 0;
    auto reader = notify(reading, turn || failed || (events & (EPOLLIN | EPOLLRDHUP)) != 0);
    auto writer = notify(writing, failed || (events & EPOLLOUT) != 0);
    // Either may be the end of this object.
    if (reader) std::move (*reader)(true);
    if (writer) std::move (*writer)(true);
  }

  void abandon() override {
    interest = 0;
    const bool waited_for = reading.waiter || writing.waiter;
    if (listener != nullptr && !waited_for) return listener->abandon();
    // They own this object.
    const auto reader = std::exchange(reading.waiter, std::nullopt);
    const auto writer = std::exchange(writing.waiter, std::nullopt);
  }

  Poller& poller;
  UniqueFd fd;
  Endpoint peer;
  std::uint32_t interest = 0;  // what it is registered for; 0: it is not
  Direction reading;
  Direction writing;
  unsigned reads = 0;     // since the last wait
  bool failed = false;    // EPOLLERR or EPOLLHUP came
  bool ended = false;     // or EPOLLRDHUP
  bool took_all = false;  // receive() took all there was, and nobody waited since
  Listener* listener = nullptr;
  Socket* socket = nullptr;  // the listener's

 private:
  static std::optional<Waiter> notify(Direction& direction, bool ready) {
    if (!ready) return std::nullopt;
    direction.told = true;
    if (!direction.waiter) direction.ready = true;
    return std::exchange(direction.waiter, std::nullopt);
  }
};

Socket::Socket(Poller& poller, UniqueFd fd, const Endpoint& peer)
    : state_(std::make_unique<State>(poller, std::move(fd), peer)) {}
Socket::Socket(Socket&& other) noexcept = default;
Socket& Socket::operator=(Socket&& other) noexcept = default;
Socket::~Socket() = default;

void Socket::open(UniqueFd fd, const Endpoint& peer) {
  state_->fd = std::move(fd);
  state_->peer = peer;
}

bool Socket::is_open() const {
  return state_ && state_->fd;
}

int Socket::native_handle() const {
  return state_ ? state_->fd.get() : -1;
}

Poller& Socket::poller() const {
  return state_->poller;
}

Tcp::endpoint Socket::local_endpoint(boost::system::error_code& error) const {
  return name_of(native_handle(), error, ::getsockname);
}

Tcp::endpoint Socket::remote_endpoint(boost::system::error_code& error) const {
  return name_of(native_handle(), error, ::getpeername);
}

const Endpoint& Socket::peer() const {
  return state_->peer;
}

Task<bool> Socket::wait_readable() {
  state_->reads = 0;
  state_->took_all = false;
  return state_->wait(state_->reading, to_read);
}

Task<bool> Socket::wait_writable() {
  return state_->wait(state_->writing, to_read | EPOLLOUT);
}

Task<bool> Socket::wait_turn() {
  if (state_->watch(to_read)) state_->poller.later(*state_);
  return wait_readable();
}

void Socket::cancel() {
  if (state_) state_->cancel();
}

void Socket::close() {
  if (!state_) return;
  state_->close();
  state_->cancel();
}

bool Socket::has_failed() const {
  return state_->failed;
}

bool Socket::has_read_for_long() {
  if (++state_->reads < reads_in_a_row) return false;
  state_->reads = 0;
  return true;
}

ssize_t Socket::receive(std::span<std::uint8_t> buffer) {
  ssize_t got = -1;
  do {
    got = ::recv(native_handle(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (state_) state_->took_all = got < static_cast<ssize_t>(buffer.size());
  return got;
}

bool Socket::listen(Listener& listener) {
  state_->listener = &listener;
  state_->socket = this;
  // What was told before is not told again.
  const bool missed = state_->reading.ready || state_->ended || (state_->reading.told && !state_->took_all);
  if (missed) listen_later();
  return state_->watch(to_read);
}

void Socket::stop_listening() {
  state_->listener = nullptr;
  // What the listener was told may be unread.
  state_->reading.ready = state_->reading.told = true;
}

bool Socket::listen_writable() {
  return state_->watch(to_read | EPOLLOUT);
}

void Socket::listen_later() {
  state_->poller.later(*state_);
}

Deadline::Deadline(Socket& socket, Milliseconds timeout) : socket_(socket) {
  arm(socket.poller().timeouts(), timeout);
}

void Deadline::on_timeout() {
  expired_ = true;
  socket_.cancel();
}

Task<IoResult> read_some(Socket& socket, std::span<std::uint8_t> buffer) {
  for (;;) {
    if (socket.has_read_for_long()) co_await socket.wait_turn();
    if (const auto got = try_read(socket, buffer)) co_return *got;
    const bool ready = co_await socket.wait_readable();
    if (!ready) co_return boost::system::error_code(asio::error::operation_aborted);
  }
}

Task<bool> write_all(Socket& socket, ByteSpan bytes) {
  for (;;) {
    if (!try_write(socket, bytes)) co_return false;
    if (bytes.empty()) co_return true;
    const bool ready = co_await socket.wait_writable();
    if (!ready) co_return false;
  }
}

std::optional<IoResult> try_read(Socket& socket, std::span<std::uint8_t> buffer) {
  if (!socket.is_open()) return boost::system::error_code(asio::error::operation_aborted);
  const auto got = socket.receive(buffer);
  if (got >= 0) return static_cast<std::size_t>(got);
  if (errno == EAGAIN) return std::nullopt;
  return boost::system::error_code(errno, boost::system::system_category());
}

bool try_write(Socket& socket, ByteSpan& bytes) {
  if (!socket.is_open()) return false;
  while (!bytes.empty()) {
    const auto sent = ::send(socket.native_handle(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return errno == EAGAIN;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

bool is_quiet(const Socket& socket) {
  std::uint8_t byte = 0;
  const int fd = socket.native_handle();
  return fd >= 0 && ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void reset(Socket& socket) {
  const linger at_once{1, 0};
  ::setsockopt(socket.native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  socket.close();
}

void finish_writing(const Socket& socket) {
  const int fd = socket.native_handle();
  if (fd >= 0) ::shutdown(fd, SHUT_WR);
}

}  // namespace sluice::net
