// The admin surface: a Unix socket speaking HTTP/1.1, read only. GET /status, /flows (JSON), /ready, /live, /metrics.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/json/value.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"

namespace sluice::admin {

// Where the answers come from. Called on the thread of the server's io_context, never after the server's destruction.
struct AdminViews {
  std::function<boost::json::value()> status;
  std::function<boost::json::value()> flows;
  std::function<std::string()> metrics;                   // Prometheus text
  std::function<std::optional<std::string>()> not_ready;  // why /ready is 503; nullopt: it is 200
};

struct ServerState;

// Serves on `io`, which one thread runs and which outlives it, from construction to destruction on that thread; the
// socket file goes with it. At most max_clients at a time, each
// with a few seconds for its one request; requests are bounded in size and have no body.
class Server {
 public:
  static constexpr unsigned max_clients = 16;

  // Creates the socket (mode 0600, its directory too when missing) in place of one that nobody listens on any more.
  // Fails when another process answers there or when the path is something else than a socket.
  static Result<std::unique_ptr<Server>> open(boost::asio::io_context& io, const std::string& socket_path,
                                              AdminViews views);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  explicit Server(std::shared_ptr<ServerState> state);
  std::shared_ptr<ServerState> state_;
};

}  // namespace sluice::admin
