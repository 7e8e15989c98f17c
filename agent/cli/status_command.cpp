#include "cli/status_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "admin/client.h"
#include "admin/status_text.h"
#include "cli/pinned_options.h"
#include "cli/role_command.h"
#include "cli/serve_admin.h"
#include "egress/known_pods.h"
#include "egress/live_flows.h"
#include "kernel/bpffs.h"
#include "kernel/pinned_flows.h"
#include "kernel/pins.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

constexpr int exit_fine = 0;
constexpr int exit_finding = 1;
constexpr auto watch_interval = std::chrono::seconds(1);

struct Options {
  std::string socket = settings::Admin().socket;
  std::string output = "text";

  bool json() const { return output == "json"; }
};

struct StatusOptions : Options {
  std::string probe;  // "live", "ready", or empty
};

struct FlowsOptions : Options {
  PinnedOptions pinned;
  bool watch = false;
};

// The JSON that `target` answers with.
Result<boost::json::value> fetch(const Options& options, const std::string& target) {
  const auto response = admin::get(options.socket, target);
  if (!response) return response.error();
  if (response->status != 200) return Error(fmt::format("{} answers {}: {}", target, response->status, response->body));
  boost::system::error_code error;
  auto value = boost::json::parse(response->body, error);
  if (error) return Error(target + " answers no JSON: " + error.message());
  return value;
}

int fail(const Error& error) {
  fmt::print(stderr, "sluice: {}\n", error.message());
  return exit_finding;
}

bool is_healthy(const boost::json::value& status) {
  const auto* object = status.if_object();
  const auto* healthy = object == nullptr ? nullptr : object->if_contains("healthy");
  return healthy != nullptr && healthy->is_bool() && healthy->get_bool();
}

// For what watches the process: silent when all is well.
int run_probe(const StatusOptions& options) {
  const auto response = admin::get(options.socket, "/" + options.probe);
  if (!response) return fail(response.error());
  if (response->status == 200) return exit_fine;
  return fail(Error(fmt::format("not {}: {}", options.probe, response->body)));
}

int run_status(const StatusOptions& options) {
  if (!options.probe.empty()) return run_probe(options);
  const auto status = fetch(options, "/status");
  if (!status) return fail(status.error());
  fmt::print("{}", options.json() ? boost::json::serialize(*status) + "\n" : admin::format_status(*status));
  return is_healthy(*status) ? exit_fine : exit_finding;
}

// Those that the kernel has without an agent.
Result<boost::json::value> read_pinned(const FlowsOptions& options, const settings::AgentSettings* settings) {
  const auto pinned = kernel::PinnedFlows::open(options.pinned.bpffs);
  if (!pinned) return pinned.error();
  const auto pods = settings != nullptr ? egress::known_pods(*settings) : identity::PodTable({});
  return to_json(egress::live_flows(pinned->entries(), pods));
}

// The agent's word, or that of the kernel where no agent answers.
Result<boost::json::value> find_flows(const FlowsOptions& options, const settings::AgentSettings* settings) {
  auto told = fetch(options, "/flows");
  if (told || !kernel::is_on_bpffs(kernel::maps_directory(options.pinned.bpffs))) return told;
  auto pinned = read_pinned(options, settings);
  if (!pinned) return Error(fmt::format("{}; {}", told.error().message(), pinned.error().message()));
  fmt::print(stderr,
             "sluice: the agent is not running ({}): these are the kernel's entries of the gate; relayed connections "
             "ended with the agent\n",
             told.error().message());
  return pinned;
}

int run_flows(FlowsOptions& options) {
  const auto settings = load_pinned(options.pinned);
  if (!settings) return bad_input(settings.error());
  const auto* known = *settings ? &**settings : nullptr;
  if (known != nullptr) options.socket = known->admin.socket;
  for (;;) {
    const auto flows = find_flows(options, known);
    if (!flows) return fail(flows.error());
    if (options.watch && !options.json() && ::isatty(STDOUT_FILENO) == 1) fmt::print("\x1b[H\x1b[2J");
    fmt::print("{}", options.json() ? boost::json::serialize(*flows) + "\n" : admin::format_flows(*flows));
    if (std::fflush(stdout) != 0 || !options.watch) return exit_fine;
    std::this_thread::sleep_for(watch_interval);
  }
}

CLI::Option* add_options(CLI::App& command, Options& options) {
  command.add_option("-o,--output", options.output, "text or json")->check(CLI::IsMember({"text", "json"}));
  return command.add_option("--socket", options.socket, "the admin socket (admin.socket)")->capture_default_str();
}

}  // namespace

void add_status_command(CLI::App& app, int& exit_code) {
  auto* status = app.add_subcommand("status", "What is wrong, and the state of a running agent or gateway");
  auto options = std::make_shared<StatusOptions>();
  add_options(*status, *options);
  status->add_option("--probe", options->probe, "live or ready: say it by the exit status alone")
      ->check(CLI::IsMember({"live", "ready"}));
  status->callback([options, &exit_code] { exit_code = run_status(*options); });
}

void add_flows_command(CLI::App& app, int& exit_code) {
  auto* flows = app.add_subcommand("flows", "The connections that are open now; without an agent, those of the gate");
  auto options = std::make_shared<FlowsOptions>();
  auto* socket = add_options(*flows, *options);
  add_pinned_options(*flows, options->pinned);
  socket->excludes("--config");
  flows->add_flag("-w,--watch", options->watch, "show them again every second");
  flows->callback([options, &exit_code] { exit_code = run_flows(*options); });
}

}  // namespace sluice::cli
