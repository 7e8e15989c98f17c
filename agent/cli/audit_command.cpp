#include "cli/audit_command.h"

#include <fmt/format.h>

#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "observe/audit_follower.h"
#include "observe/audit_key.h"
#include "observe/audit_text.h"
#include "observe/audit_verify.h"

namespace sluice::cli {
namespace {

constexpr int exit_fine = 0;
constexpr int exit_finding = 1;
constexpr int exit_bad_input = 2;
constexpr auto poll_interval = std::chrono::milliseconds(200);

struct TailOptions {
  std::string file;
  std::size_t lines = 20;
  bool follow = false;
  std::string output = "text";
};

struct VerifyOptions {
  std::vector<std::string> files;
  std::string key_file;
  std::string head;
  std::string output = "text";
};

int fail(const Error& error) {
  fmt::print(stderr, "sluice: {}\n", error.message());
  return exit_bad_input;
}

int run_tail(const TailOptions& options) {
  auto follower = observe::AuditFollower::open(options.file, options.lines);
  if (!follower) return fail(follower.error());
  for (;;) {
    const auto lines = follower->next();
    if (!lines) return fail(lines.error());
    for (const auto& line : *lines) {
      fmt::print("{}\n", options.output == "json" ? line : observe::format_audit_line(line));
    }
    if (std::fflush(stdout) != 0) return exit_fine;
    if (!lines->empty()) continue;
    if (!options.follow) return exit_fine;
    std::this_thread::sleep_for(poll_interval);
  }
}

int run_verify(const VerifyOptions& options) {
  observe::AuditVerifyOptions how{.key = {}, .known_head = options.head};
  if (!options.key_file.empty()) {
    auto key = observe::read_audit_key(options.key_file);
    if (!key) return fail(key.error());
    how.key = std::move(*key);
  }
  const auto report = observe::verify_audit_log(options.files, how);
  if (!report) return fail(report.error());
  fmt::print("{}", options.output == "json" ? boost::json::serialize(observe::verification_as_json(*report)) + "\n"
                                            : observe::format_verification(*report));
  return report->finding_count == 0 ? exit_fine : exit_finding;
}

void add_output(CLI::App& command, std::string& output) {
  command.add_option("-o,--output", output, "text or json")->check(CLI::IsMember({"text", "json"}));
}

}  // namespace

void add_audit_command(CLI::App& app, int& exit_code) {
  auto* audit = app.add_subcommand("audit", "Read and check audit logs");
  audit->require_subcommand(1);

  const auto tail_options = std::make_shared<TailOptions>();
  auto* tail = audit->add_subcommand("tail", "Show the last records of a log");
  tail->add_option("FILE", tail_options->file, "the log")->required();
  tail->add_option("-n,--lines", tail_options->lines, "how many records")->capture_default_str();
  tail->add_flag("-f,--follow", tail_options->follow, "go on with what comes, over rotation");
  add_output(*tail, tail_options->output);
  tail->callback([tail_options, &exit_code] { exit_code = run_tail(*tail_options); });

  const auto verify_options = std::make_shared<VerifyOptions>();
  auto* verify = audit->add_subcommand("verify", "Check that every record is there, in order, as it was written");
  verify->add_option("FILE", verify_options->files, "the log and its rotated files, in any order")->required();
  verify->add_option("--key", verify_options->key_file, "the key of the log's checkpoints (audit.key_file)");
  verify->add_option("--head", verify_options->head,
                     "a head seen earlier (metric sluice_audit_head_info): fails when the log does not hold it");
  add_output(*verify, verify_options->output);
  verify->callback([verify_options, &exit_code] { exit_code = run_verify(*verify_options); });
}

}  // namespace sluice::cli
