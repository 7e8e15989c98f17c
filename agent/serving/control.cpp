#include "serving/control.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <utility>

#include "base/clock.h"
#include "observe/audit_line.h"

namespace sluice::serving {
namespace {

constexpr std::chrono::milliseconds tick_time{500};
constexpr std::uint64_t ticks_per_second = 2;
constexpr std::uint64_t sign_limit_ns = 2'000'000'000;  // a worker that is silent for longer hangs
constexpr std::chrono::milliseconds drain_step{50};
constexpr std::chrono::seconds patience{1};
constexpr std::uint64_t files_per_connection = 3;  // both its sockets, and a pipe's share

// Every connection costs files: takes as many as the system lets this process have.
void raise_file_limit(std::uint32_t connections) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  const auto wanted = connections * files_per_connection;
  if (limit.rlim_cur >= wanted) return;
  spdlog::warn(
      "limits.connections is {} but the system allows {} files, enough for {}: raise the limit of open files "
      "(LimitNOFILE, ulimit -n) to {}",
      connections, limit.rlim_cur, limit.rlim_cur / files_per_connection, wanted);
}

// A worker's share: connections are spread evenly over the workers.
LiveLimits share(const settings::Limits& limits, unsigned workers) {
  const auto part = [&](std::uint32_t whole) { return std::size_t{(whole + workers - 1) / workers}; };
  return {part(limits.connections), part(limits.connections_per_pod), part(limits.connections_per_second),
          part(limits.connections_per_second_per_pod)};
}

}  // namespace

Result<std::unique_ptr<Control>> Control::open(RoleSettings settings) {
  raise_file_limit(settings.limits.connections);
  // A peer that is gone shows as an error of the write.
  std::signal(SIGPIPE, SIG_IGN);
  auto audit = observe::AuditLog::open(settings.audit, settings.node.name, settings.role);
  if (!audit) return audit.error().in("audit");
  return std::unique_ptr<Control>(new Control(std::move(settings), std::move(*audit)));
}

Control::Control(RoleSettings settings, std::unique_ptr<observe::AuditLog> audit)
    : settings_(std::move(settings)),
      started_ns_(monotonic_ns()),
      audit_(std::move(audit)),
      metrics_(settings_.role, settings_.node.name, settings_.version),
      recorder_(*audit_, metrics_, settings_.limits.denials_per_second),
      // From here on these signals wait for run() instead of ending the process half made.
      hangup_(context_, SIGHUP),
      end_(context_, SIGTERM, SIGINT),
      clock_(context_),
      drain_clock_(context_) {
  for (unsigned number = 0; number < settings_.node.threads; ++number) {
    workers_.push_back(std::make_unique<Worker>(share(settings_.limits, settings_.node.threads)));
  }
}

Control::~Control() = default;

Status Control::read_policy(Vantage vantage, PolicyFeed::Publish publish) {
  auto feed = PolicyFeed::start(context_, settings_.resources, std::move(vantage),
                                [this, publish = std::move(publish)](const std::shared_ptr<const Snapshot>& snapshot) {
                                  for (const auto& worker : workers_) worker->adopt(snapshot);
                                  publish(snapshot);
                                });
  if (!feed) return feed.error();
  policy_ = std::move(*feed);
  return Done{};
}

void Control::run(RoleHooks hooks) {
  hooks_ = std::move(hooks);
  note_event(observe::Event::start);
  start_workers();
  await_hangup();
  await_end();
  tick();
  context_.run();
  finish();
}

void Control::start_workers() {
  for (const auto& worker : workers_) {
    worker->start();
    worker->ask_for_sign(monotonic_ns());
    // The first beat need not wait for the next tick.
    worker->ask([] { return true; }, patience);
  }
}

void Control::await_hangup() {
  hangup_.async_wait([this](const boost::system::error_code& error, int) {
    if (error) return;
    spdlog::info("SIGHUP: the audit log starts a new file");
    if (const auto reopened = audit_->reopen(); !reopened) spdlog::error("audit: {}", reopened.error().message());
    await_hangup();
  });
}

void Control::await_end() {
  end_.async_wait([this](const boost::system::error_code& error, int) {
    if (error) return;
    // Asked a second time, it does not wait for anybody.
    if (drain_until_ns_ != 0) return context_.stop();
    begin_drain();
    await_end();
  });
}

void Control::tick() {
  look_at_workers();
  if (!stalled_ && drain_until_ns_ == 0 && hooks_.beat) hooks_.beat();
  if (ticks_++ % ticks_per_second == 0) do_each_second();
  clock_.expires_after(tick_time);
  clock_.async_wait([this](const boost::system::error_code& error) {
    if (!error) tick();
  });
}

