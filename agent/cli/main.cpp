// The command table. Nouns read, verbs change; exit codes: 0 fine, 1 a finding or failure, 2 usage or bad input.
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "cli/agent_command.h"
#include "cli/analyze_command.h"
#include "cli/audit_command.h"
#include "cli/detach_command.h"
#include "cli/explain_command.h"
#include "cli/gateway_command.h"
#include "cli/ingress_command.h"
#include "cli/status_command.h"

int main(int argc, char** argv) {
  constexpr int usage = 2;
  CLI::App app("Sluice: transparent egress enforcement for Kubernetes nodes", "sluice");
  app.require_subcommand(1);
  int exit_code = 0;
  sluice::cli::add_agent_command(app, exit_code);
  sluice::cli::add_gateway_command(app, exit_code);
  sluice::cli::add_ingress_command(app, exit_code);
  sluice::cli::add_explain_command(app, exit_code);
  sluice::cli::add_detach_command(app, exit_code);
  sluice::cli::add_status_command(app, exit_code);
  sluice::cli::add_flows_command(app, exit_code);
  sluice::cli::add_audit_command(app, exit_code);
  sluice::cli::add_analyze_command(app, exit_code);
  app.add_subcommand("version", "Print the version")->callback([] { fmt::print("sluice {}\n", SLUICE_VERSION); });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : usage;
  } catch (const std::exception& error) {
    fmt::print(stderr, "sluice: {}\n", error.what());
    return 1;
  }
  return exit_code;
}
