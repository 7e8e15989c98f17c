#include "serving/event_feed.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <exception>
#include <utility>

#include "base/clock.h"
#include "policy/reason.h"
#include "sources/api_fetch.h"
#include "sources/kube_watch.h"

namespace sluice::serving {
namespace {

namespace asio = boost::asio;

constexpr auto as_result = asio::as_tuple(asio::use_awaitable);
constexpr std::chrono::milliseconds look_time{200};
constexpr std::chrono::milliseconds failure_pause{5000};
constexpr unsigned not_found = 404;
constexpr unsigned conflict = 409;
constexpr std::uint64_t trouble_time_ns = 5'000'000'000;  // what is shorter comes with a start

std::uint64_t random_prefix() {
  return std::uint64_t{sources::random_number()} << 32 | sources::random_number();
}

// "api.example.com:443 (203.0.113.7)", or what of it is known.
std::string target_of(const observe::Record& record) {
  const auto& host = !record.sni.empty() || !record.http ? record.sni : record.http->host;
  if (!record.destination) return host;
  if (host.empty()) return record.destination->to_string();
  return fmt::format("{}:{}", host, record.destination->port);
}

std::string message_of(const observe::Record& record, const std::string& target) {
  auto text =
      fmt::format("call to {} denied: {}", target.empty() ? "an address outside" : target, to_string(*record.reason));
  if (!record.detail.empty()) text += fmt::format(" ({})", record.detail);
  return text;
}

}  // namespace

Result<std::unique_ptr<EventFeed>> EventFeed::start(const settings::Kubernetes& settings, const std::string& component,
                                                    const std::string& node) {
  auto server = sources::ApiServer::open(settings);
  if (!server) return server.error();
  std::unique_ptr<EventFeed> feed(new EventFeed(component, node));
  feed->server_ = *std::move(server);
  asio::co_spawn(feed->context_, feed->run(), asio::detached);
  feed->thread_ = std::thread([raw = feed.get()] { raw->context_.run(); });
  return feed;
}

EventFeed::EventFeed(const std::string& component, const std::string& node)
    : node_(node), table_(component, node, random_prefix()) {}

EventFeed::~EventFeed() {
  context_.stop();
  if (thread_.joinable()) thread_.join();
}

void EventFeed::denied(const observe::Record& record) {
  if (!record.pod || record.pod->name.empty() || record.verdict != observe::Decision::deny || !record.reason) return;
  const kube::EventObject pod{"Pod", record.pod->namespace_name, record.pod->name, record.pod->uid};
  const auto target = target_of(record);
  const auto what = fmt::format("{} {}", to_string(*record.reason), target);
  const std::lock_guard lock(mutex_);
  table_.add(pod, "EgressDenied", what, message_of(record, target), record.count, monotonic_ns());
}

void EventFeed::set_wrong(const std::vector<std::string>& lines) {
  const auto now_ns = monotonic_ns();
  const std::lock_guard lock(mutex_);
  std::map<std::string, Wrong> now;
  for (const auto& line : lines) {
    const auto before = wrong_.find(line);
    auto& wrong = now[line];
    wrong = before != wrong_.end() ? before->second : Wrong{now_ns, false};
    if (wrong.told || now_ns - wrong.since_ns < trouble_time_ns) continue;
    wrong.told = true;
    // The kubelet's own Events of its Node have the name in place of the UID.
    table_.add({"Node", "", node_, node_}, "EgressDegraded", line, line, 1, now_ns);
  }
  wrong_ = std::move(now);
}

std::uint64_t EventFeed::dropped() const {
  const std::lock_guard lock(mutex_);
  return table_.dropped();
}

net::Task<void> EventFeed::run() {
  asio::steady_timer timer(context_);
  for (;;) {
    std::vector<kube::EventRequest> due;
    {
      const std::lock_guard lock(mutex_);
      due = table_.next(monotonic_ns(), wall_ns());
    }
    auto pause = look_time;
    for (auto& request : due) {
      co_await send(std::move(request));
      if (!trouble_.empty()) pause = failure_pause;
    }
    timer.expires_after(pause);
    co_await timer.async_wait(as_result);
  }
}

net::Task<void> EventFeed::send(kube::EventRequest request) {
  const auto number = request.number;
  sources::ApiQuestion question{std::move(request.method), std::move(request.path), std::move(request.content_type),
                                std::move(request.body)};
  const auto path = question.target;
  auto again = question;
  // A connection that rested may have ended meanwhile, which only the next request shows (RFC 9112 section 9.3.1).
  // Asked twice, an Event is there once: its name is its own, and a patch has the whole count.
  const bool rested = connection_ != nullptr;
  auto answer = co_await sources::ask(*server_, connection_, std::move(question), sources::max_refusal_bytes);
  const bool asked_again = rested && !answer;
  if (asked_again) answer = co_await sources::ask(*server_, connection_, std::move(again), sources::max_refusal_bytes);
  const bool done = answer && (answer->status / 100 == 2 || (asked_again && answer->status == conflict));
  std::string trouble;
  if (!answer) trouble = answer.error().message();
  if (answer && !done && answer->status != not_found) trouble = fmt::format("{}: status {}", path, answer->status);
  if (trouble != trouble_ && !trouble.empty()) spdlog::warn("Events cannot be written: {}", trouble);
  trouble_ = std::move(trouble);
  const std::lock_guard lock(mutex_);
  table_.answered(number, done, answer && answer->status == not_found);
}

}  // namespace sluice::serving
