#include "net/dial.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cerrno>
#include <deque>
#include <memory>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
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

struct Attempt {
  Socket socket;
  Endpoint endpoint;
};

// What the attempts of one call share; each holds it, so that none outlives it.
struct Race : std::enable_shared_from_this<Race> {
  explicit Race(const asio::any_io_executor& executor) : changed(executor) {}

  void begin(const Endpoint& endpoint, Milliseconds timeout);
  // For one that was begun.
  void wait(Attempt attempt, Milliseconds timeout);

  asio::steady_timer changed;  // cancelled when an attempt ends
  std::deque<Attempt> attempts;
  Attempt* winner = nullptr;
  std::vector<DialError> errors;
  std::size_t running = 0;
  bool ended = false;  // an attempt has, since the last look
};

// Waits for an attempt that was begun.
Task<void> finish(std::shared_ptr<Race> race, Attempt& attempt, Milliseconds timeout) {
  const Deadline deadline(attempt.socket, timeout);
  const bool connected = co_await attempt.socket.wait_writable();
  auto failed = end_dial(attempt.socket, attempt.endpoint, deadline, connected);
  if (failed) {
    race->errors.push_back(std::move(*failed));
  } else if (race->winner == nullptr) {
    race->winner = &attempt;
  }
  --race->running;
  race->ended = true;
  race->changed.cancel();
}

void Race::begin(const Endpoint& endpoint, Milliseconds timeout) {
  Socket socket(changed.get_executor());
  auto failed = begin_dial(socket, endpoint);
  if (!failed) return wait({std::move(socket), endpoint}, timeout);
  errors.push_back(std::move(*failed));
  ended = true;
}

void Race::wait(Attempt attempt, Milliseconds timeout) {
  ++running;
  auto& kept = attempts.emplace_back(std::move(attempt));
  asio::co_spawn(changed.get_executor(), finish(shared_from_this(), kept, timeout), asio::detached);
}

DialError verdict_of(const std::vector<DialError>& errors) {
  const auto timeout = std::find_if(errors.begin(), errors.end(),
                                    [](const DialError& error) { return error.kind == DialFailure::timeout; });
  return timeout == errors.end() ? errors.front() : *timeout;
}

// `race` has what the first of the endpoints has come to.
Task<std::variant<Dialled, DialError>> run(std::shared_ptr<Race> race, std::vector<Endpoint> endpoints, DialPlan plan) {
  std::size_t begun = 1;
  while (race->winner == nullptr && (begun < endpoints.size() || race->running > 0)) {
    race->ended = false;
    if (begun < endpoints.size()) race->begin(endpoints[begun++], plan.timeout);
    if (race->ended) continue;
    // Until the next one may begin; after the last one, until they have ended.
    race->changed.expires_after(begun < endpoints.size() ? plan.attempt_delay : plan.timeout * 2);
    co_await race->changed.async_wait(as_result);
  }
  for (auto& attempt : race->attempts) attempt.socket.cancel();
  if (race->winner == nullptr) co_return verdict_of(race->errors);
  co_return Dialled{std::move(race->winner->socket), race->winner->endpoint};
}

}  // namespace

std::optional<DialError> begin_dial(Socket& socket, const Endpoint& destination) {
  const auto target = to_asio(destination);
  UniqueFd fd(::socket(target.protocol().family(), stream_flags, IPPROTO_TCP));
  if (!fd) return dial_error(destination, errno);
  const int on = 1;
  ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  const int done = ::connect(fd.get(), target.data(), static_cast<socklen_t>(target.size()));
  if (done != 0 && errno != EINPROGRESS) return dial_error(destination, errno);
  socket.open(std::move(fd), destination);
  return std::nullopt;
}

std::optional<DialError> end_dial(const Socket& socket, const Endpoint& destination, const Deadline& deadline,
                                  bool ended) {
  if (deadline.expired()) return DialError{DialFailure::timeout, destination.to_string() + ": no answer in time"};
  if (!ended) return dial_error(destination, ECANCELED);
  if (!socket.has_failed()) return std::nullopt;
  int code = 0;
  socklen_t size = sizeof code;
  ::getsockopt(socket.native_handle(), SOL_SOCKET, SO_ERROR, &code, &size);
  return code != 0 ? std::optional(dial_error(destination, code)) : std::nullopt;
}

Task<DialResult> dial(Endpoint destination, Milliseconds timeout) {
  Socket socket(co_await asio::this_coro::executor);
  if (auto failed = begin_dial(socket, destination)) co_return std::move(*failed);
  const Deadline deadline(socket, timeout);
  const bool ended = co_await socket.wait_writable();
  if (auto failed = end_dial(socket, destination, deadline, ended)) co_return std::move(*failed);
  co_return std::move(socket);
}

Task<std::variant<Dialled, DialError>> dial_any(std::vector<Endpoint> endpoints, DialPlan plan) {
  const auto executor = co_await asio::this_coro::executor;
  if (endpoints.size() > plan.max_attempts) endpoints.resize(plan.max_attempts);
  if (endpoints.empty()) co_return DialError{DialFailure::local, "no address to connect to"};
  // Most of the time the first one answers, and there is no race.
  const auto head_start = endpoints.size() == 1 ? plan.timeout : std::min(plan.attempt_delay, plan.timeout);
  Socket first(executor);
  auto failed = begin_dial(first, endpoints.front());
  if (!failed) {
    const Deadline deadline(first, head_start);
    const bool ended = co_await first.wait_writable();
    failed = end_dial(first, endpoints.front(), deadline, ended);
    if (!failed) co_return Dialled{std::move(first), endpoints.front()};
  }
  if (endpoints.size() == 1) co_return std::move(*failed);
  const auto race = std::make_shared<Race>(executor);
  if (failed->kind == DialFailure::timeout && head_start < plan.timeout) {
    race->wait({std::move(first), endpoints.front()}, plan.timeout - head_start);
  } else {
    race->errors.push_back(std::move(*failed));
  }
  co_return co_await run(race, std::move(endpoints), plan);
}

}  // namespace sluice::net
