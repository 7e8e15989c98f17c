// Claims about the beginning of a flow: which gateway, which port, which numbers, and what a SYN may carry.
#include "support/flows.h"

namespace sluice::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

const Bytes usual_options = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};

class FlowOpening : public Flows {
 protected:
  TcpFields opening(std::uint32_t isn, const Bytes& options = {}, const Bytes& payload = {}) const {
    return {.flags = syn, .sequence = isn, .acknowledgement = 0, .options = options, .payload = payload};
  }
  // Where a SYN of the pod goes, if anywhere.
  std::optional<Segment> sent_to_gateway(const Endpoint& to, std::uint32_t isn, std::uint16_t port = 4000) {
    const auto verdict = pod_sends(tcp_frame({pod_address_, port}, to, opening(isn)));
    return verdict.action == goes_on ? std::optional(segment_of(verdict.packet)) : std::nullopt;
  }
  void is_refused(const Endpoint& to, std::uint32_t isn, Reason reason, std::uint16_t port = 4000) {
    const auto verdict = pod_sends(tcp_frame({pod_address_, port}, to, opening(isn)));
    EXPECT_EQ(verdict.action, is_sent_back);
    const auto answer = segment_of(verdict.packet);
    EXPECT_TRUE(answer.sound);
    EXPECT_EQ(answer.flags, rst | ack);
    EXPECT_EQ(answer.acknowledgement, isn + 1);
    ASSERT_THAT(verdict.denials, SizeIs(1));
    EXPECT_EQ(to_string(verdict.denials[0].reason), to_string(reason));
  }
};

TEST_P(FlowOpening, a_syn_goes_to_the_gateway_and_is_otherwise_as_it_was) {
  const auto frame = tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000, usual_options));
  const auto verdict = pod_sends(frame);
  ASSERT_EQ(verdict.action, goes_on);
  EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_PASSED));
  const auto segment = segment_of(verdict.packet);
  EXPECT_TRUE(segment.sound);
  EXPECT_EQ(segment.source, (Endpoint{pod_address_, 4000})) << "the source port is kept";
  EXPECT_EQ(segment.destination, gateway_);
  EXPECT_EQ(segment.options, usual_options);
  // Besides address, port and checksums no byte changes.
  auto expected = frame;
  const bool is_v4 = !v6_flow_;
  const std::size_t address_at = is_v4 ? 30 : 38;
  const std::size_t tcp_at = is_v4 ? 34 : 54;
  const auto address = of(gateway_.address);
  std::copy(address.begin(), address.end(), expected.begin() + static_cast<std::ptrdiff_t>(address_at));
  write16(expected, tcp_at + 2, gateway_.port);
  write16(expected, tcp_at + 16, read16(verdict.packet, tcp_at + 16));
  if (is_v4) write16(expected, 24, read16(verdict.packet, 24));
  EXPECT_EQ(verdict.packet, expected);
}

TEST_P(FlowOpening, the_flow_says_who_and_where) {
  const auto call = dial({pod_address_, 4000}, {outside_, 443}, opening(1000, usual_options));
  const auto flow = flow_of(call);
  ASSERT_TRUE(flow);
  EXPECT_EQ(flow->state, State::opening);
  EXPECT_EQ(flow->ifindex, pod_);
  EXPECT_EQ(flow->gateway, gateway_);
  EXPECT_EQ(flow->gateway_number, gateway_number);
  EXPECT_EQ(flow->source_port, 4000);
  EXPECT_EQ(flow->pod_first, 1001U);
  EXPECT_EQ(flow->mss, 1460);
  EXPECT_TRUE(std::equal(flow->ethernet.begin(), flow->ethernet.end(), join({node_mac, pod_mac}).begin()));
  EXPECT_EQ(load().live, 1U);
  EXPECT_EQ(load().undecided, 1U);
}

TEST_P(FlowOpening, the_answer_reaches_the_pod_as_that_of_whom_it_dialled) {
  const auto call = dial({pod_address_, 4000}, {outside_, 443}, opening(1000, usual_options));
  const Bytes options = {2, 4, 5, 0x78, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1, 1, 3, 3, 7};
  const auto segment = reaches_pod(
      call, {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = 1001, .options = options, .payload = {}});
  EXPECT_EQ(segment.sequence, gateway_isn);
  EXPECT_EQ(segment.acknowledgement, 1001U);
  EXPECT_EQ(segment.options, options);
  EXPECT_EQ(state_of(call), State::held);
  EXPECT_EQ(flow_of(call)->mss, 0x578) << "the smaller of both";
  EXPECT_EQ(reaches_gateway(call, bare(call)).acknowledgement, gateway_isn + 1);
}

