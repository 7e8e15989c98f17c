#include "cli/agent_command.h"

#include <memory>

#include "cli/role_command.h"
#include "cli/serve_admin.h"
#include "egress/agent.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

int run(const RoleOptions& options) {
  const auto settings = settings::load_agent(options.settings_path);
  if (!settings) return bad_input(settings.error());
  if (options.check) return check_resources(settings->resources);
  return run_role(settings->node, [&] { return egress::run_agent(*settings, SLUICE_VERSION, serve_admin); });
}

}  // namespace

void add_agent_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("agent", "Run the agent of a node");
  auto options = std::make_shared<RoleOptions>();
  add_role_options(*command, *options);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
