#include "observe/audit.h"

#include <gmock/gmock.h>

#include <thread>

#include "tests/unit/observe/audit_fixture.h"

namespace sluice::observe {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

TEST_F(AuditTest, the_first_line_follows_64_zeros_and_each_next_one_the_hash_of_the_line_before) {
  const auto log = open_log();
  append(*log, 25);
  std::string head(64, '0');
  std::int64_t seq = 0;
  for (const auto& line : lines()) {
    const auto record = json::parse(line).as_object();
    EXPECT_EQ(record.at("seq").as_int64(), ++seq);
    EXPECT_EQ(record.at("prev").as_string(), head);
    EXPECT_EQ(record.at("node").as_string(), "node-1");
    EXPECT_EQ(record.at("role").as_string(), "agent");
    head = line_hash(line);
  }
  EXPECT_EQ(log->state().head, head);
  EXPECT_EQ(log->state().seq, static_cast<std::uint64_t>(seq));
  EXPECT_EQ(log->state().lines, static_cast<std::uint64_t>(seq));
}

TEST_F(AuditTest, a_line_is_in_the_file_when_append_returns) {
  const auto log = open_log();
  append(*log, 1);
  EXPECT_THAT(lines().back(), HasSubstr(R"("sni":"api.example.com")"));
}

TEST_F(AuditTest, records_written_together_are_a_chain_with_its_checkpoints) {
  const auto log = open_log();
  append(*log, 1);
  const std::vector<Record> records(25, open_record());
  ASSERT_TRUE(log->append(records).ok());
  const auto written = lines();
  EXPECT_EQ(std::count_if(written.begin(), written.end(),
                          [](const auto& line) { return line.find("\"open\"") != line.npos; }),
            26);
  EXPECT_EQ(log->state().lines, written.size());
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditTest, the_latest_records_are_found_over_rotation_and_no_further_back_than_asked) {
  settings_.rotate_bytes = 1;
  std::vector<std::string> found;
  const auto each = [&](std::string_view event, std::string_view id) {
    found.push_back(std::string(event) + " " + std::string(id));
  };
  {
    const auto log = open_log();
    for (const auto* id : {"a", "b", "c"}) {
      auto record = open_record();
      record.id = id;
      ASSERT_TRUE(log->append(record).ok());
    }
  }
  read_latest(settings_.path, 64UL * 1024, each);
  EXPECT_THAT(found, testing::UnorderedElementsAre("open b", "open c"));
  found.clear();
  read_latest(settings_.path, std::filesystem::file_size(settings_.path), each);
  EXPECT_THAT(found, testing::ElementsAre("open c"));
}

TEST_F(AuditTest, a_checkpoint_begins_the_log_comes_every_so_many_lines_and_ends_it) {
  {
    const auto log = open_log();
    append(*log, 12);
  }
  std::vector<std::string> expected(15, "open");
  expected[0] = expected[11] = expected[14] = "checkpoint";
  EXPECT_EQ(events(), expected);
}

TEST_F(AuditTest, the_chain_goes_on_after_a_restart) {
  append(*open_log(), 3);
  append(*open_log(), 3);
  const auto report = verify();
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.first_seq, 1U);
  EXPECT_EQ(report.last_seq, report.records);
  EXPECT_EQ(report.records, lines().size());
}

TEST_F(AuditTest, a_log_torn_at_any_byte_goes_on_and_says_so) {
  append(*open_log(), 2);
  const auto whole = read_text(settings_.path);
  const auto last = whole.rfind('\n', whole.size() - 2) + 1;
  for (auto size = last + 1; size < whole.size(); ++size) {
    write_text(settings_.path, whole.substr(0, size));
    open_log();
    const auto content = lines();
    EXPECT_EQ(content[3], whole.substr(last, size - last));
    EXPECT_THAT(content[4], HasSubstr(R"("event":"recovered")"));
    ASSERT_EQ(findings(verify()), "") << "torn at byte " << size;
    EXPECT_EQ(verify().notes.size(), 1U);
  }
}

TEST_F(AuditTest, a_tail_of_zeros_as_a_power_cut_leaves_it_is_recovered) {
  append(*open_log(), 2);
  write_text(settings_.path, read_text(settings_.path) + std::string(5000, '\0'));
  append(*open_log(), 1);
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditTest, a_file_that_is_no_audit_log_is_refused) {
  const std::string foreign(tail_window_bytes + 10, 'x');
  write_text(settings_.path, foreign);
  const auto log = AuditLog::open(settings_, "node-1", "agent");
  ASSERT_FALSE(log.ok());
  EXPECT_THAT(log.error().message(), HasSubstr("hold no audit record: move the file away"));
  EXPECT_EQ(read_text(settings_.path), foreign);
}

TEST_F(AuditTest, what_is_no_regular_file_is_refused) {
  settings_.path = "/dev/full";
  const auto log = AuditLog::open(settings_, "node-1", "agent");
  ASSERT_FALSE(log.ok());
  EXPECT_THAT(log.error().message(), HasSubstr("not a regular file"));
  std::filesystem::remove("/dev/.full.lock");
}

