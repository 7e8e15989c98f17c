#include "admin/server.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/serialize.hpp>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/fd.h"
#include "net/listen.h"

namespace sluice::admin {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using Protocol = asio::generic::stream_protocol;  // either kind of socket
using Stream = beast::basic_stream<Protocol>;
using Answer = http::response<http::string_body>;
using Route = std::function<Answer(std::string_view target)>;
using boost::system::error_code;

constexpr std::uint32_t max_head_bytes = 8 * 1024;
constexpr auto client_timeout = std::chrono::seconds(5);
constexpr auto accept_pause = std::chrono::milliseconds(100);

Answer make_answer(http::status status, std::string body, const char* content_type = "text/plain; charset=utf-8") {
  Answer answer(status, 11, std::move(body));
  answer.set(http::field::content_type, content_type);
  answer.set(http::field::cache_control, "no-store");
  answer.keep_alive(false);
  answer.prepare_payload();
  return answer;
}

Answer as_json(const boost::json::value& value) {
  return make_answer(http::status::ok, boost::json::serialize(value) + "\n", "application/json");
}

Answer as_metrics(std::string text) {
  return make_answer(http::status::ok, std::move(text), "text/plain; version=0.0.4");
}

Answer answer_admin(const AdminViews& views, std::string_view target) {
  if (target == "/status") return as_json(views.status());
  if (target == "/flows") return as_json(views.flows());
  if (target == "/metrics") return as_metrics(views.metrics());
  if (target == "/live") return make_answer(http::status::ok, "live\n");
  if (target == "/ready") {
    const auto why_not = views.not_ready();
    return why_not ? make_answer(http::status::service_unavailable, *why_not + "\n")
                   : make_answer(http::status::ok, "ready\n");
  }
  return make_answer(http::status::not_found, "there are /status /flows /ready /live /metrics\n");
}

// Of the TCP listener, which many may reach.
class MetricsRoute {
 public:
  MetricsRoute(std::function<std::string()> metrics, std::function<std::optional<std::string>()> not_ready)
      : metrics_(std::move(metrics)), not_ready_(std::move(not_ready)) {}

  Answer operator()(std::string_view target) {
    if (target == "/metrics") return as_metrics(recent_text());
    if (target == "/healthz") return make_answer(http::status::ok, "live\n");
    if (target != "/readyz") return make_answer(http::status::not_found, "there are /metrics /healthz /readyz\n");
    return not_ready_() ? make_answer(http::status::service_unavailable, "not ready\n")
                        : make_answer(http::status::ok, "ready\n");
  }

 private:
  using Clock = std::chrono::steady_clock;

  // However many ask, the loop that enforces renders it now and then only.
  const std::string& recent_text() {
    const auto now = Clock::now();
    if (!rendered_ || now - *rendered_ >= Server::metrics_age) {
      text_ = metrics_();
      rendered_ = now;
    }
    return text_;
  }

  std::function<std::string()> metrics_;
  std::function<std::optional<std::string>()> not_ready_;
  std::string text_;
  std::optional<Clock::time_point> rendered_;
};

// A view that fails must not take the program with it.
Answer answer_for(const Route& route, http::verb method, std::string_view target) {
  if (method != http::verb::get) return make_answer(http::status::method_not_allowed, "only GET\n");
  try {
    return route(target);
  } catch (const std::exception& error) {
    return make_answer(http::status::internal_server_error, std::string(error.what()) + "\n");
  }
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error("admin.socket: the path must have 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

// Removes a socket that nobody listens on any more; refuses to remove anything else.
Status remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat facts{};
  if (::lstat(path.c_str(), &facts) != 0) {
    return errno == ENOENT ? Status(Done{}) : Error::from_errno("stat " + path, errno);
  }
  if (!S_ISSOCK(facts.st_mode)) return Error(path + " is there and no socket: set another admin.socket");
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return Error::from_errno("socket", errno);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::connect(probe.get(), raw, sizeof address) == 0 || errno != ECONNREFUSED) {
    return Error("another process answers on " + path + ": is sluice running already?");
  }
  if (::unlink(path.c_str()) != 0) return Error::from_errno("remove " + path, errno);
  return Done{};
}

Result<UniqueFd> listen_on(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return address.error();
  std::error_code error;
  const auto directory = std::filesystem::path(path).parent_path();
  if (!directory.empty()) std::filesystem::create_directories(directory, error);
  if (error) return Error("create " + directory.string() + ": " + error.message());
  if (auto removed = remove_stale(path, *address); !removed) return removed.error();

  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Error::from_errno("socket", errno);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&*address), sizeof *address) != 0) {
    return Error::from_errno("bind " + path, errno);
  }
  // Before listen() nobody can connect, whatever mode bind() gave.
  if (::chmod(path.c_str(), 0600) != 0) return Error::from_errno("chmod " + path, errno);
  if (::listen(fd.get(), Server::max_clients) != 0) return Error::from_errno("listen on " + path, errno);
  return fd;
}

}  // namespace

