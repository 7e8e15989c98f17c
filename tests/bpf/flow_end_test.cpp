// Claims about the end of a flow: when it is over, what its totals say, and how its entry goes.
#include "support/flows.h"

namespace sluice::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint32_t hello = 500;
constexpr std::uint32_t largest_window = 1U << 30;  // RFC 7323 section 2.3

class FlowEnd : public Flows {
 protected:
  using End = kernel::FlowEnd;

  // The pod's FIN at `sent`, or its acknowledgement of `received` bytes; and the gateway's.
  static TcpFields pod_fin(const Call& call, std::uint32_t sent, std::uint32_t received) {
    return {.flags = fin | ack, .sequence = call.first + sent, .acknowledgement = gateway_isn + 1 + received};
  }
  static TcpFields pod_ack(const Call& call, std::uint32_t sent, std::uint32_t received) {
    return {.flags = ack, .sequence = call.first + sent, .acknowledgement = gateway_isn + 1 + received};
  }
  void expect_ended_once(const Call& call, End end, std::uint64_t sent, std::uint64_t received) {
    const auto flow = flow_of(call);
    ASSERT_TRUE(flow);
    EXPECT_EQ(flow->state, State::ended);
    EXPECT_EQ(flow->end, end);
    EXPECT_EQ(flow->bytes_sent, sent);
    EXPECT_EQ(flow->bytes_received, received);
    EXPECT_EQ(load().live, 0U);
    EXPECT_EQ(told(Kind::ended), 1U);
  }
  kernel::Swept sweep(std::uint64_t now_ns, const kernel::FlowPatience& patience) const {
    return kernel_->flows().sweep(now_ns, patience);
  }
};

TEST_P(FlowEnd, point_11_the_pod_closes_first) {
  const auto call = open(hello);
  reaches_pod(call, answer(call, 0, 30, hello));
  reaches_gateway(call, data(call, hello, 100));
  reaches_gateway(call, pod_fin(call, hello + 100, 30));
  reaches_pod(call, answer(call, 30, 20, hello + 101, ack));
  reaches_gateway(call, pod_ack(call, hello + 101, 50));
  EXPECT_EQ(state_of(call), State::open) << "the gateway may go on";
  reaches_pod(call, answer(call, 50, 0, hello + 101, fin | ack));
  EXPECT_EQ(state_of(call), State::open) << "its FIN is not acknowledged";
  reaches_gateway(call, pod_ack(call, hello + 101, 50));
  EXPECT_EQ(state_of(call), State::open) << "not any acknowledgement is the last one";
  reaches_gateway(call, pod_ack(call, hello + 101, 51));
  expect_ended_once(call, End::finished, hello + 100, 50);
}

TEST_P(FlowEnd, point_11_the_gateway_closes_first) {
  const auto call = open(hello, 28);
  reaches_pod(call, answer(call, 0, 30, hello + 28, fin | ack));
  reaches_gateway(call, pod_ack(call, hello, 31));
  reaches_gateway(call, data(call, hello, 100));
  reaches_gateway(call, pod_fin(call, hello + 100, 31));
  reaches_pod(call, answer(call, 31, 0, hello + 28 + 100, ack));
  EXPECT_EQ(state_of(call), State::open);
  const auto last = reaches_pod(call, answer(call, 31, 0, hello + 28 + 101, ack));
  EXPECT_EQ(last.acknowledgement, call.first + hello + 101);
  expect_ended_once(call, End::finished, hello + 100, 30);
}

TEST_P(FlowEnd, point_11_both_close_at_once) {
  const auto call = open(hello);
  reaches_gateway(call, pod_fin(call, hello, 0));
  reaches_pod(call, answer(call, 0, 0, hello, fin | ack));
  reaches_gateway(call, pod_ack(call, hello + 1, 1));
  EXPECT_EQ(state_of(call), State::open);
  reaches_pod(call, answer(call, 1, 0, hello + 1, ack));
  expect_ended_once(call, End::finished, hello, 0);
}

