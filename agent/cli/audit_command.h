// sluice audit tail|verify
#pragma once

#include <CLI/CLI.hpp>

namespace sluice::cli {

// Adds the commands to `app`; the one that is called puts its exit code (0 fine, 1 finding, 2 bad input) in
// `exit_code`.
void add_audit_command(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