TEST_P(FlowOpening, point_4_two_destinations_from_one_port_are_two_ports_at_the_gateway) {
  const auto first = dial();
  const auto second = dial({pod_address_, 4000}, {elsewhere_, 443}, opening(2000));
  EXPECT_EQ(first.source_port, 4000);
  EXPECT_NE(second.source_port, 4000);
  EXPECT_NE(first.key.id, second.key.id);
  reaches_pod(second, {.flags = syn | ack, .sequence = 1, .acknowledgement = 2001});
  EXPECT_EQ(state_of(first), State::opening) << "the answer was the other one's";
  reaches_pod(first, {.flags = syn | ack, .sequence = 1, .acknowledgement = 1001});
  EXPECT_EQ(state_of(first), State::held);
}

TEST_P(FlowOpening, point_4_when_every_port_is_taken_the_connection_is_refused) {
  const PinnedMap<sluice_tuple, sluice_back> map(lab_.map_pin("backs"));
  sluice_tuple taken{};
  std::copy(gateway_.address.bytes().begin(), gateway_.address.bytes().end(), taken.source.bytes);
  std::copy(pod_address_.bytes().begin(), pod_address_.bytes().end(), taken.destination.bytes);
  taken.source_port = gateway_.port;
  taken.protocol = tcp;
  for (std::uint32_t port = SLUICE_FIRST_PORT; port < SLUICE_FIRST_PORT + SLUICE_PORT_RANGE; ++port) {
    taken.destination_port = static_cast<std::uint16_t>(port);
    map.put(taken, {});
  }
  taken.destination_port = 4000;
  map.put(taken, {});
  is_refused({outside_, 443}, 1000, Reason::overloaded);
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
  EXPECT_EQ(load().entries, 0U) << "its place is free again";
  EXPECT_EQ(load().live, 0U);
  EXPECT_EQ(load().undecided, 0U);
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000, 4001)) << "a port that is free";
}

TEST_P(FlowOpening, point_3_a_repeated_syn_goes_to_the_same_gateway) {
  set_gateways(gateway_number, {gateway_, second_gateway_});
  const auto call = dial();
  for (int n = 0; n < 20; ++n) {
    EXPECT_EQ(dial().gateway, call.gateway);
    EXPECT_EQ(flow_of(call)->key.id, call.key.id);
  }
  EXPECT_THAT(backs(), SizeIs(1));
  EXPECT_EQ(load().entries, 1U);
}

TEST_P(FlowOpening, point_3_a_repeated_syn_leaves_a_gateway_that_is_down) {
  const auto call = dial();
  set_gateways(gateway_number, {second_gateway_});
  const auto again = dial();
  EXPECT_EQ(again.key.id, call.key.id);
  EXPECT_EQ(again.gateway, second_gateway_);
  EXPECT_EQ(flow_of(call)->gateway, second_gateway_);
  EXPECT_THAT(backs(), SizeIs(1)) << "the way back from the first one is gone";
  gateway_says(call, {.flags = syn | ack, .sequence = 77, .acknowledgement = call.first});
  EXPECT_EQ(state_of(call), State::opening) << "a late answer of the first one is not the flow's";
  shake_hands(again);
  EXPECT_EQ(state_of(call), State::held);
}

TEST_P(FlowOpening, point_3_a_gateway_that_answered_is_kept) {
  const auto call = held();
  set_gateways(gateway_number, {second_gateway_});
  EXPECT_EQ(dial().gateway, gateway_);
  EXPECT_EQ(state_of(call), State::held);
  EXPECT_EQ(reaches_gateway(call, bare(call)).destination, gateway_);
}

TEST_P(FlowOpening, point_3_a_gateway_that_refuses_is_told_to_the_agent_and_the_next_syn_tries_another) {
  set_gateways(gateway_number, {gateway_, second_gateway_});
  const auto call = dial();
  gateway_is_not_heard(call, {.flags = rst | ack, .sequence = 0, .acknowledgement = call.first});
  const auto upcalls = told();
  ASSERT_THAT(upcalls, SizeIs(1));
  EXPECT_EQ(upcalls[0].kind, Kind::refused);
  EXPECT_EQ(upcalls[0].id, call.key.id);
  EXPECT_NE(dial().gateway, call.gateway);
  EXPECT_THAT(backs(), SizeIs(1));
}