struct ServerState {
  ServerState(asio::io_context& io, std::string socket_path, Route given)
      : acceptor(io), path(std::move(socket_path)), route(std::move(given)) {}

  asio::basic_socket_acceptor<Protocol> acceptor;
  std::string path;  // of the socket file; empty: there is none
  Route route;
  unsigned clients = 0;
};

namespace {

// Counts one client for its lifetime.
class Seat {
 public:
  explicit Seat(unsigned& taken) : taken_(taken) { ++taken_; }
  ~Seat() { --taken_; }
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

 private:
  unsigned& taken_;
};

asio::awaitable<void> serve_client(std::shared_ptr<ServerState> state, Protocol::socket socket) {
  const Seat seat(state->clients);
  Stream stream(std::move(socket));
  // One limit for everything: a client that reads slowly is as bad as one that writes slowly.
  stream.expires_after(client_timeout);
  beast::flat_buffer buffer(max_head_bytes + 1024);
  http::request_parser<http::empty_body> parser;
  parser.header_limit(max_head_bytes);
  parser.body_limit(0);
  error_code error;
  co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
  // The views end with the server.
  if (!state->acceptor.is_open()) co_return;
  Answer answer = make_answer(http::status::bad_request, "bad request\n");
  if (!error) {
    const auto target = parser.get().target();
    answer = answer_for(state->route, parser.get().method(), {target.data(), target.size()});
  } else if (error.category() != http::make_error_code(http::error::bad_method).category()) {
    co_return;
  }
  co_await http::async_write(stream, answer, asio::redirect_error(asio::use_awaitable, error));
}

asio::awaitable<void> accept_clients(std::shared_ptr<ServerState> state) {
  auto executor = state->acceptor.get_executor();
  while (state->acceptor.is_open()) {
    error_code error;
    auto socket = co_await state->acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (!state->acceptor.is_open()) co_return;
    if (error) {
      // Out of file descriptors, most likely: asking again at once would spin.
      asio::steady_timer pause(executor, accept_pause);
      co_await pause.async_wait(asio::redirect_error(asio::use_awaitable, error));
      continue;
    }
    if (state->clients >= Server::max_clients) continue;
    asio::co_spawn(executor, serve_client(state, std::move(socket)), asio::detached);
  }
}

Status begin(const std::shared_ptr<ServerState>& state, asio::io_context& io, int family, UniqueFd fd) {
  error_code error;
  state->acceptor.assign(Protocol(family, 0), fd.get(), error);
  if (error) return Error(error.message());
  (void)fd.release();
  asio::co_spawn(io, accept_clients(state), asio::detached);
  return Done{};
}

}  // namespace

Result<std::unique_ptr<Server>> Server::open(asio::io_context& io, const std::string& socket_path, AdminViews views) {
  auto fd = listen_on(socket_path);
  if (!fd) return fd.error().in("admin socket");
  auto route = [views = std::move(views)](std::string_view target) { return answer_admin(views, target); };
  auto state = std::make_shared<ServerState>(io, socket_path, std::move(route));
  if (auto begun = begin(state, io, AF_UNIX, *std::move(fd)); !begun) return begun.error().in("admin socket");
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Result<std::unique_ptr<Server>> Server::open_metrics(asio::io_context& io, const Endpoint& endpoint,
                                                     std::function<std::string()> metrics,
                                                     std::function<std::optional<std::string>()> not_ready) {
  auto listener = net::listen(io, endpoint, {.reuse_port = true});
  if (!listener) return listener.error();
  error_code error;
  UniqueFd fd(listener->release(error));
  if (error) return Error("metrics listener: " + error.message());
  auto state = std::make_shared<ServerState>(io, "", MetricsRoute(std::move(metrics), std::move(not_ready)));
  const auto family = endpoint.address.is_v4() ? AF_INET : AF_INET6;
  if (auto begun = begin(state, io, family, std::move(fd)); !begun) return begun.error().in("metrics listener");
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Endpoint Server::endpoint() const {
  error_code error;
  const auto local = state_->acceptor.local_endpoint(error);
  asio::ip::tcp::endpoint tcp;
  if (error || local.size() > tcp.capacity()) return {};
  std::memcpy(tcp.data(), local.data(), local.size());
  return net::to_endpoint(tcp);
}

Server::Server(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}

Server::~Server() {
  if (!state_->path.empty()) ::unlink(state_->path.c_str());
  error_code error;
  state_->acceptor.close(error);
}

}  // namespace sluice::admin
