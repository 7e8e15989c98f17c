// What the commands that read or remove what is pinned have in common.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "base/result.h"
#include "settings/settings.h"

namespace sluice::cli {

struct PinnedOptions {
  std::string settings_path;  // of the agent; empty: none
  std::string bpffs = settings::Node().bpffs;
};

// -c FILE or --bpffs DIRECTORY.
void add_pinned_options(CLI::App& command, PinnedOptions& options);

// The settings, when there are any; then `options.bpffs` is theirs.
Result<std::optional<settings::AgentSettings>> load_pinned(PinnedOptions& options);

}  // namespace sluice::cli
