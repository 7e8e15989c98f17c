#include "cli/pinned_options.h"

#include <utility>

namespace sluice::cli {

void add_pinned_options(CLI::App& command, PinnedOptions& options) {
  auto* config = command.add_option("-c,--config", options.settings_path, "Settings file of the agent");
  command.add_option("--bpffs", options.bpffs, "Directory of the pins")->capture_default_str()->excludes(config);
}

Result<std::optional<settings::AgentSettings>> load_pinned(PinnedOptions& options) {
  if (options.settings_path.empty()) return std::optional<settings::AgentSettings>();
  auto settings = settings::load_agent(options.settings_path);
  if (!settings) return settings.error();
  options.bpffs = settings->node.bpffs;
  return std::optional(std::move(*settings));
}

}  // namespace sluice::cli
