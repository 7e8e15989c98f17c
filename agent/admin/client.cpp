#include "admin/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <boost/beast/http.hpp>
#include <cerrno>
#include <cstring>

#include "base/fd.h"

namespace sluice::admin {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;

constexpr std::size_t max_answer_bytes = 256UL * 1024 * 1024;

// False when `deadline` comes first.
bool wait_for(int fd, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd waiting{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

Error connect_error(const std::string& path, int code) {
  if (code == ENOENT) return Error("no socket at " + path + ": is sluice running, and is this its admin.socket?");
  if (code == ECONNREFUSED) return Error("nobody answers on " + path + ": sluice is not running");
  if (code == EACCES) return Error("no access to " + path + ": run this as root");
  if (code == EAGAIN) return Error("too many clients on " + path + ": try again");
  return Error::from_errno("connect to " + path, code);
}

Result<UniqueFd> connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return Error("bad socket path " + path);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return connect_error(path, errno);
  }
  return fd;
}

Status send_all(int fd, std::string_view bytes, Clock::time_point deadline) {
  while (!bytes.empty()) {
    const auto sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (sent == 0) {
      return Error("send: nothing is taken");
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLOUT, deadline)) return Error("timed out");
    } else if (errno != EINTR) {
      return Error::from_errno("send", errno);
    }
  }
  return Done{};
}

Result<std::string> receive_all(int fd, Clock::time_point deadline) {
  std::string text;
  char buffer[64 * 1024];
  for (;;) {
    const auto got = ::recv(fd, buffer, sizeof buffer, 0);
    if (got == 0) return text;
    if (got > 0) {
      text.append(buffer, static_cast<std::size_t>(got));
      if (text.size() > max_answer_bytes) return Error("the answer is too long");
    } else if (errno == EAGAIN) {
      if (!wait_for(fd, POLLIN, deadline)) return Error("timed out");
    } else if (errno != EINTR) {
      return Error::from_errno("receive", errno);
    }
  }
}

Result<Response> parse(const std::string& text) {
  http::response_parser<http::string_body> parser;
  parser.eager(true);
  parser.body_limit(max_answer_bytes);
  boost::system::error_code error;
  parser.put(boost::asio::buffer(text), error);
  if (!error && !parser.is_done()) parser.put_eof(error);
  if (error || !parser.is_done()) return Error("the answer is no whole HTTP response");
  return Response{parser.get().result_int(), std::move(parser.get().body())};
}

}  // namespace

Result<Response> get(const std::string& socket_path, const std::string& target, std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  const auto fd = connect_to(socket_path);
  if (!fd) return fd.error();
  const auto request = "GET " + target + " HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n\r\n";
  if (auto sent = send_all(fd->get(), request, deadline); !sent) return sent.error().in(socket_path);
  const auto text = receive_all(fd->get(), deadline);
  if (!text) return text.error().in(socket_path);
  auto response = parse(*text);
  return response ? std::move(response) : response.error().in(socket_path);
}

}  // namespace sluice::admin
