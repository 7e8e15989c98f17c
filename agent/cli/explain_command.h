// sluice explain
#pragma once

#include <CLI/CLI.hpp>

namespace sluice::cli {

// Adds the command to `app`; it puts its exit code (0 allowed, 1 denied, 2 bad input) in `exit_code`.
void add_explain_command(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