TEST_P(FlowOpening, point_3_a_flow_whose_gateway_is_silent_is_sent_to_another_with_its_own_syn) {
  set_gateways(gateway_number, {gateway_, second_gateway_});
  const auto call = dial({pod_address_, 4000}, {outside_, 443}, opening(1000, usual_options));
  const auto syn_frame = kernel_->flows().syn(call.key.id);
  ASSERT_TRUE(syn_frame);
  EXPECT_EQ(*syn_frame, tcp_frame(call.pod, call.destination, opening(1000, usual_options)));
  EXPECT_FALSE(reroute({call.key.id + 1, call.pod, call.destination}));
  ASSERT_TRUE(reroute(call.key));
  const auto mark = kernel::injection_mark(call.key.id);
  const auto verdict = pod_sends(*syn_frame, mark);
  ASSERT_EQ(verdict.action, goes_on);
  const auto segment = segment_of(verdict.packet);
  EXPECT_TRUE(segment.sound);
  EXPECT_NE(segment.destination, call.gateway);
  EXPECT_EQ(segment.destination, flow_of(call)->gateway);
  EXPECT_THAT(backs(), SizeIs(1));
  EXPECT_EQ(dial().gateway, segment.destination) << "the pod's repetition follows";
  gateway_says(call, {.flags = syn | ack, .sequence = 1, .acknowledgement = 1001});
  EXPECT_EQ(state_of(call), State::opening) << "it is the first one's";
  auto moved = call;
  moved.gateway = segment.destination;
  shake_hands(moved);
  EXPECT_FALSE(reroute(call.key));
  EXPECT_EQ(pod_sends(*syn_frame, mark).action, is_dropped) << "it is answered";
}

TEST_P(FlowOpening, a_syn_is_kept_only_where_there_is_another_gateway) {
  EXPECT_FALSE(kernel_->flows().syn(dial().key.id));
}

TEST_P(FlowOpening, a_reset_with_anothers_number_says_nothing) {
  const auto call = dial();
  gateway_says(call, {.flags = rst | ack, .sequence = 0, .acknowledgement = call.first + 1});
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_EQ(state_of(call), State::opening);
}

TEST_P(FlowOpening, the_gateways_memory_of_an_earlier_connection_can_be_cleared) {
  const auto call = dial();
  const auto challenge = reaches_pod(call, {.flags = ack, .sequence = 5, .acknowledgement = 99});
  EXPECT_EQ(challenge.acknowledgement, 99U);
  const auto reset = reaches_gateway(call, {.flags = rst, .sequence = 99});
  EXPECT_EQ(reset.sequence, 99U);
  EXPECT_EQ(state_of(call), State::opening);
}

TEST_P(FlowOpening, nothing_but_the_syn_passes_before_the_answer) {
  const auto call = dial();
  pod_is_not_heard(call, bare(call));
  pod_is_not_heard(call, data(call, 0, 10));
  pod_is_not_heard(call, bare(call, 1));
  pod_is_not_heard(call, {.flags = ack | fin, .sequence = call.first, .acknowledgement = 1});
  gateway_is_not_heard(call, answer(call, 0, 10, 0));
  EXPECT_EQ(state_of(call), State::opening);
}

TEST_P(FlowOpening, points_2_and_3_a_syn_with_another_number_ends_the_flow_at_its_gateway) {
  struct Case {
    const char* name;
    std::function<Call()> begin;
    std::uint32_t next;  // that the gateway expects
  };
  const Case cases[] = {
      {"held", [this] { return held(1000); }, 0},
      {"allowed", [this] { return allowed(500, 28, 20000); }, 28},
      {"open", [this] { return open(500, 28, 40000); }, 528},
  };
  for (const auto& [name, begin, next] : cases) {
    SCOPED_TRACE(name);
    const auto call = begin();
    told();
    auto fields = opening(call.first + 7000);
    fields.payload = Bytes(20, 'x');
    const auto verdict = pod_sends(tcp_frame(call.pod, call.destination, fields));
    EXPECT_EQ(verdict.action, goes_on);
    const auto segment = segment_of(verdict.packet);
    EXPECT_TRUE(segment.sound);
    EXPECT_EQ(segment.destination, call.gateway);
    EXPECT_EQ(segment.source.port, call.source_port);
    EXPECT_EQ(segment.flags, rst);
    EXPECT_EQ(segment.sequence, call.first + next);
    EXPECT_THAT(segment.payload, IsEmpty());
    const auto flow = flow_of(call);
    EXPECT_EQ(flow->key.id, call.key.id);
    EXPECT_EQ(flow->state, State::ended);
    EXPECT_EQ(flow->end, kernel::FlowEnd::replaced);
    EXPECT_TRUE(flow->reset_again);
    EXPECT_EQ(told(Kind::ended), 1U);
    pod_is_not_heard(call, {.flags = syn, .sequence = call.first - 1});
  }
}

