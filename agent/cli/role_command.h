// What the commands that run a role have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "base/result.h"
#include "settings/settings.h"

namespace sluice::cli {

struct RoleOptions {
  std::string settings_path;
  bool check = false;
};

// -c FILE and --check.
void add_role_options(CLI::App& command, RoleOptions& options);

// Log lines go to stderr from here on, those of `level` and above.
void log_to_stderr(const std::string& level);

// Says on stderr what is wrong and returns the exit code for bad input.
int bad_input(const Error& error);

// Reads the resources once and prints what is wrong with them and how many services they make: 0, or 2 with an error.
// Those of an API server are not read: 0.
int check_resources(const settings::Resources& settings);

// Logs to stderr as the settings say, and runs the role: 0, or 1 with the failure logged.
int run_role(const settings::Node& node, const std::function<Status()>& role);

}  // namespace sluice::cli
