#include "net/dial.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <deque>
#include <memory>

namespace sluice::net {
namespace {

namespace asio = boost::asio;
constexpr auto as_result = asio::as_tuple(asio::use_awaitable);

// What the attempts of one call share; each holds it, so that none outlives it.
struct Race {
  explicit Race(const asio::any_io_executor& executor) : changed(executor) {}

  asio::steady_timer changed;  // cancelled when an attempt ends
  std::deque<asio::cancellation_signal> signals;
  std::optional<Dialled> winner;
  std::vector<DialError> errors;
  std::size_t running = 0;
  bool ended = false;  // an attempt has, since the last look
};

// Says that an attempt has ended, however it did.
class Ended {
 public:
  explicit Ended(Race& race) : race_(race) {}
  ~Ended() {
    --race_.running;
    race_.ended = true;
    race_.changed.cancel();
  }
  Ended(const Ended&) = delete;
  Ended& operator=(const Ended&) = delete;

 private:
  Race& race_;
};

Task<void> attempt(std::shared_ptr<Race> race, Endpoint endpoint, Milliseconds timeout) {
  const Ended ended(*race);
  auto result = co_await dial(endpoint, timeout);
  if (auto* error = std::get_if<DialError>(&result)) {
    race->errors.push_back(std::move(*error));
  } else if (!race->winner) {
    race->winner.emplace(Dialled{std::get<Tcp::socket>(std::move(result)), endpoint});
  }
}

DialError verdict_of(const std::vector<DialError>& errors) {
  if (errors.empty()) return {DialFailure::local, "no address to connect to"};
  const auto timeout = std::find_if(errors.begin(), errors.end(),
                                    [](const DialError& error) { return error.kind == DialFailure::timeout; });
  return timeout == errors.end() ? errors.front() : *timeout;
}

}  // namespace

Task<std::variant<Dialled, DialError>> dial_any(std::vector<Endpoint> endpoints, DialPlan plan) {
  const auto executor = co_await asio::this_coro::executor;
  const auto race = std::make_shared<Race>(executor);
  const auto count = std::min(endpoints.size(), plan.max_attempts);
  std::size_t begun = 0;
  while (!race->winner && (begun < count || race->running > 0)) {
    race->ended = false;
    if (begun < count) {
      ++race->running;
      auto& signal = race->signals.emplace_back();
      asio::co_spawn(executor, attempt(race, endpoints[begun++], plan.timeout),
                     asio::bind_cancellation_slot(signal.slot(), asio::detached));
    }
    if (race->ended) continue;
    // Until the next one may begin; after the last one, until they have ended.
    race->changed.expires_after(begun < count ? plan.attempt_delay : plan.timeout * 2);
    co_await race->changed.async_wait(as_result);
  }
  for (auto& signal : race->signals) signal.emit(asio::cancellation_type::terminal);
  if (!race->winner) co_return verdict_of(race->errors);
  co_return std::move(*race->winner);
}

}  // namespace sluice::net
