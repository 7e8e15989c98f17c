// sluice agent
#pragma once

#include <CLI/CLI.hpp>

namespace sluice::cli {

// Adds the command to `app`; when it is called it puts its exit code (0 fine, 1 failure, 2 bad input) in `exit_code`.
void add_agent_command(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
