// What an audit log does when it cannot write, and what kill -9 leaves.
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <random>

#include "observe/audit.h"
#include "tests/unit/observe/audit_fixture.h"

namespace sluice::observe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// While it lives no file of this process grows over `bytes`: a write is cut short there, like on a full disk, and the
// next one fails.
class FullDisk {
 public:
  explicit FullDisk(std::uint64_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    auto full = before_;
    full.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &full);
  }
  ~FullDisk() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FullDisk(const FullDisk&) = delete;
  FullDisk& operator=(const FullDisk&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

using AuditFailureTest = AuditTest;

TEST_F(AuditFailureTest, of_records_written_together_none_is_there_when_the_last_does_not_fit) {
  const auto log = open_log();
  append(*log, 2);
  const auto before = read_text(settings_.path);
  {
    const FullDisk full(before.size() + 1000);
    const std::vector<Record> records(12, open_record());
    EXPECT_FALSE(log->append(records).ok());
    EXPECT_EQ(read_text(settings_.path), before);
  }
  append(*log, 1);
  EXPECT_THAT(events(), ElementsAre("checkpoint", "open", "open", "drops", "open"));
  EXPECT_EQ(boost::json::parse(lines()[3]).at("count").as_int64(), 12);
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditFailureTest, a_full_disk_denies_leaves_whole_lines_and_is_reported_first_when_there_is_room) {
  const auto log = open_log();
  append(*log, 2);
  const auto before = read_text(settings_.path);
  {
    const FullDisk full(before.size() + 100);
    EXPECT_THAT(log->append(open_record()).error().message(), HasSubstr("write audit log: File too large"));
    EXPECT_FALSE(log->append(open_record()).ok());
    EXPECT_EQ(read_text(settings_.path), before);
  }
  append(*log, 1);
  EXPECT_THAT(events(), ElementsAre("checkpoint", "open", "open", "drops", "open"));
  EXPECT_EQ(boost::json::parse(lines()[3]).at("count").as_int64(), 2);
  EXPECT_EQ(log->state().drops, 2U);
  EXPECT_EQ(findings(verify()), "");
  EXPECT_EQ(verify().notes.at(0).what, "2 records were dropped: write audit log: File too large");
}

TEST_F(AuditFailureTest, on_failure_count_goes_on_and_counts) {
  settings_.on_failure = settings::OnAuditFailure::count;
  const auto log = open_log();
  {
    const FullDisk full(std::filesystem::file_size(settings_.path));
    EXPECT_TRUE(log->append(open_record()).ok());
  }
  EXPECT_EQ(log->state().drops, 1U);
  append(*log, 1);
  EXPECT_THAT(events(), ElementsAre("checkpoint", "drops", "open"));
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditFailureTest, a_log_that_cannot_be_written_at_the_start_fails_or_is_counted_as_set) {
  append(*open_log(), 1);
  const auto size = std::filesystem::file_size(settings_.path);
  {
    const FullDisk full(size + 1);
    EXPECT_FALSE(AuditLog::open(settings_, "node-1", "agent").ok());
  }
  settings_.on_failure = settings::OnAuditFailure::count;
  std::unique_ptr<AuditLog> log;
  {
    const FullDisk full(size + 1);
    log = open_log();
    EXPECT_TRUE(log->append(open_record()).ok());
    EXPECT_EQ(std::filesystem::file_size(settings_.path), size);
  }
  append(*log, 1);
  EXPECT_EQ(log->state().drops, 1U);
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditFailureTest, a_rotation_that_fails_loses_nothing_and_the_file_grows_on) {
  settings_.rotate_bytes = 2000;
  settings_.checkpoint_records = 1000;
  const auto log = open_log();
  std::filesystem::create_directories(std::filesystem::path(settings_.path + ".new") / "in the way");
  append(*log, 20);
  EXPECT_EQ(log->state().drops, 0U);
  EXPECT_GT(std::filesystem::file_size(settings_.path), 2000U);
  EXPECT_FALSE(log->reopen().ok());
  std::filesystem::remove_all(settings_.path + ".new");
  EXPECT_TRUE(log->reopen().ok());
  append(*log, 1);
  EXPECT_EQ(findings(verify()), "");
}

TEST_F(AuditFailureTest, a_rotation_on_a_full_disk_changes_nothing) {
  const auto log = open_log();
  append(*log, 2);
  const auto before = read_text(settings_.path);
  {
    const FullDisk full(before.size() + 10);
    EXPECT_FALSE(log->reopen().ok());
  }
  EXPECT_EQ(read_text(settings_.path), before);
  EXPECT_EQ(log_files(), std::vector{settings_.path});
}

// What a writer in another process shares with the test.
struct Shared {
  std::atomic<std::uint64_t> acknowledged{0};
};

TEST_F(AuditFailureTest, kill_9_at_any_moment_leaves_every_acknowledged_record_and_a_sound_chain) {
  settings_.rotate_bytes = 20'000;
  settings_.keep_files = 100'000;
  settings_.key_file = (directory_ / "key").string();
  void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* shared = new (memory) Shared;
  std::mt19937 random(11);
  std::uint64_t appended = 0;
  for (int round = 0; round < 40; ++round) {
    const auto until = shared->acknowledged + random() % 300;
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const auto log = open_log();
      while (log->append(open_record()).ok()) ++shared->acknowledged;
      ::_exit(1);
    }
    while (shared->acknowledged < until) {
      ASSERT_EQ(::waitpid(child, nullptr, WNOHANG), 0) << "the writer ended by itself";
    }
    ::kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    appended = shared->acknowledged;
  }
  open_log();
  const auto report = verify({.key = key(), .known_head = {}});
  EXPECT_EQ(findings(report), "");
  EXPECT_EQ(report.first_seq, 1U);
  std::uint64_t opens = 0;
  for (const auto& file : report.files) {
    for (const auto& line : split(read_text(file))) opens += line.find(R"("event":"open")") != line.npos ? 1 : 0;
  }
  // At most the one record a round that was written and not acknowledged yet comes on top.
  EXPECT_GE(opens, appended);
  EXPECT_LE(opens, appended + 40);
  ::munmap(memory, sizeof(Shared));
}

TEST_F(AuditFailureTest, a_log_that_someone_removes_is_started_anew) {
  const auto log = open_log();
  append(*log, 1);
  std::filesystem::remove(settings_.path);
  // The log looks once a second whether its file is still there.
  for (int tries = 0; tries < 3000 && !std::filesystem::exists(settings_.path); ++tries) {
    append(*log, 1);
    ::usleep(1000);
  }
  ASSERT_TRUE(std::filesystem::exists(settings_.path));
  EXPECT_EQ(findings(verify()), "");
}

}  // namespace
}  // namespace sluice::observe
