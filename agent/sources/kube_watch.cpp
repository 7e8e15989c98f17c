#include "sources/kube_watch.h"

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <iterator>
#include <utility>

#include "base/clock.h"
#include "kube/line_reader.h"
#include "sources/api_fetch.h"
#include "tls/random.h"

namespace sluice::sources {
namespace {

namespace asio = boost::asio;
using kube::Watch;
using net::Milliseconds;
using net::Task;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::size_t max_list_bytes = 32UL * 1024 * 1024;
constexpr std::size_t max_line_bytes = 8UL * 1024 * 1024;  // etcd takes objects of 1.5 MiB

// One that began just now.
std::string time_text() {
  std::string text;
  append_time(text, wall_ns());
  return text.substr(0, text.find('.')) + "Z";
}

}  // namespace

bool Since::update(std::string now) {
  if (now == why) return false;
  if (why.empty()) time = time_text();
  why = std::move(now);
  return true;
}

std::uint32_t random_number() {
  std::array<std::uint8_t, 4> bytes{};
  tls::fill_random(bytes);
  return std::uint32_t{bytes[0]} | std::uint32_t{bytes[1]} << 8 | std::uint32_t{bytes[2]} << 16 |
         std::uint32_t{bytes[3]} << 24;
}

KubeWatch::KubeWatch(asio::io_context& context, std::shared_ptr<ApiServer> server, kube::WatchLimits limits,
                     Watch::Trim trim, Sink sink)
    : context_(context),
      server_(std::move(server)),
      limits_(limits),
      trim_(trim),
      sink_(std::move(sink)),
      watch_(limits, random_number, trim),
      timer_(context) {}

void KubeWatch::follow(std::string path, const std::string& selector) {
  auto target = path + "?";
  if (!selector.empty()) target += selector + "&";
  if (target_ != target) {
    moved_ = !target_.empty();
    target_ = std::move(target);
    path_ = std::move(path);
  }
  if (std::exchange(running_, true)) return;
  asio::co_spawn(context_, run(shared_from_this()), asio::detached);
}

void KubeWatch::forget() {
  // Its coroutine ends, and takes the objects along.
  target_.clear();
  path_.clear();
  timer_.cancel();
}

void KubeWatch::end() {
  ended_ = true;
  sink_ = {[](kube::Change&) {}, [](bool) {}};
  timer_.cancel();
}

Task<void> KubeWatch::run(std::shared_ptr<KubeWatch> self) {
  std::unique_ptr<ApiConnection> connection;
  auto& watch = self->watch_;
  while (!self->ended_ && !self->target_.empty()) {
    if (std::exchange(self->moved_, false)) watch.restart();
    auto next = watch.next(monotonic_ns());
    std::string thrown;
    try {
      co_await self->step(connection, std::move(next));
      if (self->ended_) co_return;
      self->deliver();
    } catch (const std::exception& error) {
      thrown = error.what();
    }
    if (thrown.empty()) continue;
    connection.reset();
    watch.restart();
    watch.on_failure(std::move(thrown), monotonic_ns());
  }
  self->running_ = false;
  if (self->ended_) co_return;
  // An empty list of what is no more.
  watch.restart();
  watch.on_list(status_ok, R"({"metadata":{"resourceVersion":"0"},"items":[]})", monotonic_ns());
  self->deliver();
  watch = Watch(self->limits_, random_number, self->trim_);
  self->sink_.delivered(true);
}

Task<void> KubeWatch::step(std::unique_ptr<ApiConnection>& connection, Watch::Step step) {
  if (const auto* pause = std::get_if<Watch::Pause>(&step)) {
    const auto now_ns = monotonic_ns();
    timer_.expires_after(std::chrono::nanoseconds(pause->until_ns - std::min(now_ns, pause->until_ns)));
    co_await timer_.async_wait(as_result);
  } else if (auto* page = std::get_if<Watch::List>(&step)) {
    co_await list(connection, std::move(page->query));
  } else {
    co_await stream(connection, std::move(*std::get_if<Watch::Follow>(&step)));
  }
}

Task<void> KubeWatch::list(std::unique_ptr<ApiConnection>& connection, std::string query) {
  auto answer = co_await fetch(*server_, connection, target_ + query, max_list_bytes);
  const auto now_ns = monotonic_ns();
  if (!answer)
    watch_.on_failure(answer.error().message(), now_ns);
  else if (answer->body)
    watch_.on_list(answer->status, *answer->body, now_ns);
  else
    watch_.on_oversized_list(now_ns);
}

Task<void> KubeWatch::stream(std::unique_ptr<ApiConnection>& connection, Watch::Follow follow) {
  const auto connected = co_await keep_connected(*server_, connection);
  if (!connected) {
    watch_.on_failure(connected.error().message(), monotonic_ns());
    co_return;
  }
  auto request = server_->request(target_ + follow.query);
  if (!request) {
    watch_.on_failure(request.error().message(), monotonic_ns());
    co_return;
  }
  auto status = co_await connection->ask(*std::move(request), answer_timeout);
  if (!status) {
    connection.reset();
    watch_.on_failure(status.error().message(), monotonic_ns());
    co_return;
  }
  if (*status != status_ok) {
    auto body = co_await read_whole(*connection, max_refusal_bytes);
    const bool whole = body && body->has_value();
    watch_.on_follow(*status, whole ? **body : "", monotonic_ns());
    if (!whole) connection.reset();
    co_return;
  }
  watch_.on_follow(status_ok, "", monotonic_ns());
  deliver();
  // The server ends the stream by itself; one that does not is dead.
  const Milliseconds silence = std::chrono::seconds(follow.timeout_s) + answer_timeout;
  co_await read_lines(connection, silence);
}

Task<void> KubeWatch::read_lines(std::unique_ptr<ApiConnection>& connection, Milliseconds silence) {
  kube::LineReader lines(max_line_bytes);
  bool useful = true;
  while (useful && !target_.empty()) {
    const auto piece = co_await connection->read_body(silence);
    if (ended_) co_return;
    if (!piece) {
      connection.reset();
      watch_.on_failure(piece.error().message(), monotonic_ns());
      co_return;
    }
    if (piece->empty()) {
      watch_.on_end(monotonic_ns());
      co_return;
    }
    if (!lines.feed(*piece)) {
      connection.reset();
      // Asked again from here on it would come again.
      watch_.restart();
      watch_.on_failure("watch: a line is longer than is read", monotonic_ns());
      co_return;
    }
    while (useful) {
      const auto line = lines.next();
      if (!line) break;
      useful = watch_.on_line(*line, monotonic_ns());
    }
    deliver();
  }
  connection.reset();
}

void KubeWatch::deliver() {
  auto changes = watch_.take_changes();
  std::move(changes.begin(), changes.end(), std::back_inserter(pending_));
  const bool any = !pending_.empty();
  // Each stays until it is done, whatever is thrown: the watch tells of none twice.
  for (; !pending_.empty(); pending_.pop_front()) sink_.apply(pending_.front());
  const bool trouble = trouble_.update(watch_.trouble().why);
  sink_.delivered(any || trouble);
}

}  // namespace sluice::sources
