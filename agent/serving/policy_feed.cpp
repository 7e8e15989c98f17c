#include "serving/policy_feed.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <chrono>
#include <exception>
#include <iterator>
#include <set>
#include <string>
#include <utility>

namespace sluice::serving {
namespace {

// A burst of changes is read once.
constexpr std::chrono::milliseconds settle_time{50};
// The API server tells of each object by itself.
constexpr std::chrono::milliseconds api_settle_time{10};
// After each reading, so that changes without end leave time to everything else: at least so long, ...
constexpr std::chrono::milliseconds shortest_pause{100};
// ... and so many times what it took.
constexpr int pause_factor = 4;
constexpr std::chrono::seconds pause_after_failure{1};
constexpr std::size_t named_changes = 8;

std::set<std::string> rules_of(const Snapshot* snapshot) {
  std::set<std::string> rules;
  if (!snapshot) return rules;
  for (const auto& service : snapshot->services()) rules.insert(service.rule());
  return rules;
}

// "added ns/a, ns/b and 3 more"; empty when there are none.
std::string name_some(std::string_view what, const std::set<std::string>& all, const std::set<std::string>& without) {
  std::vector<std::string> names;
  std::set_difference(all.begin(), all.end(), without.begin(), without.end(), std::back_inserter(names));
  if (names.empty()) return {};
  const auto total = names.size();
  names.resize(std::min(total, named_changes));
  auto text = fmt::format("; {} {}", what, fmt::join(names, ", "));
  if (total > named_changes) text += fmt::format(" and {} more", total - named_changes);
  return text;
}

void log_policy(std::uint64_t generation, const Snapshot* before, const Snapshot& now) {
  const auto old_rules = rules_of(before);
  const auto new_rules = rules_of(&now);
  spdlog::info("policy {}: {} services, {} hosts{}{}", generation, now.services().size(), now.host_count(),
               name_some("added", new_rules, old_rules), name_some("removed", old_rules, new_rules));
}

void log_problems(std::vector<resources::Problem> before, std::vector<resources::Problem> now) {
  std::sort(before.begin(), before.end());
  std::sort(now.begin(), now.end());
  std::vector<resources::Problem> fresh;
  std::set_difference(now.begin(), now.end(), before.begin(), before.end(), std::back_inserter(fresh));
  for (const auto& problem : fresh) {
    const auto level = problem.severity == resources::Severity::error ? spdlog::level::err : spdlog::level::warn;
    spdlog::log(level, "{}", problem.to_string());
  }
}

}  // namespace

Result<std::unique_ptr<PolicyFeed>> PolicyFeed::start(boost::asio::io_context& control,
                                                      const settings::Resources& settings, Vantage vantage,
                                                      Publish publish) {
  std::unique_ptr<PolicyFeed> feed(new PolicyFeed(control, std::move(vantage), std::move(publish)));
  if (auto done = feed->open_source(settings); !done) return done.error().in("resources");
  if (feed->files_) feed->take(feed->read_files(true));
  feed->thread_ = std::thread([raw = feed.get()] { raw->follow(); });
  return feed;
}

PolicyFeed::PolicyFeed(boost::asio::io_context& control, Vantage vantage, Publish publish)
    : control_(control), publish_(std::move(publish)), vantage_(std::move(vantage)), settle_(reading_) {}

PolicyFeed::~PolicyFeed() {
  reading_.stop();
  if (thread_.joinable()) thread_.join();
}

Status PolicyFeed::open_source(const settings::Resources& settings) {
  if (settings.source == settings::ResourceSource::files) {
    auto source = sources::FileSource::open(settings.files);
    if (!source) return source.error();
    files_ = *std::move(source);
    return Done{};
  }
  auto source = sources::KubeSource::start(reading_, settings.kubernetes, [this] {
    const auto pause = std::chrono::ceil<std::chrono::milliseconds>(next_reading_ - std::chrono::steady_clock::now());
    read_after(std::max(api_settle_time, pause));
  });
  if (!source) return source.error();
  kubernetes_ = *std::move(source);
  return Done{};
}

void PolicyFeed::follow() {
  if (files_) watch_files();
  while (!reading_.stopped()) {
    try {
      reading_.run();
    } catch (const std::exception& error) {
      // What was read before stays in force; the next change is another try.
      spdlog::error("reading resources: {}", error.what());
    }
  }
}

void PolicyFeed::watch_files() {
  watch_.emplace(reading_, files_->fd(), [this] { notice_changes(); });
}

void PolicyFeed::notice_changes() {
  const auto changed = files_->dispatch();
  if (!changed) {
    spdlog::error("watching resources: {}", changed.error().message());
    // The descriptor may stay readable for ever; reading is what sets watching up anew.
    watch_.reset();
    return read_after(pause_after_failure);
  }
  if (*changed) read_after(settle_time);
}

void PolicyFeed::read_after(std::chrono::milliseconds delay) {
  if (settling_) return;
  settling_ = true;
  settle_.expires_after(delay);
  settle_.async_wait([this](const boost::system::error_code& error) {
    settling_ = false;
    if (!error) read_and_post();
  });
}

void PolicyFeed::read_and_post() {
  if (files_ && !watch_) watch_files();
  const auto begun = std::chrono::steady_clock::now();
  auto policy = files_ ? read_files(false) : read_kubernetes();
  const auto ended = std::chrono::steady_clock::now();
  next_reading_ = ended + std::max<std::chrono::steady_clock::duration>(shortest_pause, (ended - begun) * pause_factor);
  boost::asio::post(control_, [this, policy = std::move(policy)]() mutable { take(std::move(policy)); });
}

PolicyFeed::Policy PolicyFeed::read_files(bool even_unchanged) {
  const bool changed = files_->reload();
  Policy policy;
  policy.problems = files_->problems();
  if (changed || even_unchanged) policy.snapshot = Snapshot::compile(files_->registry().policy(), vantage_);
  return policy;
}

PolicyFeed::Policy PolicyFeed::read_kubernetes() {
  Policy policy;
  policy.problems = kubernetes_->problems();
  if (kubernetes_->is_complete() && kubernetes_->take_changed()) {
    policy.snapshot = Snapshot::compile(kubernetes_->registry().policy(), vantage_);
  }
  return policy;
}

void PolicyFeed::take(Policy policy) {
  log_problems(current_.problems, policy.problems);
  const bool is_new = policy.snapshot != nullptr;
  if (is_new)
    log_policy(++generation_, current_.snapshot.get(), *policy.snapshot);
  else
    policy.snapshot = current_.snapshot;
  current_ = std::move(policy);
  if (is_new) publish_(current_.snapshot);
}

}  // namespace sluice::serving
