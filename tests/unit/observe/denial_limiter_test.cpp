#include "observe/denial_limiter.h"

#include <gtest/gtest.h>

namespace sluice::observe {
namespace {

constexpr std::uint64_t second = 1'000'000'000;

Record denial(const std::string& pod, Reason reason = Reason::host_not_registered) {
  Record record;
  record.event = Event::deny;
  record.pod = PodFacts{"shop", pod, "uid-" + pod, "default"};
  record.verdict = Decision::deny;
  record.reason = reason;
  return record;
}

TEST(DenialLimiter, a_pod_gets_its_records_and_the_rest_is_one_counted_record_a_reason) {
  DenialLimiter limiter(20);
  int admitted = 0;
  for (int index = 0; index < 1000; ++index) {
    admitted += limiter.admit(denial("a", index % 2 ? Reason::sni_missing : Reason::not_tls), second) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 20);
  const auto records = limiter.flush(second);
  ASSERT_EQ(records.size(), 2U);
  EXPECT_EQ(records[0].reason, Reason::sni_missing);
  EXPECT_EQ(records[1].reason, Reason::not_tls);
  for (const auto& record : records) {
    EXPECT_EQ(record.count, 490U);
    EXPECT_EQ(record.event, Event::deny);
    EXPECT_EQ(record.verdict, Decision::deny);
    EXPECT_EQ(record.pod->name, "a");
    EXPECT_EQ(record.pod->uid, "uid-a");
  }
  EXPECT_TRUE(limiter.flush(second).empty());
}

TEST(DenialLimiter, one_pods_flood_costs_another_nothing) {
  DenialLimiter limiter(5);
  for (int index = 0; index < 1000; ++index) (void)limiter.admit(denial("a"), second);
  for (int index = 0; index < 5; ++index) EXPECT_TRUE(limiter.admit(denial("b"), second));
  EXPECT_FALSE(limiter.admit(denial("b"), second));
}

TEST(DenialLimiter, the_allowance_comes_back_with_time_and_no_more_than_a_second_of_it) {
  DenialLimiter limiter(10);
  for (int index = 0; index < 10; ++index) ASSERT_TRUE(limiter.admit(denial("a"), second));
  EXPECT_FALSE(limiter.admit(denial("a"), second));
  EXPECT_TRUE(limiter.admit(denial("a"), second + second / 10 + 1));
  EXPECT_FALSE(limiter.admit(denial("a"), second + second / 10 + 2));
  int admitted = 0;
  for (int index = 0; index < 100; ++index) admitted += limiter.admit(denial("a"), 60 * second) ? 1 : 0;
  EXPECT_EQ(admitted, 10);
}

TEST(DenialLimiter, flushing_gives_no_new_allowance) {
  DenialLimiter limiter(10);
  for (int index = 0; index < 20; ++index) (void)limiter.admit(denial("a"), second);
  (void)limiter.flush(second);
  EXPECT_FALSE(limiter.admit(denial("a"), second));
}

TEST(DenialLimiter, pods_beyond_the_bound_share_one_allowance_and_stay_counted) {
  DenialLimiter limiter(2, 3);
  int admitted = 0;
  for (int pod = 0; pod < 100; ++pod) admitted += limiter.admit(denial(std::to_string(pod)), second) ? 1 : 0;
  EXPECT_EQ(admitted, 3 + 2);
  const auto records = limiter.flush(second);
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].count, 95U);
  EXPECT_FALSE(records[0].pod.has_value());
}

TEST(DenialLimiter, silent_pods_make_room) {
  DenialLimiter limiter(2, 3);
  for (int pod = 0; pod < 4; ++pod) (void)limiter.admit(denial(std::to_string(pod)), second);
  (void)limiter.flush(3 * second);
  int admitted = 0;
  for (int pod = 10; pod < 13; ++pod) {
    for (int index = 0; index < 2; ++index) admitted += limiter.admit(denial(std::to_string(pod)), 3 * second) ? 1 : 0;
  }
  EXPECT_EQ(admitted, 6);
}

TEST(DenialLimiter, with_no_allowance_everything_is_counted) {
  DenialLimiter limiter(0);
  EXPECT_FALSE(limiter.admit(denial("a"), second));
  EXPECT_FALSE(limiter.admit(denial("a"), 100 * second));
  EXPECT_EQ(limiter.flush(100 * second).at(0).count, 2U);
}

TEST(DenialLimiter, a_record_that_stands_for_many_is_counted_as_many) {
  DenialLimiter limiter(0);
  auto record = denial("a");
  record.count = 40;
  EXPECT_FALSE(limiter.admit(record, second));
  EXPECT_EQ(limiter.flush(second).at(0).count, 40U);
}

}  // namespace
}  // namespace sluice::observe