TEST_F(AuditTest, a_second_writer_is_refused_until_the_first_is_gone) {
  auto first = open_log();
  const auto second = AuditLog::open(settings_, "node-1", "gateway");
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message(), HasSubstr("is being written by another process"));
  first.reset();
  EXPECT_TRUE(AuditLog::open(settings_, "node-1", "gateway").ok());
}

TEST_F(AuditTest, a_key_that_cannot_be_read_or_is_too_short_is_refused) {
  settings_.key_file = (directory_ / "absent").string();
  EXPECT_THAT(AuditLog::open(settings_, "n", "agent").error().message(), HasSubstr("audit.key_file: open "));
  write_text(settings_.key_file, "short\n");
  EXPECT_THAT(AuditLog::open(settings_, "n", "agent").error().message(), HasSubstr("at least 16 bytes"));
}

TEST_F(AuditTest, rotation_keeps_so_many_files_and_one_chain) {
  settings_.rotate_bytes = 4000;
  settings_.keep_files = 3;
  settings_.key_file = (directory_ / "key").string();
  const auto log = open_log();
  append(*log, 200);
  EXPECT_EQ(log_files().size(), 4U);
  const auto report = verify({.key = key(), .known_head = {}});
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.last_seq, log->state().seq);
  EXPECT_EQ(report.files.back(), settings_.path);
  for (const auto& file : log_files()) {
    const auto content = split(read_text(file));
    EXPECT_THAT(content.front(), HasSubstr("checkpoint"));
    if (file != settings_.path) {
      EXPECT_THAT(content.back(), HasSubstr("checkpoint"));
    }
    EXPECT_LE(std::filesystem::file_size(file), 4000 + 2 * max_line_bytes);
  }
}

TEST_F(AuditTest, without_kept_files_rotation_leaves_one) {
  settings_.keep_files = 0;
  const auto log = open_log();
  append(*log, 3);
  ASSERT_TRUE(log->reopen().ok());
  append(*log, 1);
  EXPECT_EQ(log_files(), std::vector{settings_.path});
  EXPECT_EQ(events(), (std::vector<std::string>{"checkpoint", "open"}));
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditTest, reopen_rotates_and_the_new_file_continues_the_chain) {
  const auto log = open_log();
  append(*log, 3);
  ASSERT_TRUE(log->reopen().ok());
  append(*log, 3);
  const auto old_lines = split(read_text(settings_.path + ".1"));
  EXPECT_EQ(json::parse(lines().front()).at("prev").as_string(), line_hash(old_lines.back()));
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditTest, reopen_follows_a_file_that_was_moved_away) {
  const auto log = open_log();
  append(*log, 3);
  std::filesystem::rename(settings_.path, settings_.path + "-2026-01-31");
  append(*log, 1);
  ASSERT_TRUE(log->reopen().ok());
  append(*log, 1);
  EXPECT_EQ(log_files().size(), 2U);
  EXPECT_EQ(findings(verify()), "");
  EXPECT_EQ(verify().first_seq, 1U);
}

TEST_F(AuditTest, reopen_does_not_overwrite_what_someone_else_put_there) {
  const auto log = open_log();
  append(*log, 1);
  std::filesystem::rename(settings_.path, settings_.path + ".1");
  write_text(settings_.path, "mine\n");
  EXPECT_THAT(log->reopen().error().message(), HasSubstr("replaced by a file of someone else"));
  append(*log, 1);
  EXPECT_EQ(read_text(settings_.path), "mine\n");
  EXPECT_THAT(read_text(settings_.path + ".1"), HasSubstr(R"("seq":4)"));
}

TEST_F(AuditTest, a_restart_between_the_two_renames_of_a_rotation_continues_the_chain) {
  append(*open_log(), 3);
  std::filesystem::rename(settings_.path, settings_.path + ".1");
  write_text(settings_.path + ".new", R"({"v":1,"seq":9,"prev":"never published"})");
  append(*open_log(), 3);
  EXPECT_EQ(findings(verify()), "");
  EXPECT_EQ(verify().first_seq, 1U);
}

TEST_F(AuditTest, threads_share_one_gapless_chain) {
  settings_.rotate_bytes = 50'000;
  settings_.keep_files = 1000;
  const auto log = open_log();
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&log] {
      for (int index = 0; index < 500; ++index) ASSERT_TRUE(log->append(open_record()).ok());
    });
  }
  for (int index = 0; index < 20; ++index) {
    ASSERT_TRUE(log->reopen().ok());
    EXPECT_EQ(log->state().drops, 0U);
  }
  for (auto& thread : threads) thread.join();
  const auto report = verify();
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.records, log->state().lines);
  EXPECT_EQ(report.records, 2000 + report.checkpoints);
}

}  // namespace
}  // namespace sluice::observe
