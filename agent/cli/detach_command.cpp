#include "cli/detach_command.h"

#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>

#include "cli/role_command.h"
#include "kernel/interception.h"
#include "net/injection.h"
#include "net/netlink.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

struct Options {
  std::string settings_path;
  std::string bpffs;
};

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

int run(const Options& options) {
  auto directory = options.bpffs;
  if (!options.settings_path.empty()) {
    const auto settings = settings::load_agent(options.settings_path);
    if (!settings) return bad_input(settings.error());
    directory = settings->node.bpffs;
  }
  const auto failed = [](const Error& error) {
    fmt::print(stderr, "{}\n", error.message());
    return 1;
  };
  const auto before = count_pins(directory);
  // Programs first: without the rules behind them, they would still refuse.
  if (const auto done = kernel::detach(directory); !done) return failed(done.error());
  const auto mark = kernel::relay_mark();
  if (const auto done = net::remove_relay_routes(mark.value, mark.mask); !done) return failed(done.error());
  if (const auto done = net::remove_injection_link(); !done) return failed(done.error());
  fmt::print(
      "{} pinned programs and maps removed from {}; the relay's routing rules and routes and the gate's helper "
      "interface "
      "are gone\n",
      before, directory);
  return 0;
}

}  // namespace

void add_detach_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("detach", "Remove every program, pin, rule and route: pods are not enforced then");
  auto options = std::make_shared<Options>();
  options->bpffs = settings::Node().bpffs;
  auto* config = command->add_option("-c,--config", options->settings_path, "Settings file of the agent");
  command->add_option("--bpffs", options->bpffs, "Directory of the pins")->capture_default_str()->excludes(config);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
