#include "observe/audit_verify.h"

#include <gmock/gmock.h>

#include "observe/audit_line.h"
#include "tests/unit/observe/audit_fixture.h"

namespace sluice::observe {
namespace {

using ::testing::HasSubstr;

class AuditVerifyTest : public AuditTest {
 protected:
  AuditVerifyTest() { settings_.key_file = (directory_ / "key").string(); }

  // A sound log of 26 lines: checkpoints are 1, 12 and 23.
  std::vector<std::string> sound() {
    const auto log = open_log();
    for (int index = 0; index < 23; ++index) {
      EXPECT_TRUE(log->append(open_record("host-" + std::to_string(index) + ".example.com")).ok());
    }
    head_ = log->state().head;
    return lines();
  }
  // What is found in a log of these lines, with the key.
  std::string found(const std::vector<std::string>& content) {
    write_text(settings_.path, join(content));
    return findings(verify({.key = key(), .known_head = {}}));
  }
  static void replace(std::string& line, const std::string& from, const std::string& to) {
    ASSERT_NE(line.find(from), line.npos);
    line.replace(line.find(from), from.size(), to);
  }
  // Computes the chain anew from line `first` on, as someone without the key can.
  static void forge_chain(std::vector<std::string>& content, std::size_t first) {
    for (auto index = first; index < content.size(); ++index) {
      const auto prev = index == 0 ? first_head() : line_hash(content[index - 1]);
      auto record = boost::json::parse(content[index]).as_object();
      record["seq"] = index + 1;
      record["prev"] = prev;
      if (record.contains("head")) record["head"] = prev;
      content[index] = boost::json::serialize(record);
    }
  }