TEST_P(FlowEnd, point_11_with_data_on_the_fins_and_repetitions) {
  const auto call = open(hello);
  for (int n = 0; n < 3; ++n) {
    reaches_gateway(call, data(call, hello, 100, fin | psh | ack));
    reaches_pod(call, answer(call, 0, 70, hello, fin | psh | ack));
  }
  for (int n = 0; n < 3; ++n) reaches_pod(call, answer(call, 71, 0, hello + 101, ack));
  reaches_gateway(call, pod_ack(call, hello + 101, 71));
  reaches_gateway(call, pod_ack(call, hello + 101, 71));
  expect_ended_once(call, End::finished, hello + 100, 70);
}

TEST_P(FlowEnd, point_11_every_byte_is_counted_once) {
  const auto call = open(hello);
  for (const std::uint32_t offset : {0U, 100U, 0U, 50U, 300U, 200U, 100U}) {
    reaches_gateway(call, data(call, hello + offset, 100));
    reaches_pod(call, answer(call, offset, 100, hello));
  }
  EXPECT_EQ(flow_of(call)->bytes_sent, hello + 400);
  EXPECT_EQ(flow_of(call)->bytes_received, 400U);
}

TEST_P(FlowEnd, point_11_an_acknowledgement_ahead_of_lost_bytes_hides_none_of_them) {
  const auto call = open(hello);
  reaches_gateway(call, pod_ack(call, hello + 100, 0));
  reaches_pod(call, answer(call, 60, 0, hello, ack));
  reaches_gateway(call, data(call, hello, 100));
  reaches_pod(call, answer(call, 0, 60, hello));
  EXPECT_EQ(flow_of(call)->bytes_sent, hello + 100);
  EXPECT_EQ(flow_of(call)->bytes_received, 60U);
}

TEST_P(FlowEnd, point_11_a_fin_ahead_of_lost_bytes_hides_none_of_them) {
  const auto call = open(hello);
  reaches_gateway(call, pod_fin(call, hello + 100, 0));
  reaches_pod(call, answer(call, 60, 0, hello, fin | ack));
  reaches_gateway(call, data(call, hello, 100));
  reaches_pod(call, answer(call, 0, 60, hello));
  reaches_gateway(call, pod_ack(call, hello + 101, 61));
  reaches_pod(call, answer(call, 61, 0, hello + 101, ack));
  expect_ended_once(call, End::finished, hello + 100, 60);
}

TEST_P(FlowEnd, point_11_the_pods_reset_ends_it_where_the_gateway_takes_it) {
  const auto call = open(hello, 28);
  const auto segment = reaches_gateway(call, {.flags = rst, .sequence = call.first + hello});
  EXPECT_EQ(segment.sequence, call.first + hello + 28);
  expect_ended_once(call, End::client_reset, hello, 0);
}

TEST_P(FlowEnd, point_11_the_pods_reset_after_its_data_ends_it) {
  const auto call = open(hello);
  reaches_gateway(call, data(call, hello, 100));
  reaches_gateway(call, {.flags = rst | ack, .sequence = call.first + hello + 100, .acknowledgement = gateway_isn + 1});
  expect_ended_once(call, End::client_reset, hello + 100, 0);
}

TEST_P(FlowEnd, point_11_the_pods_reset_after_its_fin_ends_it) {
  const auto call = open(hello);
  reaches_gateway(call, pod_fin(call, hello, 0));
  reaches_gateway(call, {.flags = rst, .sequence = call.first + hello + 1});
  expect_ended_once(call, End::client_reset, hello, 0);
}

