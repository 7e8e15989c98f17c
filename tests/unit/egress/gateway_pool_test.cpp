// Which address of a gateway is tried first, and which is left out for how long.
#include "egress/gateway_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace sluice::egress {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr std::uint64_t second = 1'000'000'000;

settings::Egress three_addresses() {
  settings::Egress egress;
  egress.gateways = {{"gw",
                      {*Endpoint::parse("10.0.0.1:1"), *Endpoint::parse("10.0.0.2:1"), *Endpoint::parse("10.0.0.3:1")},
                      settings::Transport::proxy}};
  egress.health = {.failures = 2, .ejection = settings::Milliseconds(10'000)};
  return egress;
}

class GatewayPoolTest : public testing::Test {
 protected:
  void fail(std::size_t address, int times, std::uint64_t now_ns) {
    for (int count = 0; count < times; ++count) pool_.failed(0, address, now_ns);
  }

  const settings::Egress settings_ = three_addresses();
  GatewayPool pool_{settings_};
};

TEST_F(GatewayPoolTest, begins_with_another_address_each_time_and_names_all) {
  std::set<std::size_t> firsts;
  for (int call = 0; call < 3; ++call) {
    const auto order = pool_.order(0, second);
    EXPECT_THAT(order, UnorderedElementsAre(0, 1, 2));
    firsts.insert(order.front());
  }
  EXPECT_EQ(firsts.size(), 3U);
}

TEST_F(GatewayPoolTest, leaves_an_address_to_the_end_after_so_many_failures_in_a_row) {
  fail(1, 1, second);
  for (int call = 0; call < 3; ++call) {
    if (pool_.order(0, second).front() == 1) pool_.succeeded(0, 1);
  }
  fail(1, 1, second);
  EXPECT_THAT(pool_.wrong(second), IsEmpty()) << "a success in between: not in a row";
  fail(1, 1, second);
  for (int call = 0; call < 5; ++call) EXPECT_EQ(pool_.order(0, 2 * second).back(), 1U);
  EXPECT_THAT(pool_.wrong(2 * second), ElementsAre(HasSubstr("gateway gw: 10.0.0.2:1 does not answer")));
}

TEST_F(GatewayPoolTest, lets_one_call_try_an_address_whose_time_is_over) {
  fail(2, 2, second);
  EXPECT_EQ(pool_.order(0, 11 * second - 1).back(), 2U);
  EXPECT_EQ(pool_.order(0, 11 * second).front(), 2U);
  EXPECT_EQ(pool_.order(0, 11 * second).back(), 2U) << "one call tries it, the next waits for what it finds";
  pool_.succeeded(0, 2);
  EXPECT_THAT(pool_.wrong(11 * second), IsEmpty());
}

TEST_F(GatewayPoolTest, an_address_that_fails_its_trial_is_left_out_for_another_time) {
  fail(2, 2, second);
  EXPECT_EQ(pool_.order(0, 11 * second).front(), 2U);
  fail(2, 1, 12 * second);
  EXPECT_EQ(pool_.order(0, 21 * second).back(), 2U);
  EXPECT_EQ(pool_.order(0, 22 * second).front(), 2U);
}

TEST_F(GatewayPoolTest, names_all_when_all_are_left_out_and_says_what_that_means) {
  for (std::size_t address = 0; address < 3; ++address) fail(address, 2, second);
  EXPECT_THAT(pool_.order(0, 2 * second), UnorderedElementsAre(0, 1, 2));
  EXPECT_THAT(pool_.wrong(2 * second), testing::Each(HasSubstr("calls by it are denied")));
}

TEST_F(GatewayPoolTest, gives_one_trial_to_one_of_many_threads) {
  fail(0, 2, second);
  std::atomic<int> trials{0};
  std::vector<std::thread> threads;
  for (int number = 0; number < 8; ++number) {
    threads.emplace_back([&] { trials += pool_.order(0, 11 * second).front() == 0 ? 1 : 0; });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(trials, 1);
}

}  // namespace
}  // namespace sluice::egress
