#include "cli/gateway_command.h"

#include <memory>

#include "cli/role_command.h"
#include "cli/serve_admin.h"
#include "gateway/gateway.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

int run(const RoleOptions& options) {
  const auto settings = settings::load_gateway(options.settings_path);
  if (!settings) return bad_input(settings.error());
  if (options.check) return check_resources(settings->resources);
  return run_role(settings->node, [&] { return gateway::run_gateway(*settings, SLUICE_VERSION, serve_admin); });
}

}  // namespace

void add_gateway_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("gateway", "Run the gateway, the cluster's controlled exit");
  auto options = std::make_shared<RoleOptions>();
  add_role_options(*command, *options);
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