TEST_P(FlowOpening, point_7_a_copy_of_the_syn_does_not_raise_what_the_gateway_takes) {
  const auto call = dial({pod_address_, 4000}, {outside_, 443}, opening(1000, {2, 4, 5, 0xb4}));
  reaches_pod(call,
              {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = call.first, .options = {2, 4, 5, 0x50}});
  ASSERT_EQ(flow_of(call)->mss, 0x550);
  EXPECT_EQ(pod_says(call, opening(1000, {2, 4, 5, 0xb4})).action, goes_on);
  EXPECT_EQ(flow_of(call)->mss, 0x550);
}

TEST_P(FlowOpening, its_records_have_an_id_from_its_first_packet_on_whoever_writes_them) {
  const auto first = held();
  const auto audit = flow_of(first)->audit;
  EXPECT_NE(audit[0], 0U);
  EXPECT_EQ(audit[1], first.key.id);
  kernel_.reset();
  kernel_ = lab_.open();
  EXPECT_EQ(flow_of(first)->audit, audit);
  const auto flows = kernel_->flows().all();
  ASSERT_THAT(flows, SizeIs(1));
  EXPECT_EQ(flows[0].audit, audit);
}

TEST_P(FlowOpening, points_2_and_3_the_syn_after_that_is_another_flow) {
  const auto old = open();
  told();
  const auto old_audit = flow_of(old)->audit;
  const auto call = dial(90000);
  EXPECT_NE(call.key.id, old.key.id);
  EXPECT_NE(flow_of(call)->audit, old_audit);
  EXPECT_EQ(state_of(call), State::opening);
  EXPECT_EQ(call.source_port, old.source_port);
  EXPECT_THAT(backs(), SizeIs(1));
  const auto replaced = kernel_->flows().replaced();
  ASSERT_THAT(replaced, SizeIs(1));
  EXPECT_EQ(replaced[0].key.id, old.key.id);
  EXPECT_EQ(replaced[0].end, kernel::FlowEnd::replaced);
  EXPECT_EQ(replaced[0].bytes_sent, 500U);
  EXPECT_EQ(replaced[0].audit, old_audit);
  for (const auto& upcall : told()) {
    EXPECT_EQ(upcall.kind, Kind::ended);
    EXPECT_EQ(upcall.id, old.key.id);
  }
  EXPECT_TRUE(collect(old.key));
  EXPECT_THAT(kernel_->flows().replaced(), IsEmpty());
  EXPECT_EQ(load().entries, 1U);
  EXPECT_EQ(load().live, 1U);
  EXPECT_EQ(load().undecided, 1U);
  EXPECT_EQ(kernel_->flows().undecided(), 1U);
}

TEST_P(FlowOpening, point_3_a_late_copy_of_a_flows_syn_begins_nothing) {
  const auto copy_is_dropped = [&](const Call& call, State state) {
    told();
    EXPECT_FALSE(sent_to_gateway(call.destination, call.first - 1));
    EXPECT_EQ(state_of(call), state);
    EXPECT_THAT(told(), IsEmpty());
    EXPECT_THAT(kernel_->flows().replaced(), IsEmpty());
  };
  const auto call = allowed(10, 0);
  copy_is_dropped(call, State::allowed);
  gateway_says(call, {.flags = ack, .sequence = gateway_isn + 1, .acknowledgement = call.first + 10});
  copy_is_dropped(call, State::open);
  reaches_gateway(call, data(call, 10, 10));
  reaches_gateway(call, {.flags = rst, .sequence = call.first + 20});
  copy_is_dropped(call, State::ended);
  collect(call.key);
  copy_is_dropped(call, State::collected);
  EXPECT_TRUE(sent_to_gateway(call.destination, 90000)) << "another connection";
}

