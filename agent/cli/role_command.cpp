#include "cli/role_command.h"

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "policy/snapshot.h"
#include "sources/file_source.h"

namespace sluice::cli {
void log_to_stderr(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_logger_mt("sluice"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
  spdlog::set_level(spdlog::level::from_str(level));
  spdlog::flush_on(spdlog::level::debug);
}

void add_role_options(CLI::App& command, RoleOptions& options) {
  command.add_option("-c,--config", options.settings_path, "Settings file")->required();
  command.add_flag("--check", options.check, "Only say what is wrong with settings and resources");
}

int bad_input(const Error& error) {
  fmt::print(stderr, "{}\n", error.message());
  return 2;
}

int check_resources(const settings::Resources& settings) {
  if (settings.source == settings::ResourceSource::kubernetes) {
    fmt::print("the settings are fine; the resources are those of the API server, which is not asked\n");
    return 0;
  }
  auto source = sources::FileSource::open(settings.files);
  if (!source) return bad_input(source.error());
  (*source)->reload();
  const auto problems = (*source)->problems();
  for (const auto& problem : problems) fmt::print("{}\n", problem.to_string());
  const auto snapshot = Snapshot::compile((*source)->registry().policy());
  fmt::print("{} services, {} hosts, {} problems\n", snapshot->services().size(), snapshot->host_count(),
             problems.size());
  const bool bad = std::any_of(problems.begin(), problems.end(), [](const resources::Problem& problem) {
    return problem.severity == resources::Severity::error;
  });
  return bad ? 2 : 0;
}

int run_role(const settings::Node& node, const std::function<Status()>& role) {
  log_to_stderr(node.log_level);
  const auto done = role();
  if (done) return 0;
  spdlog::critical("{}", done.error().message());
  return 1;
}

}  // namespace sluice::cli
