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
#include "settings/settings.h"

namespace sluice::cli {
namespace {

constexpr int exit_fine = 0;
constexpr int exit_finding = 1;
constexpr auto watch_interval = std::chrono::seconds(1);

struct Options {
  std::string socket = settings::Admin().socket;
  std::string output = "text";
  bool watch = false;

  bool json() const { return output == "json"; }
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

int run_status(const Options& options) {
  const auto status = fetch(options, "/status");
  if (!status) return fail(status.error());
  fmt::print("{}", options.json() ? boost::json::serialize(*status) + "\n" : admin::format_status(*status));
  return is_healthy(*status) ? exit_fine : exit_finding;
}

int run_flows(const Options& options) {
  for (;;) {
    const auto flows = fetch(options, "/flows");
    if (!flows) return fail(flows.error());
    if (options.watch && !options.json() && ::isatty(STDOUT_FILENO) == 1) fmt::print("\x1b[H\x1b[2J");
    fmt::print("{}", options.json() ? boost::json::serialize(*flows) + "\n" : admin::format_flows(*flows));
    if (std::fflush(stdout) != 0 || !options.watch) return exit_fine;
    std::this_thread::sleep_for(watch_interval);
  }
}

std::shared_ptr<Options> add_options(CLI::App& command) {
  auto options = std::make_shared<Options>();
  command.add_option("--socket", options->socket, "the admin socket (admin.socket)")->capture_default_str();
  command.add_option("-o,--output", options->output, "text or json")->check(CLI::IsMember({"text", "json"}));
  return options;
}

}  // namespace

void add_status_command(CLI::App& app, int& exit_code) {
  auto* status = app.add_subcommand("status", "What is wrong, and the state of a running agent or gateway");
  const auto options = add_options(*status);
  status->callback([options, &exit_code] { exit_code = run_status(*options); });
}

void add_flows_command(CLI::App& app, int& exit_code) {
  auto* flows = app.add_subcommand("flows", "The connections that are open now");
  const auto options = add_options(*flows);
  flows->add_flag("-w,--watch", options->watch, "show them again every second");
  flows->callback([options, &exit_code] { exit_code = run_flows(*options); });
}

}  // namespace sluice::cli
