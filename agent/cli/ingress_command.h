// `sluice ingress`
#pragma once

#include <CLI/CLI.hpp>

namespace sluice::cli {

void add_ingress_command(CLI::App& app, int& exit_code);

}  // namespace sluice::cli
