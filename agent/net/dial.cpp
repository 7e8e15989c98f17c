#include "net/dial.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

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
  auto begun = begin_dial(Poller::of(changed.get_executor()), endpoint);
  if (auto* socket = std::get_if<Socket>(&begun)) return wait({std::move(*socket), endpoint}, timeout);
  errors.push_back(std::get<DialError>(std::move(begun)));
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

Task<std::variant<Dialled, DialError>> dial_any(std::vector<Endpoint> endpoints, DialPlan plan) {
  const auto executor = co_await asio::this_coro::executor;
  if (endpoints.size() > plan.max_attempts) endpoints.resize(plan.max_attempts);
  if (endpoints.empty()) co_return DialError{DialFailure::local, "no address to connect to"};
  // Most of the time the first one answers, and there is no race.
  const auto head_start = endpoints.size() == 1 ? plan.timeout : std::min(plan.attempt_delay, plan.timeout);
  auto begun = begin_dial(Poller::of(executor), endpoints.front());
  auto* first = std::get_if<Socket>(&begun);
  std::optional<DialError> failed;
  if (first != nullptr) {
    const Deadline deadline(*first, head_start);
    const bool ended = co_await first->wait_writable();
    failed = end_dial(*first, endpoints.front(), deadline, ended);
    if (!failed) co_return Dialled{std::move(*first), endpoints.front()};
  } else {
    failed = std::get<DialError>(std::move(begun));
  }
  if (endpoints.size() == 1) co_return std::move(*failed);
  const auto race = std::make_shared<Race>(executor);
  if (failed->kind == DialFailure::timeout && head_start < plan.timeout) {
    race->wait({std::move(*first), endpoints.front()}, plan.timeout - head_start);
  } else {
    race->errors.push_back(std::move(*failed));
  }
  co_return co_await run(race, std::move(endpoints), plan);
}

}  // namespace sluice::net
