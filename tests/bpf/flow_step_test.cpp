// Claims about bpf/flow.h, compiled by the host: over every state, every kind of segment and numbers from all around
// the sequence space, without a kernel.
#include <gtest/gtest.h>

#include <cstdint>

#include "bpf/flow.h"

namespace {

constexpr std::uint32_t hello = 500;
constexpr std::uint16_t header = 250;

sluice_flow flow_with(std::uint32_t isn) {
  sluice_flow flow{};
  flow.pod_isn = isn;
  flow.approved = isn + 1 + hello;
  flow.header = header;
  return flow;
}

// Calls each(flow, state, segment) for segments of every kind around the numbers that count.
template <typename Each>
void for_every_segment(Each each) {
  for (const std::uint32_t isn : {1000U, 0xfffffe00U, 0x7ffffe00U, 0xffffffffU}) {
    const auto flow = flow_with(isn);
    for (std::uint32_t state = 0; state <= SLUICE_FLOW_GONE + 1; ++state) {
      for (unsigned flags = 0; flags < 32; ++flags) {
        for (const std::uint32_t payload : {0U, 1U, 499U, 500U, 501U, 60000U}) {
          for (const std::uint32_t offset :
               {0U, 1U, 2U, 499U, 500U, 501U, 502U, 65536U, 0x7fffffffU, 0x80000000U, 0xffffffffU, 0xfffffe00U}) {
            sluice_segment segment{};
            segment.sequence = isn + offset;
            segment.payload = payload;
            segment.syn = (flags & 1) != 0;
            segment.ack = (flags & 2) != 0;
            segment.fin = (flags & 4) != 0;
            segment.rst = (flags & 8) != 0;
            segment.urg = (flags & 16) != 0;
            each(flow, state, segment);
          }
        }
      }
    }
  }
}

template <typename Holds>
void expect_always(Holds holds) {
  std::size_t broken = 0;
  for_every_segment([&](const auto& flow, std::uint32_t state, const auto& segment) {
    broken += holds(flow, state, segment) ? 0 : 1;
  });
  EXPECT_EQ(broken, 0U);
}

TEST(FlowStep, point_5_no_payload_passes_before_a_verdict_and_none_below_what_was_approved) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    if (segment.payload == 0 || sluice_step_from_pod(&flow, state, &segment) != SLUICE_STEP_PASS) return true;
    return state == SLUICE_FLOW_OPEN ||
           (state == SLUICE_FLOW_ALLOWED && !sluice_before(segment.sequence, flow.approved));
  });
}

TEST(FlowStep, a_reset_carries_nothing) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    return !segment.rst || (segment.payload == 0 && !segment.fin) ||
           sluice_step_from_pod(&flow, state, &segment) == SLUICE_STEP_DROP;
  });
}

TEST(FlowStep, point_5_no_fin_passes_before_the_flow_is_open) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    return !segment.fin || state >= SLUICE_FLOW_OPEN ||
           sluice_step_from_pod(&flow, state, &segment) != SLUICE_STEP_PASS;
  });
}

TEST(FlowStep, what_is_held_has_something_to_show_and_a_verdict_to_wait_for) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    if (sluice_step_from_pod(&flow, state, &segment) != SLUICE_STEP_HOLD) return true;
    return (segment.payload != 0 || segment.fin) && state >= SLUICE_FLOW_HELD && state <= SLUICE_FLOW_ALLOWED;
  });
}

TEST(FlowStep, point_5_no_payload_of_the_gateway_passes_before_a_verdict_or_after_the_end) {
  expect_always([](const auto&, std::uint32_t state, const auto& segment) {
    const auto step = sluice_step_to_pod(state, &segment);
    if (state == SLUICE_FLOW_DENIED) return step == SLUICE_STEP_DROP;
    return segment.payload == 0 || step != SLUICE_STEP_PASS || state == SLUICE_FLOW_ALLOWED ||
           state == SLUICE_FLOW_OPEN;
  });
}