TEST_P(FlowEnd, point_11_the_pods_reset_that_the_gateway_may_ignore_is_repeated) {
  struct Case {
    const char* name;
    bool opened;
    std::uint32_t offset;
    bool again;  // may the gateway have ignored it?
  };
  const Case cases[] = {
      {"exact", true, hello, false},
      {"behind bytes that are on their way", true, hello + 100, true},
      {"before the gateway has all that was approved", false, hello, true},
  };
  std::uint32_t isn = 1000;
  for (const auto& [name, opened, offset, again] : cases) {
    SCOPED_TRACE(name);
    const auto call = opened ? open(hello, 28, isn) : allowed(hello, 28, isn);
    isn += 1000000;
    if (offset > hello) reaches_gateway(call, data(call, hello, offset - hello));
    reaches_gateway(call, {.flags = rst, .sequence = call.first + offset});
    const auto flow = flow_of(call);
    EXPECT_EQ(flow->state, State::ended);
    EXPECT_EQ(flow->end, End::client_reset);
    EXPECT_EQ(flow->reset_again, again);
  }
}

TEST_P(FlowEnd, point_11_numbers_that_nobody_can_have_sent_change_no_totals) {
  const auto call = open(hello);
  reaches_gateway(call, data(call, hello + largest_window, 10));
  reaches_pod(call, answer(call, largest_window + 10U, 10, hello));
  reaches_gateway(call, pod_ack(call, hello, 5000));
  reaches_pod(call, answer(call, 0, 0, hello + 5000, ack));
  const auto flow = flow_of(call);
  EXPECT_EQ(flow->bytes_sent, hello);
  EXPECT_EQ(flow->bytes_received, 0U);
  EXPECT_EQ(flow->pod_next, call.first + hello);
  EXPECT_EQ(flow->pod_acked, call.first + hello) << "nothing behind that was sent";
  EXPECT_EQ(flow->gateway_acked, gateway_isn + 1) << "the same";
}

TEST_P(FlowEnd, point_11_a_reset_elsewhere_is_dropped_and_counted) {
  const auto call = open(hello);
  std::uint64_t ignored = 0;
  for (const std::uint32_t offset : {hello - 1, hello + largest_window + 1, hello + 0x80000000U, 0U}) {
    pod_is_not_heard(call, {.flags = rst, .sequence = call.first + offset});
    EXPECT_EQ(counted(SLUICE_COUNT_RESETS_IGNORED), ++ignored);
  }
  EXPECT_EQ(state_of(call), State::open);
}

TEST_P(FlowEnd, point_11_a_reset_behind_all_that_passed_is_asked_about) {
  const auto call = open(hello, 28);
  reaches_pod(call, answer(call, 0, 40, hello + 28));
  reaches_gateway(call, pod_ack(call, hello, 40));
  std::uint64_t ignored = 0;
  for (const std::uint32_t offset : {hello + 1, hello + 65536, hello + largest_window}) {
    const auto question = is_answered(call, {.flags = rst, .sequence = call.first + offset});
    EXPECT_EQ(question.flags, ack);
    EXPECT_EQ(question.sequence, gateway_isn + 40) << "a number that the pod has";
    EXPECT_EQ(question.acknowledgement, call.first + hello);
    EXPECT_EQ(counted(SLUICE_COUNT_RESETS_IGNORED), ++ignored);
    EXPECT_EQ(state_of(call), State::open);
  }
  const auto last = reaches_gateway(call, {.flags = rst, .sequence = call.first + hello});
  EXPECT_EQ(last.sequence, call.first + hello + 28);
  expect_ended_once(call, End::client_reset, hello, 40);
}

TEST_P(FlowEnd, point_11_the_gateways_reset_ends_it_where_the_pod_takes_it) {
  const auto call = open(hello);
  reaches_pod(call, answer(call, 0, 30, hello));
  reaches_gateway(call, pod_ack(call, hello, 10));
  reaches_pod(call, answer(call, 20, 0, hello, rst));
  reaches_pod(call, answer(call, 31, 0, hello, rst));
  EXPECT_EQ(state_of(call), State::open) << "the pod asks back about these";
  const auto segment = reaches_pod(call, answer(call, 10, 0, hello, rst | ack));
  EXPECT_EQ(segment.acknowledgement, call.first + hello);
  expect_ended_once(call, End::upstream_reset, hello, 30);
}

