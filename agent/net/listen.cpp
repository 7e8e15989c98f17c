#include "net/listen.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

namespace sluice::net {
namespace {

bool set_flag(int fd, int level, int name) {
  const int on = 1;
  return ::setsockopt(fd, level, name, &on, sizeof on) == 0;
}

}  // namespace

Result<Tcp::acceptor> listen(boost::asio::io_context& context, const Endpoint& endpoint, ListenOptions options) {
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

std::optional<Socket> accept(const Socket& listener) {
  Tcp::endpoint peer;
  auto size = static_cast<socklen_t>(peer.capacity());
  UniqueFd fd(::accept4(listener.native_handle(), peer.data(), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return std::nullopt;
  peer.resize(size);
  return Socket(listener.poller(), std::move(fd), to_endpoint(peer));
}

}  // namespace sluice::net
