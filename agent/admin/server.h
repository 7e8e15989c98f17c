// The admin surface, HTTP/1.1 and read only: on a Unix socket GET /status, /flows (JSON), /ready, /live, /metrics; on a
// TCP listener, for whoever collects metrics, GET /metrics, /healthz, /readyz alone.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/json/value.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/ip.h"
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

// Serves on `io`, which one thread runs and which outlives it, from construction to destruction on that thread; a
// socket file goes with it. At most max_clients at a time, each with a few seconds for its one request and its answer;
// requests are bounded in size and have no body.
class Server {
 public:
  static constexpr unsigned max_clients = 16;

  // Creates the socket (mode 0600, its directory too when missing) in place of one that nobody listens on any more.
  // Fails when another process answers there or when the path is something else than a socket.
  static Result<std::unique_ptr<Server>> open(boost::asio::io_context& io, const std::string& socket_path,
                                              AdminViews views);

  // Listens at `endpoint`, beside a predecessor that is about to end. Of the views those two are called; the text of
  // metrics serves whoever asks within metrics_age, and why something is not ready stays on the Unix socket.
  static constexpr std::chrono::milliseconds metrics_age{100};
  static Result<std::unique_ptr<Server>> open_metrics(boost::asio::io_context& io, const Endpoint& endpoint,
                                                      std::function<std::string()> metrics,
                                                      std::function<std::optional<std::string>()> not_ready);
  // Where a TCP listener listens: port 0 has become one.
  Endpoint endpoint() const;

  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  explicit Server(std::shared_ptr<ServerState> state);
  std::shared_ptr<ServerState> state_;
};

}  // namespace sluice::admin
