#include "net/socket.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

DialFailure classify(const boost::system::error_code& error) {
  namespace errors = asio::error;
  if (error == errors::connection_refused || error == errors::connection_reset) return DialFailure::refused;
  if (error == errors::timed_out) return DialFailure::timeout;
  if (error == errors::host_unreachable || error == errors::network_unreachable) return DialFailure::unreachable;
  return DialFailure::local;
}

bool set_flag(int fd, int level, int name) {
  const int on = 1;
  return ::setsockopt(fd, level, name, &on, sizeof on) == 0;
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
  if (!prepared) return Error::from_errno(where, errno);
  acceptor.bind(target, error);
  if (!error) acceptor.listen(Tcp::acceptor::max_listen_connections, error);
  if (error) return Error(where + ": " + error.message());
  return acceptor;
}

Task<DialResult> dial(Endpoint destination, Milliseconds timeout) {
  Tcp::socket socket(co_await asio::this_coro::executor);
  boost::system::error_code error;
  const auto target = to_asio(destination);
  const auto failed = [&](DialFailure kind, const std::string& why) {
    return DialError{kind, destination.to_string() + ": " + why};
  };
  socket.open(target.protocol(), error);
  if (error) co_return failed(DialFailure::local, error.message());
  socket.set_option(Tcp::no_delay(true), error);
  {
    const Deadline deadline(socket, timeout);
    std::tie(error) = co_await socket.async_connect(target, as_result);
    if (deadline.expired()) co_return failed(DialFailure::timeout, "no answer in time");
  }
  if (error) co_return failed(classify(error), error.message());
  socket.native_non_blocking(true, error);
  co_return std::move(socket);
}

Deadline::Deadline(Tcp::socket& socket, Milliseconds timeout)
    : timer_(socket.get_executor(), timeout), expired_(std::make_shared<bool>(false)) {
  // The flag outlives this object: a handler that was queued before cancel() must not touch a socket that is gone.
  timer_.async_wait([&socket, expired = std::weak_ptr<bool>(expired_)](const boost::system::error_code& error) {
    const auto flag = expired.lock();
    if (error || !flag) return;
    *flag = true;
    boost::system::error_code ignored;
    socket.cancel(ignored);
  });
}

Deadline::~Deadline() {
  timer_.cancel();
}

Task<IoResult> read_some(Tcp::socket& socket, std::span<std::uint8_t> buffer) {
  const auto [error, size] = co_await socket.async_read_some(asio::buffer(buffer.data(), buffer.size()), as_result);
  if (error == asio::error::eof) co_return std::size_t{0};
  if (error) co_return error;
  co_return size;
}

Task<bool> write_all(Tcp::socket& socket, ByteSpan bytes) {
  const auto [error, size] = co_await asio::async_write(socket, asio::buffer(bytes.data(), bytes.size()), as_result);
  co_return !error;
}

std::optional<Endpoint> peer_of(Tcp::socket& socket) {
  boost::system::error_code error;
  auto peer = socket.local_endpoint(error);  // of the same family, and so of the same size
  auto size = static_cast<socklen_t>(peer.size());
  if (error || ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_PEERNAME, peer.data(), &size) != 0)
    return std::nullopt;
  return to_endpoint(peer);
}

bool is_quiet(Tcp::socket& socket) {
  std::uint8_t byte = 0;
  return ::recv(socket.native_handle(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

void reset(Tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.set_option(asio::socket_base::linger(true, 0), ignored);
  socket.close(ignored);
}

void finish_writing(Tcp::socket& socket) {
  boost::system::error_code ignored;
  socket.shutdown(Tcp::socket::shutdown_send, ignored);
}

}  // namespace sluice::net
