// sluice analyze
#pragma once

#include <CLI/CLI.hpp>

namespace sluice::cli {

// Adds the command to `app`; when it is called it puts its exit code (0 nothing found, 1 errors or warnings, 2 usage or
// a path that cannot be read) in `exit_code`.
void add_analyze_command(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