TEST_P(FlowOpening, point_2_a_verdict_for_the_flow_of_before_changes_nothing) {
  const auto old = held();
  const auto call = held(90000);
  EXPECT_FALSE(allow(old, 10, 0));
  EXPECT_FALSE(deny(old.key));
  EXPECT_FALSE(allow({.pod = call.pod,
                      .destination = call.destination,
                      .gateway = {},
                      .source_port = 0,
                      .first = call.first,
                      .key = {call.key.id + 1, call.pod, call.destination}},
                     10, 0));
  EXPECT_EQ(state_of(call), State::held);
  pod_is_not_heard(call, data(call, 0, 10));
  EXPECT_TRUE(allow(call, 10, 0));
}

TEST_P(FlowOpening, a_flow_that_was_denied_makes_way_without_a_trace) {
  const auto old = held();
  ASSERT_TRUE(deny(old.key));
  ASSERT_TRUE(collect(old.key));
  const auto call = dial(90000);
  EXPECT_NE(call.key.id, old.key.id);
  EXPECT_THAT(kernel_->flows().replaced(), IsEmpty());
}

TEST_P(FlowOpening, of_a_flow_that_was_denied_and_not_recorded_yet_the_totals_are_kept) {
  const auto old = open();
  ASSERT_TRUE(deny(old.key));
  dial(90000);
  const auto replaced = kernel_->flows().replaced();
  ASSERT_THAT(replaced, SizeIs(1));
  EXPECT_EQ(replaced[0].state, State::denied);
  EXPECT_EQ(replaced[0].bytes_sent, 500U);
  EXPECT_TRUE(collect(old.key));
  EXPECT_THAT(kernel_->flows().replaced(), IsEmpty());
}

TEST_P(FlowOpening, where_a_port_is_relayed_now_a_forgotten_flow_ends_at_its_gateway_first) {
  const auto old = open(500, 28, 40000);
  must_be_done(kernel_->set_ports({any_address(443)}));
  const auto again = tcp_frame(old.pod, old.destination, opening(old.first - 1));
  EXPECT_EQ(pod_sends(again).action, is_dropped) << "a late copy of its SYN";
  EXPECT_EQ(flow_of(old)->state, State::open);

  const auto first = tcp_frame(old.pod, old.destination, opening(90000));
  const auto reset = pod_sends(first);
  EXPECT_EQ(reset.action, goes_on);
  EXPECT_NE(reset.mark, static_cast<std::uint32_t>(SLUICE_MARK_RELAY));
  const auto segment = segment_of(reset.packet);
  EXPECT_EQ(segment.destination, old.gateway);
  EXPECT_EQ(segment.flags, rst);
  EXPECT_EQ(segment.sequence, old.first + 528);
  EXPECT_EQ(flow_of(old)->state, State::ended);

  const auto second = pod_sends(first);
  EXPECT_EQ(second.action, goes_on);
  EXPECT_EQ(second.mark, static_cast<std::uint32_t>(SLUICE_MARK_RELAY));
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
  EXPECT_THAT(backs(), IsEmpty());
  EXPECT_THAT(kernel_->flows().replaced(), SizeIs(1));
}

TEST_P(FlowOpening, a_gateway_without_addresses_of_the_family_leaves_the_call_to_the_relay) {
  set_gateways(gateway_number, {endpoint(v6_flow_ ? "10.0.0.99:15443" : "[fd00::99]:15443")});
  const auto verdict = pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000)));
  EXPECT_EQ(verdict.action, goes_on);
  EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_RELAY));
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
}

TEST_P(FlowOpening, in_mode_audit_calls_are_relayed) {
  know_pod(true);
  const auto verdict = pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000)));
  EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_RELAY));
}

