// A directory for one audit log, and what tests do to it.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "observe/audit.h"
#include "observe/audit_file.h"
#include "observe/audit_key.h"
#include "observe/audit_verify.h"

namespace sluice::observe {

class AuditTest : public ::testing::Test {
 protected:
  AuditTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sluice-audit-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
    settings_.path = (directory_ / "audit.jsonl").string();
    settings_.checkpoint_records = 10;
    write_text(directory_ / "key", "a key of the test, long enough\n");
  }
  ~AuditTest() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<AuditLog> open_log() {
    auto log = AuditLog::open(settings_, "node-1", "agent");
    if (!log) {
      ADD_FAILURE() << log.error().message();
      std::abort();
    }
    return std::move(*log);
  }

  static Record open_record(const std::string& sni = "api.example.com") {
    Record record;
    record.id = "c-1";
    record.pod = PodFacts{"shop", "cart-7", "uid-7", "cart"};
    record.process = {.pid = 42, .comm = "curl", .exe = "/usr/bin/curl", .container = {}};
    record.source = Endpoint::parse("10.1.0.5:40000");
    record.destination = Endpoint::parse("203.0.113.9:443");
    record.protocol = "tls";
    record.sni = sni;
    record.verdict = Decision::allow;
    record.reason = Reason::registered;
    record.rule = "shop/api";
    return record;
  }

  void append(AuditLog& log, int count) {
    for (int index = 0; index < count; ++index) ASSERT_TRUE(log.append(open_record()).ok());
  }

  static std::string read_text(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void write_text(const std::filesystem::path& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  static std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> lines;
    std::size_t start = 0;
    for (auto end = text.find('\n'); end != text.npos; start = end + 1, end = text.find('\n', start)) {
      lines.push_back(text.substr(start, end - start));
    }
    if (start < text.size()) lines.push_back(text.substr(start));
    return lines;
  }
  static std::string join(const std::vector<std::string>& lines) {
    std::string text;
    for (const auto& line : lines) text += line + '\n';
    return text;
  }
  std::vector<std::string> lines() const { return split(read_text(settings_.path)); }

  // The events of the log, in order.
  std::vector<std::string> events() const {
    std::vector<std::string> names;
    for (const auto& line : lines()) {
      names.emplace_back(boost::json::parse(line).as_object().at("event").as_string().c_str());
    }
    return names;
  }

  std::vector<std::string> log_files() const {
    std::vector<std::string> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      if (entry.path().filename().string().starts_with("audit.jsonl")) files.push_back(entry.path().string());
    }
    return files;
  }

  AuditVerification verify(AuditVerifyOptions options = {}) const {
    auto report = verify_audit_log(log_files(), options);
    if (!report) {
      ADD_FAILURE() << report.error().message();
      std::abort();
    }
    return std::move(*report);
  }
  std::vector<std::uint8_t> key() const { return *read_audit_key((directory_ / "key").string()); }

  // All findings as text, one a line; empty when the log is sound.
  static std::string findings(const AuditVerification& report) {
    std::string text;
    for (const auto& finding : report.findings) text += std::to_string(finding.line) + ": " + finding.what + "\n";
    return text;
  }

  std::filesystem::path directory_;
  settings::Audit settings_;
};

}  // namespace sluice::observe