void Control::look_at_workers() {
  const auto now = monotonic_ns();
  std::optional<std::string> stalled;
  for (std::size_t number = 0; number < workers_.size(); ++number) {
    const auto silent_ns = now - std::min(now, workers_[number]->last_sign_ns());
    if (silent_ns > sign_limit_ns) {
      stalled = fmt::format("event loop {} of {} does not turn: new connections are refused until it does", number + 1,
                            workers_.size());
    }
    workers_[number]->ask_for_sign(now);
  }
  if (stalled && !stalled_) spdlog::error("{}", *stalled);
  if (!stalled && stalled_) spdlog::info("every event loop turns again");
  stalled_ = std::move(stalled);
}

void Control::do_each_second() {
  if (hooks_.each_second) hooks_.each_second();
  recorder_.flush();
  metrics_.set_audit(audit_->state());
  if (!policy_) return;
  const auto& problems = policy_->problems();
  const auto errors = std::count_if(problems.begin(), problems.end(), [](const resources::Problem& problem) {
    return problem.severity == resources::Severity::error;
  });
  if (const auto* snapshot = policy_->snapshot()) {
    metrics_.set_policy(policy_->generation(), snapshot->services().size(), snapshot->host_count());
  }
  metrics_.set_policy_problems(static_cast<std::size_t>(errors), problems.size() - static_cast<std::size_t>(errors));
}

void Control::begin_drain() {
  spdlog::info("ending: new connections are refused, {} open ones have {} s to end", count_live(),
               std::chrono::duration<double>(settings_.limits.drain_timeout).count());
  drain_until_ns_ =
      monotonic_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(settings_.limits.drain_timeout).count());
  if (hooks_.drain) hooks_.drain();
  for (const auto& worker : workers_) worker->stop_accepting();
  await_drained();
}

// Not before a moment has passed: connections that were accepted last are not counted yet.
void Control::await_drained() {
  drain_clock_.expires_after(drain_step);
  drain_clock_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    if (count_live() == 0 || monotonic_ns() >= drain_until_ns_) return context_.stop();
    await_drained();
  });
}

void Control::finish() {
  for (const auto& worker : workers_) {
    worker->ask(
        [&live = worker->live()] {
          live.cut_all(to_string(Reason::draining));
          return true;
        },
        patience);
  }
  // The cut ones end by themselves within a turn or two of their loops, and write their records.
  const auto limit_ns = monotonic_ns() + static_cast<std::uint64_t>(std::chrono::nanoseconds(patience).count());
  while (count_live() > 0 && monotonic_ns() < limit_ns) {
  }
  for (const auto& worker : workers_) worker->stop();
  recorder_.flush();
  note_event(observe::Event::stop);
}

void Control::note_event(observe::Event event) {
  observe::Record record;
  record.event = event;
  record.detail = "sluice " + settings_.version;
  recorder_.event(record);
}

std::size_t Control::count_live() {
  std::size_t count = 0;
  for (const auto& worker : workers_) {
    count += worker->ask([&live = worker->live()] { return live.size(); }, patience).value_or(0);
  }
  return count;
}

StatusView Control::status() const {
  StatusView view;
  view.role = settings_.role;
  view.node = settings_.node.name;
  view.version = settings_.version;
  view.uptime_s = (monotonic_ns() - started_ns_) / 1'000'000'000;
  view.audit = audit_->state();
  view.connections_open = metrics_.connections_open();
  for (const auto decision : {observe::Decision::allow, observe::Decision::deny, observe::Decision::would_deny}) {
    view.verdicts[std::string(observe::to_string(decision))] = metrics_.decisions(decision);
  }
  for (std::size_t index = 0; index < reason_count; ++index) {
    const auto reason = static_cast<Reason>(index);
    if (const auto count = metrics_.decisions(reason)) view.reasons[std::string(to_string(reason))] = count;
  }
  if (const auto why = not_ready()) view.wrong.push_back(*why);
  if (view.audit.drops > 0) {
    view.wrong.push_back(
        fmt::format("audit: {} records could not be written to {}", view.audit.drops, view.audit.path));
  }
  if (!policy_) return view;
  view.policy.generation = policy_->generation();
  view.policy.problems = policy_->problems();
  if (const auto* snapshot = policy_->snapshot()) {
    view.policy.services = snapshot->services().size();
    view.policy.hosts = snapshot->host_count();
  }
  for (const auto& problem : view.policy.problems) {
    if (problem.severity == resources::Severity::error) view.wrong.push_back("resources: " + problem.to_string());
  }
  return view;
}

std::vector<Flow> Control::flows() {
  std::vector<Flow> all;
  for (const auto& worker : workers_) {
    auto some = worker->ask([&live = worker->live()] { return live.flows(); }, patience);
    if (some) std::move(some->begin(), some->end(), std::back_inserter(all));
  }
  return all;
}

std::optional<std::string> Control::not_ready() const {
  if (!policy_ || !policy_->snapshot()) return "no policy was read yet: new connections are refused until it is";
  if (drain_until_ns_ != 0) return "ending: new connections are refused";
  return stalled_;
}

}  // namespace sluice::serving
