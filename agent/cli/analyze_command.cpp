#include "cli/analyze_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/json.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/result.h"
#include "resources/analysis.h"
#include "sources/file_source.h"
#include "sources/path_watch.h"

namespace sluice::cli {
namespace {

constexpr int exit_fine = 0;
constexpr int exit_finding = 1;
constexpr int exit_bad_input = 2;
constexpr std::string_view standard_input = "-";

using resources::Problem;
using resources::Severity;

struct Options {
  std::vector<std::string> paths;
  std::string output = "text";
};

// A directory's files are those that the agent would read.
Result<std::vector<std::string>> list_files(const std::string& path) {
  if (path == standard_input) return std::vector<std::string>{path};
  std::error_code error;
  const bool is_directory = std::filesystem::is_directory(path, error);
  if (error) return Error(path + ": cannot be read: " + error.message());
  if (!is_directory) return std::vector<std::string>{path};
  std::vector<std::string> files;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    if (!sources::is_resource_name(entry->path().filename().string())) continue;
    files.push_back(entry->path().string());
    if (files.size() > sources::max_files) return Error(path + ": holds over 10,000 files");
  }
  if (error) return Error(path + ": cannot be listed: " + error.message());
  return files;
}

Result<std::string> read_stream(std::istream& stream, const std::string& name) {
  std::string text;
  char block[64UL * 1024];
  while (stream.read(block, sizeof block) || stream.gcount() > 0) {
    text.append(block, static_cast<std::size_t>(stream.gcount()));
    if (text.size() > sources::max_file_bytes) return Error(name + ": larger than 16 MiB: split the file");
  }
  if (stream.bad()) return Error(name + ": cannot be read");
  return text;
}

Result<std::string> read_file(const std::string& path) {
  if (path == standard_input) return read_stream(std::cin, path);
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(path + ": cannot be read");
  return read_stream(file, path);
}

Result<resources::Registry> read_all(const std::vector<std::string>& paths) {
  std::set<std::string> files;
  for (const auto& path : paths) {
    const auto listed = list_files(path);
    if (!listed) return listed.error();
    files.insert(listed->begin(), listed->end());
  }
  resources::Registry registry;
  std::size_t total_bytes = 0;
  for (const auto& file : files) {
    const auto text = read_file(file);
    if (!text) return text.error();
    total_bytes += text->size();
    if (total_bytes > sources::max_total_bytes) return Error("all files together are larger than 256 MiB");
    registry.update_file(file, resources::parse_documents(*text, file));
  }
  return registry;
}

std::vector<Problem> find_problems(const resources::Registry& registry) {
  auto problems = registry.problems();
  auto more = resources::analyze(registry);
  std::move(more.begin(), more.end(), std::back_inserter(problems));
  std::sort(problems.begin(), problems.end(), [](const Problem& a, const Problem& b) {
    return std::tie(a.file, a.line, a.field, a.code, a.message) < std::tie(b.file, b.line, b.field, b.code, b.message);
  });
  return problems;
}

boost::json::array as_json(const std::vector<Problem>& problems) {
  boost::json::array list;
  for (const auto& problem : problems) {
    list.push_back({{"file", problem.file},
                    {"line", problem.line},
                    {"severity", problem.severity == Severity::error ? "error" : "warning"},
                    {"code", problem.code},
                    {"object", problem.object},
                    {"field", problem.field},
                    {"message", problem.message}});
  }
  return list;
}

std::string count(std::size_t number, std::string_view noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

void print_text(const std::vector<Problem>& problems, std::size_t objects) {
  for (const auto& problem : problems) fmt::print("{}\n", problem.to_string());
  const auto errors = static_cast<std::size_t>(std::count_if(
      problems.begin(), problems.end(), [](const Problem& problem) { return problem.severity == Severity::error; }));
  fmt::print("{}, {}; {} in force\n", count(errors, "error"), count(problems.size() - errors, "warning"),
             count(objects, "object"));
}

// A file that is no YAML cannot be judged, whatever the others say.
bool is_unreadable(const Problem& problem) {
  return problem.code == "SLU0004";
}

int run(const Options& options) {
  const auto registry = read_all(options.paths);
  if (!registry) {
    fmt::print(stderr, "sluice: {}\n", registry.error().message());
    return exit_bad_input;
  }
  const auto problems = find_problems(*registry);
  if (options.output == "json")
    fmt::print("{}\n", boost::json::serialize(as_json(problems)));
  else
    print_text(problems, registry->objects().size());
  if (std::any_of(problems.begin(), problems.end(), is_unreadable)) return exit_bad_input;
  return problems.empty() ? exit_fine : exit_finding;
}

}  // namespace

void add_analyze_command(CLI::App& app, int& exit_code) {
  auto* analyze = app.add_subcommand("analyze", "What is wrong with resources: each by itself, and all together");
  const auto options = std::make_shared<Options>();
  analyze
      ->add_option("PATH", options->paths, "files, directories (their *.yaml and *.yml), or - for the standard input")
      ->required();
  analyze->add_option("-o,--output", options->output, "text or json")->check(CLI::IsMember({"text", "json"}));
  analyze->callback([options, &exit_code] { exit_code = run(*options); });
}

}  // namespace sluice::cli
