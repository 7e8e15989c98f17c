#include "kernel/reasons.h"

#include <gtest/gtest.h>

#include <set>

#include "bpf/abi.h"
#include "kernel/interception.h"

namespace sluice::kernel {
namespace {

TEST(Reasons, every_reason_of_the_kernel_has_a_denial_of_its_own) {
  std::set<Reason> seen;
  for (std::uint32_t number = SLUICE_REASON_NONE + 1; number < SLUICE_REASONS; ++number) {
    const auto reason = reason_of(number);
    ASSERT_TRUE(reason) << number;
    EXPECT_FALSE(allows(*reason)) << number;
    EXPECT_TRUE(seen.insert(*reason).second) << number;
  }
}

TEST(Reasons, names_are_those_of_the_audit_log) {
  EXPECT_EQ(reason_of(SLUICE_REASON_PORT_NOT_REGISTERED), Reason::port_not_registered);
  EXPECT_EQ(reason_of(SLUICE_REASON_ADDRESS_NOT_REGISTERED), Reason::address_not_registered);
  EXPECT_EQ(reason_of(SLUICE_REASON_UDP_NOT_ALLOWED), Reason::udp_not_allowed);
  EXPECT_EQ(reason_of(SLUICE_REASON_PROTOCOL_NOT_ALLOWED), Reason::protocol_not_allowed);
  EXPECT_EQ(reason_of(SLUICE_REASON_SOURCE_SPOOFED), Reason::source_spoofed);
  EXPECT_EQ(reason_of(SLUICE_REASON_POD_UNKNOWN), Reason::pod_unknown);
  EXPECT_EQ(reason_of(SLUICE_REASON_POLICY_NOT_READY), Reason::policy_not_ready);
}

TEST(Reasons, numbers_that_no_program_writes_mean_nothing) {
  for (const std::uint32_t number : {0U, static_cast<std::uint32_t>(SLUICE_REASONS), 255U, 0xffffffffU}) {
    EXPECT_FALSE(reason_of(number)) << number;
  }
}

TEST(RelayMark, is_the_mark_that_the_programs_set) {
  EXPECT_EQ(relay_mark().value, static_cast<std::uint32_t>(SLUICE_MARK_RELAY));
  EXPECT_EQ(relay_mark().mask, static_cast<std::uint32_t>(SLUICE_MARK_MASK));
  EXPECT_EQ(relay_mark().value & ~relay_mark().mask, 0U);
}

}  // namespace
}  // namespace sluice::kernel