TEST(FlowStep, point_9_of_a_denied_flow_nothing_passes_either_way) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    return state != SLUICE_FLOW_DENIED || (sluice_step_from_pod(&flow, state, &segment) != SLUICE_STEP_PASS &&
                                           sluice_step_to_pod(state, &segment) != SLUICE_STEP_PASS);
  });
}

TEST(FlowStep, in_no_state_or_one_being_removed_nothing_passes) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    if (state >= SLUICE_FLOW_OPENING && state < SLUICE_FLOW_GONE) return true;
    return sluice_step_from_pod(&flow, state, &segment) == SLUICE_STEP_DROP &&
           sluice_step_to_pod(state, &segment) == SLUICE_STEP_DROP;
  });
}

TEST(FlowStep, a_reset_is_never_answered_by_one) {
  expect_always([](const auto& flow, std::uint32_t state, const auto& segment) {
    return !segment.rst || sluice_step_from_pod(&flow, state, &segment) != SLUICE_STEP_RESET;
  });
}

TEST(FlowNumbers, compare_around_the_end_of_the_space) {
  EXPECT_TRUE(sluice_before(1, 2));
  EXPECT_FALSE(sluice_before(2, 2));
  EXPECT_FALSE(sluice_before(3, 2));
  EXPECT_TRUE(sluice_before(0xffffffff, 0));
  EXPECT_FALSE(sluice_before(0, 0xffffffff));
  EXPECT_TRUE(sluice_before(0x7fffffff, 0x80000000));
}

TEST(FlowNumbers, a_state_and_an_id_are_one_word) {
  for (const std::uint64_t id : {1ULL, 0xffffffffffffffULL, 0x123456789abcdeULL}) {
    const auto state = sluice_make_state(id, SLUICE_FLOW_OPEN);
    EXPECT_EQ(sluice_id_of(state), id);
    EXPECT_EQ(sluice_state_of(state), static_cast<std::uint32_t>(SLUICE_FLOW_OPEN));
  }
}

TEST(FlowNumbers, point_8_an_acknowledgement_in_the_header_is_one_of_nothing) {
  for (const std::uint32_t isn : {1000U, 0xfffffff0U, 0xffffff00U, 0x7fffffffU}) {
    const auto flow = flow_with(isn);
    const std::uint32_t first = isn + 1;
    for (std::uint32_t n = 0; n <= header; ++n) {
      ASSERT_EQ(sluice_to_pod_number(&flow, SLUICE_FLOW_ALLOWED, first + n), first);
    }
    for (std::uint32_t n = 0; n <= 2 * hello; ++n) {
      ASSERT_EQ(sluice_to_pod_number(&flow, SLUICE_FLOW_ALLOWED, first + header + n), first + n);
      ASSERT_EQ(sluice_to_pod_number(&flow, SLUICE_FLOW_OPEN, first + header + n), first + n);
    }
  }
}

TEST(FlowNumbers, point_8_after_two_gigabytes_acknowledgements_still_go_on) {
  const auto flow = flow_with(1000);
  for (const std::uint64_t sent : {0x7fffff00ULL, 0x80000000ULL, 0xfffff000ULL, 0x1000003e8ULL}) {
    const auto number = static_cast<std::uint32_t>(1001 + sent);
    EXPECT_EQ(sluice_to_pod_number(&flow, SLUICE_FLOW_OPEN, number + header), number);
  }
}

TEST(FlowNumbers, point_8_before_a_verdict_there_is_no_header) {
  const auto flow = flow_with(1000);
  for (const std::uint32_t state : {SLUICE_FLOW_OPENING, SLUICE_FLOW_HELD, SLUICE_FLOW_JUDGING}) {
    EXPECT_EQ(sluice_shift_of(&flow, state), 0U);
    EXPECT_EQ(sluice_to_pod_number(&flow, state, 1001), 1001U);
  }
  EXPECT_EQ(sluice_shift_of(&flow, SLUICE_FLOW_ALLOWED), header);
  EXPECT_EQ(sluice_shift_of(&flow, SLUICE_FLOW_ENDED), header);
}

}  // namespace
