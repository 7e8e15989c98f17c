#include "cli/ingress_command.h"

#include <memory>

#include "cli/role_command.h"
#include "cli/serve_admin.h"
#include "ingress/ingress.h"
#include "settings/settings.h"

namespace sluice::cli {
namespace {

struct IngressOptions : RoleOptions {
  std::string take_over;
};

int run(const IngressOptions& options) {
  const auto settings = settings::load_ingress(options.settings_path);
  if (!settings) return bad_input(settings.error());
  if (options.check) return check_resources(settings->resources);
  return run_role(settings->node,
                  [&] { return ingress::run_ingress(*settings, SLUICE_VERSION, serve_admin, options.take_over); });
}

}  // namespace

void add_ingress_command(CLI::App& app, int& exit_code) {
  auto* command = app.add_subcommand("ingress", "Run the ingress, which ends TLS and routes by host");
  auto options = std::make_shared<IngressOptions>();
  add_role_options(*command, *options);
  command->add_option("--take-over", options->take_over,
                      "Admin socket of a running ingress: go on with its listening sockets, and let it drain");
  command->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
