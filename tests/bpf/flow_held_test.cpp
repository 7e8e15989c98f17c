// Claims about a flow that nobody judged yet: what passes, what is shown, and who may speak for it.
#include "support/flows.h"

namespace sluice::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class FlowHeld : public Flows {};

TEST_P(FlowHeld, point_5_acknowledgements_pass_and_nothing_ahead_of_the_first_byte) {
  const auto call = held();
  EXPECT_EQ(reaches_gateway(call, bare(call)).sequence, call.first);
  auto keepalive = bare(call);
  keepalive.sequence = call.first - 1;
  reaches_gateway(call, keepalive);
  for (const std::uint32_t ahead : {1U, 1000U, 0x7fffffffU}) pod_is_not_heard(call, bare(call, ahead));
  EXPECT_THAT(told(), IsEmpty());
}

TEST_P(FlowHeld, point_5_payload_is_shown_as_the_pod_sent_it_and_does_not_pass) {
  const auto call = held();
  for (const std::size_t size : {1, 100, 1460, 3000}) {
    for (const std::uint32_t offset : {0U, 10U, 5000U}) {
      const auto frame = from_pod(call, data(call, offset, size));
      EXPECT_EQ(pod_sends(frame).action, is_dropped);
      const auto upcalls = told();
      ASSERT_THAT(upcalls, SizeIs(1));
      EXPECT_EQ(upcalls[0].kind, Kind::held);
      EXPECT_EQ(upcalls[0].id, call.key.id);
      EXPECT_EQ(upcalls[0].state, State::held);
      EXPECT_EQ(upcalls[0].frame, frame);
    }
  }
  EXPECT_EQ(state_of(call), State::held);
}

TEST_P(FlowHeld, point_5_payload_is_held_whatever_its_flags_and_numbers) {
  const auto call = held();
  for (const int flags : {0, +ack, ack | psh, ack | urg, ack | fin, ack | psh | fin | urg, +fin, syn | ack}) {
    for (const std::uint32_t offset : {0U, 0xffffffffU, 0x80000000U, 100U}) {
      pod_is_not_heard(call, data(call, offset, 5, static_cast<std::uint8_t>(flags)));
      EXPECT_EQ(told(Kind::held), 1U);
    }
  }
}

TEST_P(FlowHeld, point_5_a_fin_is_held) {
  const auto call = held();
  pod_is_not_heard(call, {.flags = fin | ack, .sequence = call.first, .acknowledgement = gateway_isn + 1});
  EXPECT_EQ(told(Kind::held), 1U);
  EXPECT_FALSE(flow_of(call)->client_fin);
}

TEST_P(FlowHeld, point_5_payload_of_the_gateway_waits) {
  const auto call = held();
  gateway_is_not_heard(call, answer(call, 0, 10, 0));
  gateway_is_not_heard(call, answer(call, 0, 10, 0, ack | fin));
  EXPECT_EQ(reaches_pod(call, answer(call, 0, 0, 0, ack)).acknowledgement, call.first);
  EXPECT_EQ(flow_of(call)->bytes_received, 0U);
}

TEST_P(FlowHeld, point_5_the_urgent_pointer_is_cleared_in_every_state) {
  const auto expect_cleared = [&](const char* what, const Call& call, TcpFields fields) {
    SCOPED_TRACE(what);
    fields.flags |= urg;
    const auto verdict = pod_sends(with_urgent_pointer(from_pod(call, fields), 3));
    ASSERT_EQ(verdict.action, goes_on);
    const auto segment = segment_of(verdict.packet);
    EXPECT_TRUE(segment.sound);
    EXPECT_EQ(segment.flags & urg, 0);
    EXPECT_EQ(segment.urgent, 0);
  };
  const auto call = held();
  expect_cleared("held", call, bare(call));
  ASSERT_TRUE(allow(call, 10, 4));
  expect_cleared("allowed", call, data(call, 10, 5));
  gateway_says(call, answer(call, 0, 0, 14, ack));
  expect_cleared("open", call, data(call, 15, 5));
  expect_cleared("its end", call, data(call, 20, 5, ack | fin));
  expect_cleared("open, again", call, data(call, 0, 25, ack | psh | fin));
  const auto ended = open(500, 0, 70000);
  pod_says(ended, {.flags = rst, .sequence = ended.first + 500});
  ASSERT_EQ(state_of(ended), State::ended);
  expect_cleared("ended", ended, bare(ended, 500));
  auto pointer_alone = bare(ended, 500);
  const auto verdict = pod_sends(with_urgent_pointer(from_pod(ended, pointer_alone), 3));
  EXPECT_EQ(segment_of(verdict.packet).urgent, 0) << "without the flag";
}

