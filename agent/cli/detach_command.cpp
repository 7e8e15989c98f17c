#include "cli/detach_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "cli/pinned_options.h"
#include "cli/role_command.h"
#include "egress/release.h"
#include "kernel/bpffs.h"
#include "kernel/interception.h"
#include "kernel/pins.h"
#include "net/injection.h"
#include "net/netlink.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto look_gap = std::chrono::milliseconds(200);
constexpr unsigned longest_wait_s = 24 * 60 * 60;

struct Options {
  PinnedOptions pinned;
  unsigned wait_s = 0;
};

int fail(const Error& error) {
  fmt::print(stderr, "sluice: {}\n", error.message());
  return 1;
}

std::size_t count_pins(const std::string& directory) {
  std::size_t count = 0;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator entry(directory, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unknown;
    if (!entry->is_directory(unknown)) ++count;
  }
  return count;
}

// Nothing is taken over, and so nothing made, where nothing of ours is.
bool holds_maps(const std::string& directory) {
  const auto maps = kernel::maps_directory(directory);
  return kernel::is_on_bpffs(maps) && !kernel::list_directory(maps).empty();
}

// How many flows are left, and on a terminal how long they have, as often as that changes.
class Progress {
 public:
  void show(std::size_t left, Clock::duration time) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(time).count();
    auto line = fmt::format("{} open connections are left", left);
    if (terminal_) line = fmt::format("\r\x1b[K{}, for at most {} s", line, seconds);
    if (line == last_) return;
    fmt::print(stderr, "{}{}", line, terminal_ ? "" : "\n");
    static_cast<void>(std::fflush(stderr));
    last_ = line;
  }
  ~Progress() {
    if (terminal_ && !last_.empty()) fmt::print(stderr, "\n");
  }

 private:
  const bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  std::string last_;
};

void await_ends(egress::Release& release, std::chrono::seconds limit) {
  const auto until = Clock::now() + limit;
  Progress progress;
  for (auto left = release.look(); left != 0 && Clock::now() < until; left = release.look()) {
    progress.show(left, until - Clock::now());
    std::this_thread::sleep_for(look_gap);
  }
}

// Flows first, while there is somebody to tell them.
void end_flows(egress::Release& release, const Options& options) {
  await_ends(release, std::chrono::seconds(options.wait_s));
  const auto cut = release.cut();
  release.look();
  if (cut != 0) fmt::print("{} open connections were cut\n", cut);
  const auto unrecorded = release.finish();
  if (unrecorded == 0) return;
  const auto* remedy = options.pinned.settings_path.empty() ? " (with -c SETTINGS they would be)" : "";
  fmt::print("{} connections have ended without a record of it{}\n", unrecorded, remedy);
}

Status remove_all(const std::string& directory) {
  // Its removal waits for what was sent on it, which needs the programs.
  if (auto done = net::remove_injection_link(); !done) return done;
  // Before the rules, without which they would still refuse.
  if (auto done = kernel::detach(directory); !done) return done;
  const auto mark = kernel::relay_mark();
  return net::remove_relay_routes(mark.value, mark.mask);
}

// Ends the flows of what is pinned and removes it, as the one that holds the pins.
Status detach_pinned(const Options& options, const settings::AgentSettings* settings) {
  const auto& directory = options.pinned.bpffs;
  // Before anything is changed, and before the log, which a running agent has too.
  if (auto lock = kernel::lock_pin_directory(directory); !lock) return lock.error();
  std::unique_ptr<egress::ReleaseLog> log;
  if (settings != nullptr) {
    auto opened = egress::ReleaseLog::open(*settings, SLUICE_VERSION);
    if (!opened) return opened.error().in("with --bpffs instead of -c nothing is recorded");
    log = std::move(*opened);
  }
  auto release = egress::Release::open(directory, log.get());
  if (release) {
    end_flows(**release, options);
    return remove_all(directory);
  }
  const auto lock = kernel::lock_pin_directory(directory);
  if (!lock) return lock.error();
  fmt::print(stderr, "sluice: open connections are not told: {}\n", release.error().message());
  return remove_all(directory);
}

int run(Options& options) {
  const auto settings = load_pinned(options.pinned);
  if (!settings) return bad_input(settings.error());
  if (*settings) log_to_stderr((*settings)->node.log_level);
  const auto& directory = options.pinned.bpffs;
  const auto before = count_pins(directory);
  const auto* known = *settings ? &**settings : nullptr;
  const auto done = holds_maps(directory) ? detach_pinned(options, known) : remove_all(directory);
  if (!done) return fail(done.error());
  fmt::print(
      "{} pinned programs and maps removed from {}; the relay's routing rules and routes and the gate's helper "
      "interface are gone\n",
      before, directory);
  return 0;
}

}  // namespace

void add_detach_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand(
      "detach", "Cut every connection, remove every program, pin, rule and route: pods are not enforced then");
  auto options = std::make_shared<Options>();
  add_pinned_options(*command, options->pinned);
  command
      ->add_option("--wait", options->wait_s,
                   "Seconds in which open connections may end; what is new passes unenforced from the first")
      ->check(CLI::Range(0U, longest_wait_s));
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