TEST_P(FlowOpening, point_3_fast_open_is_taken_out_of_a_syn_with_its_data) {
  const Bytes options = {2, 4, 5, 0xb4, 34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 254, 4, 0xf9, 0x89};
  for (const std::size_t size : {1, 7, 500}) {
    const auto call = dial({pod_address_, 4000}, {outside_, 443}, opening(1000, options, Bytes(size, 'd')));
    const auto segment = *sent_to_gateway({outside_, 443}, 1000);
    EXPECT_TRUE(segment.payload.empty());
    const auto verdict = pod_sends(tcp_frame(call.pod, call.destination, opening(1000, options, Bytes(size, 'd'))));
    const auto cut = segment_of(verdict.packet);
    EXPECT_TRUE(cut.sound) << size;
    EXPECT_TRUE(cut.payload.empty());
    EXPECT_EQ(cut.sequence, 1000U);
    EXPECT_EQ(cut.options, (Bytes{2, 4, 5, 0xb4, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
  }
}

TEST_P(FlowOpening, point_3_multipath_tcp_is_taken_out_of_a_syn_and_its_answer) {
  const Bytes capable = {2, 4, 5, 0xb4, 30, 4, 1, 0x81};
  const Bytes blank = {2, 4, 5, 0xb4, 1, 1, 1, 1};
  const auto verdict = pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000, capable)));
  EXPECT_EQ(segment_of(verdict.packet).options, blank);
  EXPECT_TRUE(segment_of(verdict.packet).sound);
  const Bytes join = {30, 12, 0x10, 1, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto joining = pod_sends(tcp_frame({pod_address_, 4001}, {outside_, 443}, opening(1000, join)));
  EXPECT_EQ(segment_of(joining.packet).options, Bytes(12, 1));
  const auto call = dial();
  const Bytes server = {30, 12, 1, 0x81, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto segment = reaches_pod(
      call,
      {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = call.first, .options = server, .payload = {}});
  EXPECT_EQ(segment.options, Bytes(12, 1));
}

TEST_P(FlowOpening, options_that_contradict_themselves_hide_nothing_that_a_receiver_would_take) {
  // A size of 0, of 1, and beyond the end: RFC 9293 lets a receiver drop these, and none reads on.
  for (const Bytes& options : {Bytes{30, 0, 30, 4}, Bytes{30, 1, 30, 4}, Bytes{30, 40, 1, 1}, Bytes{0, 30, 2, 1}}) {
    const auto verdict = pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000, options)));
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_TRUE(segment_of(verdict.packet).sound);
    EXPECT_EQ(segment_of(verdict.packet).options, options);
  }
  Bytes many(40, 1);
  std::copy_n(Bytes{30, 4, 1, 0x81}.begin(), 4, many.begin() + 36);
  const auto verdict = pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000, many)));
  EXPECT_EQ(segment_of(verdict.packet).options, Bytes(40, 1)) << "the last of forty bytes";
  EXPECT_TRUE(segment_of(verdict.packet).sound);
}

TEST_P(FlowOpening, point_10_a_syn_is_refused_when_the_heart_stopped_or_the_agent_went) {
  set_heartbeat(1);
  is_refused({outside_, 443}, 1000, Reason::policy_not_ready);
  kernel_->beat();
  must_be_done(kernel_->set_listeners({}, {}));
  is_refused({outside_, 443}, 1000, Reason::policy_not_ready);
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
}

TEST_P(FlowOpening, a_killed_agents_listeners_are_not_missed_while_its_heart_beat_counts) {
  stop_listening();
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000));
}

TEST_P(FlowOpening, a_segment_of_no_flow_to_a_gated_port_is_reset) {
  const Call nobody{.pod = {pod_address_, 4000},
                    .destination = {outside_, 443},
                    .gateway = gateway_,
                    .source_port = 4000,
                    .first = 1001,
                    .key = {}};
  const auto denials = [&](const TcpFields& fields) { return pod_says(nobody, fields).denials.size(); };
  is_reset(nobody, bare(nobody));
  is_reset(nobody, data(nobody, 0, 10));
  pod_is_not_heard(nobody, {.flags = rst, .sequence = 1});
  EXPECT_EQ(denials(bare(nobody)), 0U) << "late, and no call";
  EXPECT_EQ(denials({.flags = ack | fin, .sequence = 1, .acknowledgement = 1}), 0U);
  EXPECT_EQ(denials({.flags = rst, .sequence = 1}), 0U);
  EXPECT_EQ(denials(data(nobody, 0, 10)), 1U);
}

TEST_P(FlowOpening, point_6_a_pod_has_no_more_flows_than_its_limit) {
  limit_flows(2);
  const auto first = dial();
  dial({pod_address_, 4001}, {outside_, 443}, opening(1000));
  is_refused({outside_, 443}, 1000, Reason::overloaded, 4002);
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000, 4001)) << "a repetition needs no place";
  ASSERT_TRUE(deny(first.key));
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000, 4002)) << "a denied one leaves its place";
  is_refused({outside_, 443}, 1000, Reason::overloaded, 4003);
  EXPECT_EQ(load().live, 2U);
}

