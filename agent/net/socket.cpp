#include "net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <boost/asio/async_result.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <utility>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr unsigned reads_in_a_row = 16;
constexpr std::uint32_t to_read = EPOLLIN | EPOLLRDHUP;
constexpr int stream_flags = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;

DialFailure classify(const boost::system::error_code& error) {
  namespace errors = asio::error;
  if (error == errors::connection_refused || error == errors::connection_reset) return DialFailure::refused;
  if (error == errors::timed_out) return DialFailure::timeout;
  if (error == errors::host_unreachable || error == errors::network_unreachable) return DialFailure::unreachable;
  return DialFailure::local;
}

DialError dial_error(const Endpoint& destination, int code) {
  const boost::system::error_code error(code, boost::system::system_category());
  return {classify(error), destination.to_string() + ": " + error.message()};
}

bool set_flag(int fd, int level, int name) {
  const int on = 1;
  return ::setsockopt(fd, level, name, &on, sizeof on) == 0;
}

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
    if (std::exchange(interest, 0) != 0) poller.remove(*this);
    fd.reset();
  }

  void on_ready(std::uint32_t events) override {
    if (listener != nullptr) return listener->on_ready(*socket, events);
    failed = failed || (events & (EPOLLERR | EPOLLHUP)) != 0;
    const bool turn = events == 0;
    auto reader = notify(reading, turn || failed || (events & (EPOLLIN | EPOLLRDHUP)) != 0);
    auto writer = notify(writing, failed || (events & EPOLLOUT) != 0);
    // Either may be the end of this object.
    if (reader) std::move (*reader)(true);
    if (writer) std::move (*writer)(true);
  }

  void abandon() override {
    // They own this object.
    interest = 0;
    const auto reader = std::exchange(reading.waiter, std::nullopt);
    const auto writer = std::exchange(writing.waiter, std::nullopt);
  }

  Poller& poller;
  UniqueFd fd;
  Endpoint peer;
  std::uint32_t interest = 0;  // what it is registered for; 0: it is not
  Direction reading;
  Direction writing;
  unsigned reads = 0;   // since the last wait
  bool failed = false;  // EPOLLERR or EPOLLHUP came
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

bool Socket::listen(Listener& listener) {
  state_->listener = &listener;
  state_->socket = this;
  if (state_->reading.told) listen_later();
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

Result<Tcp::acceptor> listen(asio::io_context& context, const Endpoint& endpoint, ListenOptions options) {
  const auto target = to_asio(endpoint);
  const auto where = "listen on " + endpoint.to_string();
  Tcp::acceptor acceptor(context);
  boost::system::error_code error;
  acceptor.open(target.protocol(), error);
  if (error) return Error(where + ": " + error.message());
  const int fd = acceptor.native_handle();
  const bool v4 = target.protocol() == Tcp::v4();
  bool prepared = set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
  if (!v4) prepared = prepared && set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
  if (options.reuse_port) prepared = prepared && set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
  if (options.transparent) {
    prepared = prepared && (v4 ? set_flag(fd, SOL_IP, IP_TRANSPARENT) : set_flag(fd, SOL_IPV6, IPV6_TRANSPARENT));
  }
  // What is accepted has it from here.
  prepared = prepared && set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
  if (!prepared) return Error::from_errno(where, errno);
  acceptor.bind(target, error);
  if (!error) acceptor.listen(Tcp::acceptor::max_listen_connections, error);
  if (error) return Error(where + ": " + error.message());
  return acceptor;
}

std::optional<DialError> begin_dial(Socket& socket, const Endpoint& destination) {
  const auto target = to_asio(destination);
  UniqueFd fd(::socket(target.protocol().family(), stream_flags, IPPROTO_TCP));
  if (!fd) return dial_error(destination, errno);
  set_flag(fd.get(), IPPROTO_TCP, TCP_NODELAY);
  const int done = ::connect(fd.get(), target.data(), static_cast<socklen_t>(target.size()));
  if (done != 0 && errno != EINPROGRESS) return dial_error(destination, errno);
  socket = Socket(socket.poller(), std::move(fd), destination);
  return std::nullopt;
}

Task<std::optional<DialError>> end_dial(Socket& socket, Endpoint destination, Milliseconds timeout) {
  const Deadline deadline(socket, timeout);
  const bool ended = co_await socket.wait_writable();
  if (deadline.expired()) co_return DialError{DialFailure::timeout, destination.to_string() + ": no answer in time"};
  if (!ended) co_return dial_error(destination, ECANCELED);
  if (!socket.has_failed()) co_return std::nullopt;
  int code = 0;
  socklen_t size = sizeof code;
  ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size);
  if (code != 0) co_return dial_error(destination, code);
  co_return std::nullopt;
}

Task<DialResult> dial(Endpoint destination, Milliseconds timeout) {
  Socket socket(co_await asio::this_coro::executor);
  auto failed = begin_dial(socket, destination);
  if (!failed) failed = co_await end_dial(socket, destination, timeout);
  if (failed) co_return std::move(*failed);
  co_return std::move(socket);
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
    const int fd = socket.native_handle();
    if (fd < 0) co_return boost::system::error_code(asio::error::operation_aborted);
    const auto got = ::recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got >= 0) {
      if (socket.has_read_for_long()) co_await socket.wait_turn();
      co_return static_cast<std::size_t>(got);
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return boost::system::error_code(errno, boost::system::system_category());
    const bool ready = co_await socket.wait_readable();
    if (!ready) co_return boost::system::error_code(asio::error::operation_aborted);
  }
}

Task<bool> write_all(Socket& socket, ByteSpan bytes) {
  while (!bytes.empty()) {
    const int fd = socket.native_handle();
    if (fd < 0) co_return false;
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(sent));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) co_return false;
    const bool ready = co_await socket.wait_writable();
    if (!ready) co_return false;
  }
  co_return true;
}

std::optional<Socket> accept(const Socket& listener) {
  Tcp::endpoint peer;
  auto size = static_cast<socklen_t>(peer.capacity());
  UniqueFd fd(::accept4(listener.native_handle(), peer.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return std::nullopt;
  peer.resize(size);
  return Socket(listener.poller(), std::move(fd), to_endpoint(peer));
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
