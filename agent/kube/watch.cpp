#include "kube/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <utility>

namespace sluice::kube {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr unsigned ok = 200;
constexpr unsigned unauthorized = 401;
constexpr unsigned forbidden = 403;
constexpr unsigned not_found = 404;
constexpr unsigned gone = 410;
constexpr std::uint32_t shortest_follow_s = 300;    // and up to twice as long, so that clients do not come in step
constexpr std::uint64_t steady_ns = 5 * second_ns;  // a stream that held for so long was a good one
constexpr std::uint64_t longest_retry_after_s = 60;
constexpr std::uint32_t page_divisor = 5;

std::string_view meaning_of(unsigned status) {
  switch (status) {
    case unauthorized:
      return "the credentials are not accepted";
    case forbidden:
      return "the right to list and watch it is missing";
    case not_found:
      return "the kind is not served";
    default:
      return "";
  }
}

}  // namespace

std::string encode_query(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Watch::Watch(WatchLimits limits, Random random, Trim trim)
    : limits_(limits), random_(std::move(random)), trim_(trim), page_(limits.page) {}

Watch::Step Watch::next(std::uint64_t now_ns) {
  if (now_ns < pause_until_ns_) return Pause{pause_until_ns_};
  if (!following_) {
    auto query = fmt::format("limit={}", page_);
    if (!continue_.empty()) query += "&continue=" + encode_query(continue_);
    return List{std::move(query)};
  }
  const auto timeout_s = shortest_follow_s + random_() % shortest_follow_s;
  return Follow{fmt::format("watch=1&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={}",
                            encode_query(version_), timeout_s),
                timeout_s};
}

void Watch::on_list(unsigned status, std::string_view body, std::uint64_t now_ns) {
  if (status == gone && !continue_.empty()) return expire("the list", now_ns);
  if (status != ok) return refuse(status, body, now_ns);
  auto page = parse_list(body);
  if (!page) {
    begin_list();
    return fail("list: " + page.error().message(), now_ns);
  }
  const bool last = page->next.empty();
  if (take_page(*std::move(page), now_ns) && last) finish_list();
}

void Watch::on_oversized_list(std::uint64_t now_ns) {
  begin_list();
  if (page_ == 1) return fail("list: one object is larger than is read", now_ns);
  page_ = std::max(page_ / page_divisor, 1U);
}

bool Watch::take_page(ListPage page, std::uint64_t now_ns) {
  if (listed_.size() + page.items.size() > limits_.objects) {
    begin_list();
    fail(fmt::format("list: more than {} objects", limits_.objects), now_ns);
    return false;
  }
  for (auto& object : page.items) {
    Known now{object.uid, object.version};
    const auto before = known_.find(object.id);
    const bool same = before != known_.end() && before->second == now;
    listed_.insert_or_assign(object.id, std::move(now));
    if (same) continue;
    if (trim_ != nullptr) trim_(object.content);
    listed_changes_.push_back({false, std::move(object)});
  }
  continue_ = std::move(page.next);
  version_ = std::move(page.version);
  return true;
}

void Watch::finish_list() {
  for (const auto& [id, known] : known_) {
    if (!listed_.contains(id)) changes_.push_back({true, {id, known.uid, known.version, {}}});
  }
  std::move(listed_changes_.begin(), listed_changes_.end(), std::back_inserter(changes_));
  known_ = std::move(listed_);
  begin_list();
  page_ = limits_.page;
  complete_ = true;
  following_ = true;
}

void Watch::on_follow(unsigned status, std::string_view body, std::uint64_t now_ns) {
  if (status == gone) return expire("the watch", now_ns);
  if (status != ok) return refuse(status, body, now_ns);
  followed_since_ns_ = now_ns;
  trouble_ = {};
}

bool Watch::on_line(std::string_view line, std::uint64_t now_ns) {
  if (line.empty() || line == "\r") return true;
  auto event = parse_event(line);
  if (!event) {
    // What it said is lost: only a list tells.
    begin_list();
    fail("watch: " + event.error().message(), now_ns);
    return false;
  }
  if (event->type == EventType::error) {
    if (event->code == gone) {
      expire("the watch", now_ns);
    } else {
      begin_list();
      fail(fmt::format("watch: {} {}", event->code, event->message), now_ns);
    }
    return false;
  }
  if (event->type == EventType::put && !known_.contains(event->object.id) && known_.size() >= limits_.objects) {
    begin_list();
    fail(fmt::format("watch: more than {} objects", limits_.objects), now_ns);
    return false;
  }
  take_event(*std::move(event));
  back_off_.reset();
  expired_before_ = false;
  return true;
}

void Watch::take_event(Event event) {
  if (event.type == EventType::unknown) return;
  auto& object = event.object;
  version_ = object.version;
  if (event.type == EventType::bookmark) return;
  if (event.type == EventType::removed) {
    if (known_.erase(object.id) > 0) changes_.push_back({true, std::move(object)});
    return;
  }
  Known now{object.uid, object.version};
  auto& known = known_[object.id];
  if (known == now) return;
  known = std::move(now);
  if (trim_ != nullptr) trim_(object.content);
  changes_.push_back({false, std::move(object)});
}

void Watch::on_end(std::uint64_t now_ns) {
  if (now_ns - followed_since_ns_ < steady_ns) {
    // An end without a reason: worth a wait, not worth a word.
    const auto wait = std::chrono::nanoseconds(back_off_.next(random_()));
    pause_until_ns_ = now_ns + static_cast<std::uint64_t>(wait.count());
    return;
  }
  back_off_.reset();
  expired_before_ = false;
}

void Watch::on_failure(std::string why, std::uint64_t now_ns) {
  fail(std::move(why), now_ns);
}

void Watch::restart() {
  begin_list();
  pause_until_ns_ = 0;
}

std::vector<Change> Watch::take_changes() {
  return std::exchange(changes_, {});
}

void Watch::begin_list() {
  following_ = false;
  continue_.clear();
  listed_.clear();
  listed_changes_ = {};
}

void Watch::refuse(unsigned status, std::string_view body, std::uint64_t now_ns) {
  const auto refusal = parse_refusal(body);
  const auto meaning = meaning_of(status);
  auto why = fmt::format("{}: status {}", following_ ? "watch" : "list", status);
  if (!meaning.empty()) why += fmt::format(", {}", meaning);
  if (!refusal.message.empty()) why += ": " + refusal.message;
  // A resourceVersion or a continue token that the server finds fault with is no use.
  if (status == 400) begin_list();
  fail(std::move(why), now_ns, std::min(refusal.retry_after_s, longest_retry_after_s));
}

void Watch::fail(std::string why, std::uint64_t now_ns, std::uint64_t at_least_s) {
  if (trouble_.since_ns == 0) trouble_.since_ns = now_ns;
  trouble_.why = std::move(why);
  const auto wait = std::chrono::nanoseconds(back_off_.next(random_()));
  pause_until_ns_ = now_ns + std::max(static_cast<std::uint64_t>(wait.count()), at_least_s * second_ns);
}

void Watch::expire(std::string_view what, std::uint64_t now_ns) {
  begin_list();
  // Once is in the nature of things; again, without anything between, is a server in difficulty.
  if (std::exchange(expired_before_, true)) fail(fmt::format("{} expires as soon as it begins", what), now_ns);
}

}  // namespace sluice::kube