TEST_P(FlowEnd, point_11_the_gateways_reset_after_a_fin_that_came_early_ends_it) {
  const auto call = held();
  reaches_pod(call, answer(call, 0, 0, 0, fin | ack));
  reaches_gateway(call, pod_ack(call, 0, 1));
  ASSERT_TRUE(allow(call, hello, 0));
  reaches_pod(call, answer(call, 1, 0, 0, rst));
  expect_ended_once(call, End::upstream_reset, hello, 0);
}

TEST_P(FlowEnd, point_11_the_gateways_reset_of_a_held_flow_ends_it) {
  const auto call = held();
  reaches_pod(call, answer(call, 0, 0, 0, rst | ack));
  expect_ended_once(call, End::upstream_reset, 0, 0);
  EXPECT_EQ(load().undecided, 0U);
}

TEST_P(FlowEnd, late_packets_of_an_ended_flow_pass_and_new_bytes_are_reset) {
  const auto call = open(hello, 28);
  reaches_gateway(call, {.flags = rst, .sequence = call.first + hello});
  ASSERT_EQ(state_of(call), State::ended);
  reaches_gateway(call, pod_fin(call, hello, 0));
  EXPECT_EQ(reaches_pod(call, answer(call, 0, 0, hello + 28, ack)).acknowledgement, call.first + hello);
  EXPECT_EQ(reaches_gateway(call, {.flags = rst, .sequence = call.first + hello}).sequence, call.first + hello + 28)
      << "the answer to the gateway's question (RFC 5961)";
  is_reset(call, data(call, hello, 10));
  gateway_is_not_heard(call, answer(call, 0, 10, hello + 28));
  expect_ended_once(call, End::client_reset, hello, 0);
}

TEST_P(FlowEnd, point_11_an_entry_stays_until_it_was_collected) {
  const auto call = open(hello);
  EXPECT_FALSE(collect(call.key)) << "it has not ended";
  reaches_gateway(call, {.flags = rst, .sequence = call.first + hello});
  sweep_away();
  EXPECT_EQ(state_of(call), State::ended) << "its record is not written";
  EXPECT_FALSE(deny(call.key));
  auto another = *flow_of(call);
  another.key.id += 1;
  EXPECT_FALSE(collect(another.key)) << "by its own id alone";
  EXPECT_TRUE(collect(call.key));
  EXPECT_FALSE(collect(call.key)) << "once";
  EXPECT_EQ(state_of(call), State::collected);
  sweep_away();
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
  EXPECT_THAT(backs(), IsEmpty());
  EXPECT_EQ(load().entries, 0U);
}

TEST_P(FlowEnd, a_removed_flows_way_back_is_not_anothers) {
  const auto first = dial();
  const auto second = dial({pod_address_, 4000}, {elsewhere_, 443}, {});
  ASSERT_TRUE(deny(first.key));
  ASSERT_TRUE(collect(first.key));
  sweep_away();
  EXPECT_EQ(state_of(first), State{});
  EXPECT_THAT(backs(), SizeIs(1));
  reaches_pod(second, {.flags = syn | ack, .sequence = 1, .acknowledgement = second.first});
  EXPECT_EQ(load().entries, 1U);
}

TEST_P(FlowEnd, point_11_sweep_removes_what_is_over_when_nothing_late_can_come) {
  const auto denied = held();
  ASSERT_TRUE(deny(denied.key));
  ASSERT_TRUE(collect(denied.key));
  const auto recorded = open(hello, 0, 70000);
  const auto live = dial({pod_address_, 4001}, {outside_, 443}, {});
  ASSERT_EQ(state_of(denied), State{}) << "it made way";
  pod_says(recorded, {.flags = rst, .sequence = recorded.first + hello});
  ASSERT_TRUE(collect(recorded.key));
  auto patience = endless();
  patience.ended = 5'000'000'000;
  const auto seen_ns = flow_of(recorded)->seen_ns;
  sweep(seen_ns + patience.ended, patience);
  EXPECT_EQ(state_of(recorded), State::collected);
  EXPECT_EQ(sweep(seen_ns + patience.ended + 1, patience).late, 0U);
  EXPECT_EQ(state_of(recorded), State{});
  EXPECT_EQ(state_of(live), State::opening);
  EXPECT_THAT(backs(), SizeIs(1));
}