TEST_P(FlowOpening, point_6_all_pods_have_no_more_flows_than_the_nodes_limit) {
  must_be_done(kernel_->set_flow_limits({1, 100, 1000, 1000}));
  const auto first = dial();
  is_refused({outside_, 443}, 1000, Reason::overloaded, 4001);
  ASSERT_TRUE(deny(first.key));
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000, 4001));
}

TEST_P(FlowOpening, point_6_no_more_flows_begin_in_a_second_than_the_limits_of_pod_and_node_say) {
  for (const auto& limits : {kernel::FlowLimits{100, 100, 100, 3}, kernel::FlowLimits{100, 100, 3, 100}}) {
    must_be_done(kernel_->set_flow_limits(limits));
    // A burst of one second's worth, and the one at its edge.
    std::uint16_t port = 5000;
    int begun = 0;
    while (begun < 10 && sent_to_gateway({outside_, 443}, 1000, port)) {
      ++begun;
      ++port;
    }
    EXPECT_GE(begun, 3);
    EXPECT_LE(begun, 5);
    is_refused({outside_, 443}, 1000, Reason::overloaded, port);
    for (const auto& flow : kernel_->flows().all()) {
      deny(flow.key);
      collect(flow.key);
    }
    sweep_away();
    auto rested = load();
    rested.opened_ns = 0;
    set_load(rested);
  }
}

TEST_P(FlowOpening, point_6_undecided_flows_of_a_pod_are_bounded) {
  const auto call = held();
  auto full = load();
  full.undecided = SLUICE_MAX_UNDECIDED;
  set_load(full);
  is_refused({outside_, 443}, 1000, Reason::overloaded, 4001);
  ASSERT_TRUE(allow(call, 10, 0));
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 1000, 4001));
}

TEST_P(FlowOpening, point_6_entries_that_linger_are_bounded) {
  auto full = load();
  full.entries = flow_limit + SLUICE_MAX_LINGERING;
  set_load(full);
  is_refused({outside_, 443}, 1000, Reason::overloaded);
}

TEST_P(FlowOpening, a_tuple_that_found_no_room_finds_it_later) {
  limit_flows(2);
  open();
  dial({pod_address_, 4001}, {outside_, 443}, opening(1000));
  limit_flows(1);
  EXPECT_EQ(segment_of(pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(80000))).packet).flags, rst);
  is_refused({outside_, 443}, 90000, Reason::overloaded);
  EXPECT_EQ(kernel_->flows().all().size(), 1U) << "what it replaced is gone";
  limit_flows(2);
  EXPECT_TRUE(sent_to_gateway({outside_, 443}, 95000));
  EXPECT_EQ(load().entries, 2U);
  EXPECT_EQ(load().live, 2U);
}

TEST_P(FlowOpening, the_urgent_pointer_of_a_syn_is_cleared) {
  auto fields = opening(1000);
  fields.flags = syn | urg;
  const auto verdict = pod_sends(with_urgent_pointer(tcp_frame({pod_address_, 4000}, {outside_, 443}, fields), 9));
  const auto segment = segment_of(verdict.packet);
  EXPECT_TRUE(segment.sound);
  EXPECT_EQ(segment.flags, syn);
  EXPECT_EQ(segment.urgent, 0);
}

TEST_P(FlowOpening, a_syn_that_ends_what_it_begins_is_dropped) {
  for (const int flags : {syn | fin, syn | rst, syn | fin | rst}) {
    auto fields = opening(1000);
    fields.flags = static_cast<std::uint8_t>(flags);
    EXPECT_EQ(pod_sends(tcp_frame({pod_address_, 4000}, {outside_, 443}, fields)).action, is_dropped);
  }
  EXPECT_THAT(kernel_->flows().all(), IsEmpty());
}

TEST_P(FlowOpening, a_checksum_that_is_wrong_stays_wrong) {
  auto frame = tcp_frame({pod_address_, 4000}, {outside_, 443}, opening(1000));
  frame[frame.size() - 1] ^= 1;
  const auto verdict = pod_sends(frame);
  EXPECT_FALSE(segment_of(verdict.packet).sound);
}

INSTANTIATE_TEST_SUITE_P(, FlowOpening, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test
