#include "observe/audit_text.h"

#include <gmock/gmock.h>

#include "observe/audit_follower.h"
#include "observe/text.h"
#include "tests/unit/observe/audit_fixture.h"

namespace sluice::observe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(AuditText, a_record_is_one_line_that_tells_who_where_and_why) {
  EXPECT_EQ(
      format_audit_line(
          R"({"v":1,"seq":7,"time":"2026-01-31T10:00:00.123456Z","event":"deny","id":"c","pod":{"namespace":"shop",)"
          R"("name":"cart-7"},"process":{"pid":42,"comm":"curl"},"destination":"203.0.113.9:443",)"
          R"("sni":"evil.example","verdict":"deny","reason":"host_not_registered","prev":"00"})"),
      "2026-01-31 10:00:00.123  deny     deny        shop/cart-7 curl[42] → evil.example:443  "
      "host_not_registered");
  EXPECT_EQ(format_audit_line(
                R"({"time":"2026-01-31T10:00:01.5Z","event":"close","source":"10.1.0.5:4000","destination":)"
                R"("[2001:db8::1]:80","http":{"method":"GET","host":"a.example","path":"/x"},"verdict":"allow",)"
                R"("reason":"registered","rule":"shop/api","bytes_sent":100,"bytes_received":2048,)"
                R"("duration_ms":12.345,"close_reason":"finished","count":3})"),
            "2026-01-31T10:00:01.5Z  close    allow       10.1.0.5:4000 → a.example:80  GET /x  registered  "
            "by shop/api  sent 100 B, received 2.0 KiB  12.3 ms  finished  ×3");
  EXPECT_EQ(format_audit_line(R"({"time":"t","event":"checkpoint","seq":5,"head":"ab"})"),
            "t  checkpoint  seq 5, head ab");
}

TEST(AuditText, nothing_in_a_record_reaches_the_terminal_raw) {
  EXPECT_EQ(format_audit_line(R"({"event":"deny","sni":"a\u001b[2Jb","destination":"1.2.3.4:443"})"),
            "  deny                 - → a\\u001b[2Jb:443");
  EXPECT_EQ(format_audit_line("{\x1b[2J"), "no record: {\\u001b[2J");
  EXPECT_EQ(format_audit_line("[1]"), "no record: [1]");
  EXPECT_EQ(format_audit_line(R"({"event":7,"pod":"x","process":[],"bytes_sent":-5})"), "                       -");
}

TEST(AuditText, a_verification_says_the_outcome_first) {
  AuditVerification report;
  report.files = {"a.jsonl"};
  report.records = 9;
  report.first_seq = 1;
  report.last_seq = 9;
  report.head = "ab";
  EXPECT_EQ(format_verification(report), "sound: 9 records, seq 1 to 9, in 1 file\nhead ab\n");
  report.proven_records = 5;
  report.finding_count = 3;
  report.findings = {{"a.jsonl", 4, "is wrong"}, {"a.jsonl", 0, "lacks"}};
  report.notes = {{"a.jsonl", 2, "recovered"}};
  EXPECT_EQ(format_verification(report),
            "3 findings: 9 records, seq 1 to 9, in 1 file\n"
            "  a.jsonl:4: is wrong\n  a.jsonl: lacks\n  and 1 more\n"
            "proven by the key: 5 records; the last 4 wait for their checkpoint\n"
            "notes\n  a.jsonl:2: recovered\nhead ab\n");
  const auto value = verification_as_json(report);
  EXPECT_FALSE(value.at("sound").as_bool());
  EXPECT_EQ(value.at("findings").at(0).at("line").to_number<int>(), 4);
}

TEST(Text, numbers_have_units) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.5 KiB");
  EXPECT_EQ(format_bytes(1024 * 1024 - 1), "1.0 MiB");
  EXPECT_EQ(format_bytes(~0ULL), "16384.0 PiB");
  EXPECT_EQ(format_seconds(59), "59s");
  EXPECT_EQ(format_seconds(61), "1m 1s");
  EXPECT_EQ(format_seconds(3600), "1h 0m");
  EXPECT_EQ(format_seconds(93784), "1d 2h");
}

class AuditFollowerTest : public AuditTest {
 protected:
  std::vector<std::string> read(const std::string& text, std::size_t count) {
    write_text(settings_.path, text);
    auto follower = AuditFollower::open(settings_.path, count);
    return *follower->next();
  }
};

TEST_F(AuditFollowerTest, the_last_lines_come_first) {
  EXPECT_THAT(read("a\nb\nc\n", 2), ElementsAre("b", "c"));
  EXPECT_THAT(read("a\nb\nc\n", 3), ElementsAre("a", "b", "c"));
  EXPECT_THAT(read("a\nb\nc\n", 100), ElementsAre("a", "b", "c"));
  EXPECT_THAT(read("a\nb\nc\n", 0), IsEmpty());
  EXPECT_THAT(read("a\nb", 0), IsEmpty());
  EXPECT_THAT(read("", 5), IsEmpty());
  EXPECT_THAT(read("\n\n", 1), ElementsAre(""));
  const std::string wide(150'000, 'w');
  EXPECT_THAT(read("a\n" + wide + "\nb\n", 2), ElementsAre(wide, "b"));
}

TEST_F(AuditFollowerTest, an_unfinished_line_waits_for_its_end) {
  write_text(settings_.path, "a\nb");
  auto follower = AuditFollower::open(settings_.path, 10);
  EXPECT_THAT(*follower->next(), ElementsAre("a"));
  EXPECT_EQ(follower->unfinished(), "b");
  std::ofstream(settings_.path, std::ios::app) << "c\n";
  EXPECT_THAT(*follower->next(), ElementsAre("bc"));
  EXPECT_THAT(*follower->next(), IsEmpty());
}

TEST_F(AuditFollowerTest, rotation_loses_no_line) {
  const auto log = open_log();
  auto follower = AuditFollower::open(settings_.path, 0);
  append(*log, 2);
  ASSERT_TRUE(log->reopen().ok());
  append(*log, 1);
  std::vector<std::string> seen;
  for (int round = 0; round < 4; ++round) {
    const auto more = follower->next();
    for (const auto& line : *more) seen.push_back(line);
  }
  auto expected = split(read_text(settings_.path + ".1"));
  expected.erase(expected.begin());
  for (auto& line : lines()) expected.push_back(line);
  EXPECT_EQ(seen, expected);
}

TEST_F(AuditFollowerTest, a_file_that_is_not_there_is_an_error) {
  EXPECT_THAT(AuditFollower::open(settings_.path, 1).error().message(), HasSubstr("No such file"));
}

}  // namespace
}  // namespace sluice::observe