TEST_P(FlowEnd, sweep_finds_tls_without_an_answer) {
  const auto call = held();
  ASSERT_TRUE(kernel_->flows().judge(
      {.kind = FlowVerdict::Kind::allow, .key = call.key, .note = SLUICE_SNIFFED_TLS, .approved = call.first}));
  ASSERT_EQ(state_of(call), State::open);
  auto patience = endless();
  patience.answer = 5'000'000'000;
  const auto began_ns = flow_of(call)->began_ns;
  EXPECT_EQ(sweep(began_ns + 4'000'000'000, patience).late, 0U);
  EXPECT_EQ(sweep(began_ns + 6'000'000'000, patience).late, 1U);
  reaches_pod(call, answer(call, 0, 1, 0));
  EXPECT_EQ(sweep(began_ns + 6'000'000'000, patience).late, 0U);
}

TEST_P(FlowEnd, the_time_for_an_answer_begins_with_the_verdict) {
  const auto call = held();
  ASSERT_TRUE(kernel_->flows().judge(
      {.kind = FlowVerdict::Kind::allow, .key = call.key, .note = SLUICE_SNIFFED_TLS, .approved = call.first}));
  const auto flows = lab_.map<sluice_tuple, sluice_flow>("flows");
  const auto tuple = flows.keys().at(0);
  auto entry = flows.find(tuple).value();
  EXPECT_LE(entry.judged, 10) << "a moment ago";
  entry.judged = 20;
  flows.put(tuple, entry);
  auto patience = endless();
  patience.answer = 5'000'000'000;
  EXPECT_EQ(sweep(entry.began_ns + 6'900'000'000, patience).late, 0U);
  EXPECT_EQ(sweep(entry.began_ns + 7'100'000'000, patience).late, 1U);
}

TEST_P(FlowEnd, sweep_finds_what_waits_too_long_in_each_state) {
  struct Row {
    State state;
    std::uint64_t kernel::FlowPatience::* patience;
  };
  const Row rows[] = {{State::opening, &kernel::FlowPatience::opening},
                      {State::held, &kernel::FlowPatience::held},
                      {State::allowed, &kernel::FlowPatience::allowed},
                      {State::open, &kernel::FlowPatience::idle}};
  for (const auto& row : rows) {
    SCOPED_TRACE(static_cast<int>(row.state));
    Call call;
    switch (row.state) {
      case State::opening:
        call = dial();
        break;
      case State::held:
        call = held();
        break;
      case State::allowed:
        call = allowed(hello, 0);
        break;
      default:
        call = open(hello);
        break;
    }
    ASSERT_EQ(state_of(call), row.state);
    told();
    const auto flow = *flow_of(call);
    constexpr std::uint64_t second = 1'000'000'000;
    const auto now_ns = std::max(flow.began_ns, flow.seen_ns) + 10 * second;
    EXPECT_EQ(sweep(now_ns, endless()).late, 0U);
    auto patience = endless();
    patience.*row.patience = 20 * second;
    EXPECT_EQ(sweep(now_ns, patience).late, 0U);
    EXPECT_THAT(told(), IsEmpty());
    patience.*row.patience = 5 * second;
    for (int again = 0; again < 2; ++again) {
      const auto swept = sweep(now_ns, patience);
      EXPECT_EQ(swept.late, 1U);
      EXPECT_EQ(swept.flows, 1U);
      EXPECT_EQ(swept.undecided, row.state <= State::held ? 1U : 0U);
      const auto upcalls = told();
      ASSERT_THAT(upcalls, SizeIs(1));
      EXPECT_EQ(upcalls[0].kind, Kind::late);
      EXPECT_EQ(upcalls[0].id, call.key.id);
      EXPECT_EQ(upcalls[0].state, row.state);
    }
    deny(call.key);
    collect(call.key);
    sweep_away();
    ASSERT_THAT(kernel_->flows().all(), IsEmpty());
  }
}

TEST_P(FlowEnd, sweep_finds_an_end_that_nobody_heard_of_a_second_later) {
  const auto call = open(hello);
  pod_says(call, {.flags = rst, .sequence = call.first + hello});
  told();
  EXPECT_EQ(sweep(flow_of(call)->seen_ns + 1'000'000'000, endless()).late, 0U);
  EXPECT_EQ(sweep(flow_of(call)->seen_ns + 1'000'000'001, endless()).late, 1U);
  EXPECT_EQ(told(Kind::late), 1U);
}

TEST_P(FlowEnd, a_denied_one_is_told_until_its_record_is_written_and_stays_so_long) {
  const auto call = held();
  told();
  ASSERT_TRUE(kernel_->flows().judge({.kind = FlowVerdict::Kind::deny, .key = call.key, .why = 9}));
  auto patience = endless();
  patience.ended = 0;
  const auto later_ns = flow_of(call)->seen_ns + 1;
  for (int again = 0; again < 2; ++again) {
    EXPECT_EQ(sweep(later_ns, patience).late, 1U);
    EXPECT_EQ(told(Kind::late), 1U);
  }
  EXPECT_EQ(flow_of(call)->why, 9);
  EXPECT_FALSE(flow_of(call)->was_allowed);
  ASSERT_TRUE(collect(call.key));
  EXPECT_EQ(sweep(later_ns, endless()).late, 0U);
  sweep(later_ns, patience);
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
}

TEST_P(FlowEnd, verdicts_in_any_number_are_carried_out_in_their_order_each_for_its_own_flow) {
  const auto call = held();
  auto stranger = call.key;
  stranger.id += 1;
  std::vector<FlowVerdict> verdicts(2 * SLUICE_VERDICTS, {FlowVerdict::Kind::deny, stranger});
  verdicts.back().key = call.key;
  verdicts[SLUICE_VERDICTS].kind = FlowVerdict::Kind::allow;
  verdicts[SLUICE_VERDICTS].key = call.key;
  verdicts[SLUICE_VERDICTS].approved = call.first + 10;
  kernel_->flows().judge(verdicts);
  EXPECT_EQ(std::count_if(verdicts.begin(), verdicts.end(), [](const auto& one) { return one.done; }), 2);
  EXPECT_EQ(state_of(call), State::denied);
  EXPECT_TRUE(flow_of(call)->was_allowed);
  EXPECT_EQ(flow_of(call)->approved, call.first + 10);
}

TEST_P(FlowEnd, the_clock_of_a_sweep_may_be_behind_a_packets) {
  const auto call = open(hello);
  const kernel::FlowPatience none;
  EXPECT_EQ(sweep(flow_of(call)->began_ns - 1, none).late, 0U);
}

TEST_P(FlowEnd, all_flows_are_listed_however_many) {
  limit_flows(3000);
  for (std::uint16_t port = 1; port <= 2500; ++port) {
    pod_sends(tcp_frame({pod_address_, port}, {outside_, 443}));
  }
  std::vector<std::uint64_t> ids;
  for (const auto& flow : kernel_->flows().all()) ids.push_back(flow.key.id);
  std::sort(ids.begin(), ids.end());
  EXPECT_THAT(ids, SizeIs(2500));
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end()) << "each has its own id";
  EXPECT_EQ(sweep(0, endless()).flows, 2500U);
}

TEST_P(FlowEnd, ids_go_on_after_a_restart) {
  const auto before = dial();
  kernel_.reset();
  kernel_ = lab_.open();
  from_pod_ = program_of_link(lab_.link(pod_, "from_pod"));
  const auto after = dial({pod_address_, 4001}, {outside_, 443}, {});
  EXPECT_GT(after.key.id, before.key.id);
  EXPECT_EQ(state_of(before), State::opening) << "flows outlive the agent";
}

INSTANTIATE_TEST_SUITE_P(, FlowEnd, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test