  std::string head_;
};

TEST_F(AuditVerifyTest, a_sound_log_has_no_finding_and_is_proven_up_to_its_last_checkpoint) {
  const auto content = sound();
  ASSERT_EQ(content.size(), 26U);
  write_text(settings_.path, join(content));
  const auto report = verify({.key = key(), .known_head = head_});
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.records, 26U);
  EXPECT_EQ(report.checkpoints, 3U);
  EXPECT_EQ(report.proven_records, 23U);
  EXPECT_EQ(report.head, head_);
}

TEST_F(AuditVerifyTest, an_edited_record_is_found) {
  auto content = sound();
  replace(content[4], "api", "evl");
  EXPECT_EQ(found(content), "6: does not fit to the record before it: that one was altered\n");
}

TEST_F(AuditVerifyTest, every_single_bit_of_a_record_counts) {
  const auto content = sound();
  for (std::size_t bit = 0; bit < content[2].size() * 8; bit += 5) {
    auto altered = content;
    altered[2][bit / 8] = static_cast<char>(altered[2][bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(found(altered), "") << altered[2];
  }
}

TEST_F(AuditVerifyTest, a_removed_record_is_found) {
  auto content = sound();
  content.erase(content.begin() + 4);
  EXPECT_EQ(found(content), "5: seq 6 where 5 must follow: 1 records were removed before it\n");
}

TEST_F(AuditVerifyTest, swapped_records_are_found) {
  auto content = sound();
  std::swap(content[4], content[5]);
  EXPECT_THAT(found(content), HasSubstr("6: seq 5 where 7 must follow: records were moved, repeated or inserted\n"));
}

TEST_F(AuditVerifyTest, a_repeated_record_is_found) {
  auto content = sound();
  content.insert(content.begin() + 4, content[3]);
  EXPECT_THAT(found(content), HasSubstr("5: seq 4 where 5 must follow"));
}

TEST_F(AuditVerifyTest, a_log_without_its_beginning_says_so) {
  auto content = sound();
  content.erase(content.begin(), content.begin() + 3);
  write_text(settings_.path, join(content));
  const auto report = verify();
  EXPECT_EQ(findings(report), "");
  EXPECT_THAT(report.notes.at(0).what, HasSubstr("begins with seq 4"));
}

TEST_F(AuditVerifyTest, a_first_record_that_names_a_predecessor_is_found) {
  auto content = sound();
  replace(content[0], R"("prev":"0)", R"("prev":"1)");
  EXPECT_THAT(found(content), HasSubstr("1: is the first record but names one before it\n"));
}

TEST_F(AuditVerifyTest, a_cut_log_is_found_by_a_head_seen_earlier) {
  auto content = sound();
  content.pop_back();
  write_text(settings_.path, join(content));
  EXPECT_EQ(findings(verify()), "");
  EXPECT_THAT(findings(verify({.key = {}, .known_head = head_})), HasSubstr("lines were cut off or rewritten"));
}

TEST_F(AuditVerifyTest, a_rewritten_chain_is_found_by_the_key_alone) {
  auto content = sound();
  content.erase(content.begin() + 4);
  forge_chain(content, 4);
  write_text(settings_.path, join(content));
  EXPECT_EQ(findings(verify()), "");
  EXPECT_EQ(found(content),
            "11: has a wrong HMAC: the log was rewritten, or this is not its key\n"
            "22: has a wrong HMAC: the log was rewritten, or this is not its key\n");
}

TEST_F(AuditVerifyTest, a_rewritten_log_without_hmacs_is_found) {
  auto content = sound();
  for (auto& line : content) {
    auto record = boost::json::parse(line).as_object();
    record.erase("mac");
    line = boost::json::serialize(record);
  }
  forge_chain(content, 0);
  EXPECT_THAT(found(content), HasSubstr("1: is a checkpoint without HMAC"));
}

TEST_F(AuditVerifyTest, a_rewritten_log_without_checkpoints_is_found) {
  auto content = sound();
  std::erase_if(content, [](const auto& line) { return line.find("checkpoint") != line.npos; });
  forge_chain(content, 0);
  EXPECT_THAT(found(content), HasSubstr("holds no checkpoint: nothing proves its records"));
}

TEST_F(AuditVerifyTest, a_removed_later_checkpoint_is_found) {
  auto content = sound();
  content.erase(content.begin() + 22);
  content.erase(content.begin() + 11);
  forge_chain(content, 11);
  EXPECT_EQ(found(content),
            "20: 19 records without a checkpoint, although one was promised every 10: it was removed\n");
}

TEST_F(AuditVerifyTest, another_key_proves_nothing) {
  sound();
  const auto report = verify({.key = std::vector<std::uint8_t>(20, 7), .known_head = {}});
  EXPECT_EQ(report.finding_count, 4U);
  EXPECT_EQ(report.proven_records, 0U);
}

TEST_F(AuditVerifyTest, a_torn_tail_is_found) {
  const auto text = join(sound());
  write_text(settings_.path, text.substr(0, text.size() - 20));
  EXPECT_EQ(findings(verify()), "26: is no whole record: torn by a crash, or altered\n");
  write_text(settings_.path, text.substr(0, text.size() - 1));
  EXPECT_EQ(findings(verify()), "26: lacks its line end: torn by a crash, or cut\n");
}

TEST_F(AuditVerifyTest, a_recovered_record_excuses_only_the_torn_line_that_it_names) {
  const auto text = join(sound());
  write_text(settings_.path, text.substr(0, text.size() - 20));
  {
    open_log();
  }
  auto content = lines();
  EXPECT_EQ(found(content), "");
  auto altered = content;
  altered[25] += "x";
  EXPECT_THAT(found(altered), HasSubstr("26: is no whole record"));
  altered = content;
  altered.insert(altered.begin() + 25, "{");
  EXPECT_THAT(found(altered), HasSubstr("26: is no whole record"));
  altered = content;
  replace(altered[24], "host-21", "host-99");
  EXPECT_THAT(found(altered), HasSubstr("26: is no whole record"));
}

TEST_F(AuditVerifyTest, a_missing_rotated_file_is_found) {
  settings_.keep_files = 5;
  {
    const auto log = open_log();
    for (int file = 0; file < 3; ++file) {
      append(*log, 2);
      ASSERT_TRUE(log->reopen().ok());
    }
  }
  EXPECT_EQ(findings(verify()), "");
  std::filesystem::remove(settings_.path + ".2");
  EXPECT_THAT(findings(verify()), HasSubstr("records were removed before it"));
}

TEST_F(AuditVerifyTest, an_empty_log_is_a_finding_and_an_absent_one_an_error) {
  write_text(settings_.path, "");
  EXPECT_EQ(findings(verify()), "0: holds no record\n");
  EXPECT_FALSE(verify_audit_log({settings_.path + ".absent"}, {}).ok());
  EXPECT_FALSE(verify_audit_log({directory_.string()}, {}).ok());
}

TEST_F(AuditVerifyTest, a_flood_of_findings_is_counted_and_not_kept) {
  write_text(settings_.path, join(std::vector<std::string>(1000, "x")));
  const auto report = verify();
  EXPECT_EQ(report.findings.size(), max_audit_remarks);
  EXPECT_GE(report.finding_count, 1000U);
}

TEST_F(AuditVerifyTest, an_endless_line_is_a_finding) {
  auto content = sound();
  content[3] = std::string(5'000'000, '[');
  EXPECT_THAT(found(content), HasSubstr("4: is no whole record"));
}

}  // namespace
}  // namespace sluice::observe
