// Claims about a node that was let go (SLUICE_RELEASED): what is new passes, and flows are what they were.
#include "support/flows.h"

namespace sluice::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class Released : public Flows {
 protected:
  void release() { reopen(true); }
  void reopen(bool release) {
    kernel_.reset();
    auto opened = kernel::Interception::open({.bpffs = lab_.bpffs(), .cgroup = "", .release = release});
    must_be_done(opened ? Status(Done{}) : Status(opened.error()));
    kernel_ = std::move(*opened);
    from_pod_ = program_of_link(lab_.link(pod_, "from_pod"));
    to_pod_ = program_of_link(lab_.link(pod_, "to_pod"));
    guard_ = program_of_link(lab_.link(uplink_, "uplink_guard"));
  }
  Bytes syn_to(const Endpoint& to, std::uint32_t isn = 1000) const {
    return tcp_frame({pod_address_, 4000}, to, {.flags = syn, .sequence = isn});
  }
};

TEST_P(Released, whatever_is_new_passes_as_it_is) {
  release();
  passes_out("of the gate", syn_to({outside_, 443}));
  passes_out("of the relay", syn_to({outside_, 80}));
  passes_out("registered nowhere", syn_to({outside_, 9999}));
  passes_out("a gateway", syn_to(gateway_));
  passes_out("a segment of no flow", tcp_frame({pod_address_, 4000}, {outside_, 443}, {.flags = ack | psh}));
  passes_out("UDP", udp_frame({pod_address_, 4000}, {outside_, 9}));
  passes_out("of somebody else", tcp_frame({elsewhere_, 4000}, {outside_, 443}, {.flags = syn}));
  passes_out("no IP", ethernet(0x88cc, Bytes(64)));
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
}

TEST_P(Released, the_guard_lets_everything_go) {
  release();
  EXPECT_EQ(leaves(syn_to({outside_, 443}), pod_).action, goes_on);
  EXPECT_EQ(leaves(syn_to({outside_, 443}), pod_, SLUICE_MARK_RELAY).action, goes_on);
}

TEST_P(Released, a_gateway_answers_who_calls_it) {
  const auto answer = tcp_frame(gateway_, {pod_address_, 4000}, {.flags = syn | ack});
  EXPECT_EQ(pod_receives(answer, uplink_).action, is_dropped);
  release();
  EXPECT_EQ(pod_receives(answer, uplink_).action, goes_on);
}

TEST_P(Released, an_open_flow_goes_on) {
  const auto call = open(500, 28);
  release();
  EXPECT_EQ(reaches_gateway(call, data(call, 500, 100)).sequence, call.first + 528);
  EXPECT_EQ(reaches_pod(call, answer(call, 0, 200, 628)).acknowledgement, call.first + 600);
  EXPECT_EQ(state_of(call), State::open);
}

TEST_P(Released, what_would_be_held_is_cut_though_the_heart_beats) {
  const auto undecided = held();
  release();
  listen();
  kernel_->beat();
  EXPECT_EQ(pod_says(undecided, data(undecided, 0, 100)).action, is_sent_back);
  EXPECT_EQ(state_of(undecided), State::ended);
}

TEST_P(Released, a_new_connection_on_the_ports_of_a_flow_is_none_of_the_gate) {
  const auto call = open();
  release();
  passes_out("SYN", syn_to(call.destination, 77000));
  passes_out("data", tcp_frame(call.pod, call.destination, {.flags = ack | psh, .sequence = 77001}));
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
  ASSERT_THAT(kernel_->flows().replaced(), SizeIs(1));
  EXPECT_EQ(kernel_->flows().replaced()[0].key.id, call.key.id) << "its totals are kept";
  EXPECT_THAT(backs(), IsEmpty());
}

TEST_P(Released, a_forged_syn_ends_nobodys_flow) {
  const auto call = open();
  release();
  const auto forged = run_program(from_pod_.get(), syn_to(call.destination, 77000),
                                  {.ifindex = uplink_, .ingress_ifindex = uplink_, .mark = 0});
  EXPECT_EQ(forged.action, goes_on);
  EXPECT_EQ(state_of(call), State::open);
}

TEST_P(Released, the_next_agent_enforces_again) {
  release();
  reopen(false);
  is_refused_for("SYN", syn_to({outside_, 9999}), Reason::port_not_registered);
  EXPECT_EQ(leaves(syn_to({outside_, 443}), pod_).action, is_dropped);
}

INSTANTIATE_TEST_SUITE_P(, Released, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test