TEST_P(FlowHeld, a_server_that_may_speak_first_is_asked_about_once_at_the_handshake) {
  const auto call = dial({pod_address_, 4000}, {outside_, 25}, {.flags = syn, .sequence = 1000});
  reaches_pod(call, {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = call.first});
  EXPECT_THAT(told(), IsEmpty());
  const auto frame = from_pod(call, bare(call));
  EXPECT_EQ(pod_sends(frame).action, goes_on) << "the handshake completes meanwhile";
  const auto upcalls = told();
  ASSERT_THAT(upcalls, SizeIs(1));
  EXPECT_EQ(upcalls[0].kind, Kind::ask);
  EXPECT_EQ(upcalls[0].id, call.key.id);
  EXPECT_EQ(upcalls[0].frame, frame);
  reaches_gateway(call, bare(call));
  EXPECT_THAT(told(), IsEmpty());
}

TEST_P(FlowHeld, a_question_that_found_no_room_is_asked_again) {
  const auto call = dial({pod_address_, 4000}, {outside_, 25}, {.flags = syn, .sequence = 1000});
  reaches_pod(call, {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = call.first});
  auto spent = load();
  spent.shown_ns = ~0ULL;
  set_load(spent);
  reaches_gateway(call, bare(call));
  EXPECT_THAT(told(), IsEmpty());
  spent.shown_ns = 0;
  set_load(spent);
  reaches_gateway(call, bare(call));
  EXPECT_EQ(told(Kind::ask), 1U);
}

TEST_P(FlowHeld, point_6_what_is_beyond_the_pods_share_of_upcalls_is_dropped_and_counted) {
  const auto call = held();
  auto spent = load();
  spent.shown_ns = ~0ULL;
  set_load(spent);
  pod_is_not_heard(call, data(call, 0, 10));
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_EQ(counted(SLUICE_COUNT_UPCALLS_LOST), 1U);
  spent.shown_ns = 0;
  set_load(spent);
  pod_is_not_heard(call, data(call, 0, 10));
  EXPECT_EQ(told(Kind::held), 1U) << "TCP sends again";
}

TEST_P(FlowHeld, point_6_a_flood_of_one_flow_is_shown_up_to_the_share) {
  const auto call = held();
  const auto frame = from_pod(call, data(call, 0, 1));
  constexpr std::size_t sent = 30000;
  for (std::size_t n = 0; n < sent; ++n) {
    run_program(from_pod_.get(), frame, {.ifindex = pod_, .ingress_ifindex = pod_, .mark = 0});
  }
  EXPECT_GT(counted(SLUICE_COUNT_UPCALLS_LOST), 0U);
  EXPECT_LT(counted(SLUICE_COUNT_UPCALLS_LOST), sent);
}

TEST_P(FlowHeld, point_15_a_flow_of_an_address_that_its_pod_does_not_have_any_more_is_not_heard) {
  const auto call = open();
  reaches_gateway(call, data(call, 500, 10));
  must_be_done(kernel_->set_pod(pod_, {.addresses = {ip("10.1.0.3"), ip("fd01::3")}}));
  pod_is_not_heard(call, data(call, 510, 10));
  pod_is_not_heard(call, bare(call, 510));
  know_pod(false);
  reaches_gateway(call, data(call, 510, 10));
}

TEST_P(FlowHeld, point_10_with_a_stale_heartbeat_held_payload_is_reset_and_the_flow_ends) {
  const auto call = held();
  set_heartbeat(1);
  reaches_gateway(call, bare(call));
  is_reset(call, data(call, 0, 10));
  EXPECT_EQ(state_of(call), State::ended);
  EXPECT_EQ(flow_of(call)->end, kernel::FlowEnd::cut);
  const auto counts = kernel_->take_counts();
  ASSERT_THAT(counts, SizeIs(1));
  EXPECT_EQ(counts[0].reason, Reason::policy_not_ready);
  EXPECT_EQ(counts[0].count, 1U);
  EXPECT_EQ(load().undecided, 0U);
}

TEST_P(FlowHeld, point_10_a_restarted_agent_sees_the_repetition) {
  const auto call = held();
  set_heartbeat(1);
  kernel_->beat();
  pod_is_not_heard(call, data(call, 0, 10));
  EXPECT_EQ(told(Kind::held), 1U);
}

TEST_P(FlowHeld, point_10_open_flows_need_no_agent) {
  const auto call = open();
  set_heartbeat(1);
  reaches_gateway(call, data(call, 500, 10));
  reaches_pod(call, answer(call, 0, 10, 510));
}

