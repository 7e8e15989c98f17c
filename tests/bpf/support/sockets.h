// Sockets for tests: every wait is bounded, every result is an errno value.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/ip.h"
#include "support/lab.h"

namespace sluice::test {

inline constexpr int patience_ms = 3000;  // for what must happen
// A client that is told nothing sends again after a second: what was refused sooner was told.
inline constexpr int at_once_ms = 900;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = sizeof(sockaddr_storage);

  sockaddr* raw() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* raw() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline int family_of(const IpAddress& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

inline SocketAddress to_socket_address(const Endpoint& endpoint) {
  SocketAddress out;
  const auto native = endpoint.address.native();
  if (endpoint.address.is_v4()) {
    auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(endpoint.port);
    std::memcpy(&v4->sin_addr, native.data(), native.size());
    out.size = sizeof *v4;
  } else {
    auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(endpoint.port);
    std::memcpy(&v6->sin6_addr, native.data(), native.size());
    out.size = sizeof *v6;
  }
  return out;
}

inline Endpoint to_endpoint(const SocketAddress& address) {
  if (address.storage.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(&v4->sin_addr);
    return {IpAddress::from_bytes({bytes, 4}).value(), ntohs(v4->sin_port)};
  }
  const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
  return {IpAddress::from_bytes({v6->sin6_addr.s6_addr, 16}).value(), ntohs(v6->sin6_port)};
}

inline Endpoint local_endpoint(int fd) {
  SocketAddress address;
  must(::getsockname(fd, address.raw(), &address.size) == 0, "getsockname");
  return to_endpoint(address);
}
inline Endpoint peer_endpoint(int fd) {
  SocketAddress address;
  must(::getpeername(fd, address.raw(), &address.size) == 0, "getpeername");
  return to_endpoint(address);
}

inline bool wait_until_ready(int fd, short events, int timeout_ms = patience_ms) {
  pollfd ready{.fd = fd, .events = events, .revents = 0};
  return ::poll(&ready, 1, timeout_ms) == 1;
}

// A listener; a transparent one accepts connections to any address.
inline UniqueFd listen_on(const Endpoint& where, bool transparent = false) {
  UniqueFd fd(::socket(family_of(where.address), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  must(static_cast<bool>(fd), "socket");
  const int on = 1;
  const bool is_v4 = where.address.is_v4();
  must(is_v4 || ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) == 0, "IPV6_V6ONLY");
  must(!transparent || ::setsockopt(fd.get(), is_v4 ? SOL_IP : SOL_IPV6, is_v4 ? IP_TRANSPARENT : IPV6_TRANSPARENT, &on,
                                    sizeof on) == 0,
       "IP_TRANSPARENT");
  const auto address = to_socket_address(where);
  must(::bind(fd.get(), address.raw(), address.size) == 0 && ::listen(fd.get(), 64) == 0, "listen");
  return fd;
}

// nullopt when nobody calls in time.
inline std::optional<UniqueFd> accept_from(const UniqueFd& listener, int timeout_ms = patience_ms) {
  if (!wait_until_ready(listener.get(), POLLIN, timeout_ms)) return std::nullopt;
  UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd) return std::nullopt;
  return fd;
}

struct Attempt {
  UniqueFd fd;
  int error = 0;  // ETIMEDOUT when nobody answered
  int elapsed_ms = 0;
};

// connect() and what came of it.
inline Attempt try_connect(const Endpoint& to, int timeout_ms = patience_ms) {
  const auto start = std::chrono::steady_clock::now();
  Attempt attempt{UniqueFd(::socket(family_of(to.address), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)), 0, 0};
  const auto address = to_socket_address(to);
  if (::connect(attempt.fd.get(), address.raw(), address.size) != 0) attempt.error = errno;
  if (attempt.error == EINPROGRESS) {
    attempt.error = ETIMEDOUT;
    socklen_t size = sizeof attempt.error;
    if (wait_until_ready(attempt.fd.get(), POLLOUT, timeout_ms)) {
      ::getsockopt(attempt.fd.get(), SOL_SOCKET, SO_ERROR, &attempt.error, &size);
    }
  }
  const auto elapsed = std::chrono::steady_clock::now() - start;
  attempt.elapsed_ms = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count());
  return attempt;
}

// A UDP socket that is connected to `to`.
inline UniqueFd connected_datagrams(const Endpoint& to) {
  UniqueFd fd(::socket(family_of(to.address), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto address = to_socket_address(to);
  must(fd && ::connect(fd.get(), address.raw(), address.size) == 0, "connect a datagram socket");
  return fd;
}
inline UniqueFd datagrams_at(const Endpoint& where) {
  UniqueFd fd(::socket(family_of(where.address), SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const auto address = to_socket_address(where);
  must(fd && ::bind(fd.get(), address.raw(), address.size) == 0, "bind a datagram socket");
  return fd;
}

inline void send_text(int fd, std::string_view characters) {
  must(::send(fd, characters.data(), characters.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(characters.size()),
       "send");
}

// What comes first, or the error in words.
inline std::string receive_text(int fd, int timeout_ms = patience_ms) {
  if (!wait_until_ready(fd, POLLIN, timeout_ms)) return "nothing";
  char buffer[2048];
  const auto size = ::recv(fd, buffer, sizeof buffer, 0);
  return size < 0 ? std::string(std::strerror(errno)) : std::string(buffer, static_cast<std::size_t>(size));
}

}  // namespace sluice::test