TEST_P(FlowHeld, point_11_the_pods_reset_ends_it_with_what_the_gateway_expects) {
  const auto call = held();
  EXPECT_EQ(reaches_gateway(call, {.flags = rst, .sequence = call.first + 300}).sequence, call.first);
  EXPECT_EQ(state_of(call), State::ended);
  EXPECT_EQ(flow_of(call)->end, kernel::FlowEnd::client_reset);
  EXPECT_EQ(told(Kind::ended), 1U);
}

TEST_P(FlowHeld, point_5_a_reset_takes_no_bytes_along) {
  const auto opening = dial({pod_address_, 4001}, {outside_, 443}, {});
  pod_is_not_heard(opening, data(opening, 0, 10, rst));
  const auto call = held();
  pod_is_not_heard(call, data(call, 0, 10, rst));
  pod_is_not_heard(call, data(call, 0, 10, rst | ack));
  EXPECT_EQ(state_of(call), State::held);
  ASSERT_TRUE(allow(call, 10, 0));
  pod_is_not_heard(call, data(call, 0, 10, rst));
  EXPECT_EQ(state_of(call), State::allowed);
}

TEST_P(FlowHeld, point_7_only_what_the_agent_marked_for_this_very_flow_passes) {
  const auto call = held();
  const auto mark = kernel::injection_mark(call.key.id);
  const auto hello = from_pod(call, data(call, 0, 100));
  const auto verdict = pod_sends(hello, mark);
  EXPECT_EQ(verdict.action, goes_on);
  EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_PASSED)) << "and nothing of the flow's id";
  const auto segment = segment_of(verdict.packet);
  EXPECT_TRUE(segment.sound);
  EXPECT_EQ(segment.destination, gateway_);
  EXPECT_EQ(segment.sequence, call.first);
  EXPECT_EQ(segment.payload, Bytes(100, 'p'));

  EXPECT_EQ(pod_sends(hello, kernel::injection_mark(call.key.id + 1)).action, is_dropped);
  EXPECT_EQ(pod_sends(hello, SLUICE_MARK_INJECTED).action, is_dropped);
  const auto stranger = tcp_frame({pod_address_, 4001}, call.destination, data(call, 0, 100));
  EXPECT_EQ(pod_sends(stranger, mark).action, is_dropped);
  EXPECT_EQ(pod_sends(udp_frame(call.pod, call.destination, text("x")), mark).action, is_dropped);
  EXPECT_EQ(run(from_pod_.get(), hello, {.ifindex = uplink_, .ingress_ifindex = uplink_, .mark = mark}).action,
            is_dropped)
      << "at another interface";
  for (const std::uint32_t other : {SLUICE_MARK_RELAY, SLUICE_MARK_PASSED}) {
    EXPECT_EQ(pod_sends(hello, (mark & ~SLUICE_MARK_MASK) | other).action, is_dropped) << "held like any other";
  }
}

TEST_P(FlowHeld, point_7_the_helper_takes_only_what_is_marked_for_a_flow) {
  ip_command({"link", "add", "help0", "type", "veth", "peer", "name", "help1"});
  must_be_done(kernel_->attach_helper(ifindex("help0")));
  const auto inject = program_of_link(lab_.link("helper-inject"));
  const auto call = held();
  const auto mark = kernel::injection_mark(call.key.id);
  const auto sends = [&](const Bytes& packet, std::uint32_t with) {
    return run(inject.get(), packet, {.ifindex = ifindex("help0"), .ingress_ifindex = 0, .mark = with}).action;
  };
  const auto out = from_pod(call, data(call, 0, 100));
  const auto back = tcp_frame(call.destination, call.pod, answer(call, 0, 100, 0));
  EXPECT_EQ(sends(out, mark), is_sent_back);
  EXPECT_EQ(sends(back, mark), is_sent_back);
  EXPECT_EQ(sends(out, kernel::injection_mark(call.key.id + 1)), is_dropped);
  EXPECT_EQ(sends(back, kernel::injection_mark(call.key.id + 1)), is_dropped);
  EXPECT_EQ(sends(out, mark & ~static_cast<std::uint32_t>(SLUICE_MARK_MASK)), is_dropped);
  EXPECT_EQ(sends(from_gateway(call, answer(call, 0, 1, 0)), mark), is_dropped);
  EXPECT_EQ(sends(ethernet(ethertype_arp, Bytes(28, 1)), mark), is_dropped);
}

TEST_P(FlowHeld, point_14_anything_but_plain_tcp_on_its_tuple_is_dropped) {
  for (const bool opened : {false, true}) {
    SCOPED_TRACE(opened ? "open" : "held");
    const auto call = opened ? open(500, 0, 70000) : held();
    const auto segment = tcp_segment(call.pod, call.destination, data(call, opened ? 500 : 0, 20));
    std::vector<Bytes> frames;
    const auto& to = call.destination.address;
    if (!v6_flow_) {
      for (const int fragment : {0x2000, 0x2010, 0x0010}) {
        frames.push_back(frame(pod_address_, to, tcp, segment, {.fragment = static_cast<std::uint16_t>(fragment)}));
      }
      frames.push_back(frame(pod_address_, to, tcp, segment, {.options = Bytes(4, 1)}));
      frames.push_back(ethernet(0x8100, vlan_tag(7, ethertype_ipv4, ipv4(pod_address_, to, tcp, segment))));
    } else {
      for (const int header : {0, 43, 44, 51, 60, 135, 139, 140}) {
        const auto extended = join({{tcp, 0, 0, 0, 0, 0, 0, 0}, segment});
        frames.push_back(frame(pod_address_, to, static_cast<std::uint8_t>(header), extended));
      }
      frames.push_back(ethernet(0x8100, vlan_tag(7, ethertype_ipv6, ipv6(pod_address_, to, tcp, segment))));
    }
    auto cut = from_pod(call, data(call, 0, 20));
    cut.resize(cut.size() - 5);
    frames.push_back(cut);
    for (const auto& one : frames) EXPECT_EQ(pod_sends(one).action, is_dropped);
  }
}

TEST_P(FlowHeld, point_15_a_pod_speaks_for_its_own_address_only) {
  const auto call = open();
  ip_command({"link", "add", "pod1", "type", "veth", "peer", "name", "eth1"});
  const auto neighbour = ifindex("pod1");
  must_be_done(kernel_->attach_pod(neighbour, "pod1"));
  const auto program = program_of_link(lab_.link(neighbour, "from_pod"));
  const auto says = [&](const TcpFields& fields) {
    return run(program.get(), from_pod(call, fields), {.ifindex = neighbour, .ingress_ifindex = neighbour, .mark = 0});
  };
  for (const bool known : {false, true}) {
    if (known) must_be_done(kernel_->set_pod(neighbour, {.addresses = {ip("10.1.0.3"), ip("fd01::3")}}));
    EXPECT_NE(says(data(call, 500, 10)).action, goes_on);
    EXPECT_NE(says({.flags = rst, .sequence = call.first + 500}).action, goes_on);
    EXPECT_NE(says({.flags = syn, .sequence = 5}).action, goes_on);
  }
  EXPECT_EQ(state_of(call), State::open);
  EXPECT_EQ(flow_of(call)->bytes_sent, 500U);
}

TEST_P(FlowHeld, point_15_a_neighbour_cannot_forge_the_gateway) {
  ip_command({"link", "add", "pod1", "type", "veth", "peer", "name", "eth1"});
  const auto neighbour = ifindex("pod1");
  const auto call = open();
  const std::vector<TcpFields> forgeries = {answer(call, 0, 10, 500), answer(call, 0, 0, 500, rst | ack),
                                            answer(call, 0, 0, 500, fin | ack)};
  // Before anybody looked at its interface; before anybody knew its addresses; and where from_pod lets anything pass.
  for (const auto& [known, audit] : {std::pair{false, false}, {true, false}, {true, true}}) {
    const auto addresses = audit ? std::vector<IpAddress>{ip("10.1.0.3"), ip("fd01::3")} : std::vector<IpAddress>();
    if (known) must_be_done(kernel_->set_pod(neighbour, {.addresses = addresses, .audit = audit}));
    for (const auto& fields : forgeries) {
      const auto verdict = pod_receives(from_gateway(call, fields), neighbour);
      if (verdict.action == goes_on) {
        EXPECT_NE(segment_of(verdict.packet).source, call.destination) << "not translated";
      }
    }
  }
  EXPECT_EQ(state_of(call), State::open);
  EXPECT_EQ(flow_of(call)->bytes_received, 0U);
  // A gateway that is a pod of this node speaks for itself, also by a cluster address: from_pod knows whose it was.
  must_be_done(kernel_->set_pod(neighbour, {.addresses = {ip("10.1.0.3"), ip("fd01::3")}}));
  const auto verdict = pod_receives(from_gateway(call, answer(call, 0, 10, 500)), neighbour);
  EXPECT_EQ(verdict.action, goes_on);
  EXPECT_EQ(segment_of(verdict.packet).source, call.destination);
  // One that a bridge or a tunnel brings does, too.
  must_be_done(kernel_->note_other(neighbour, "pod1"));
  const auto brought = pod_receives(from_gateway(call, answer(call, 10, 10, 500)), neighbour);
  EXPECT_EQ(brought.action, goes_on);
  EXPECT_EQ(segment_of(brought.packet).source, call.destination);
}

INSTANTIATE_TEST_SUITE_P(, FlowHeld, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test
