// Claims about what leaves by an uplink (uplink_guard), and about answers to what came in by one (to_pod).
#include <gmock/gmock.h>

#include "support/gate.h"

namespace sluice::test {
namespace {

class Guard : public Gate {
 protected:
  void lets_go(const std::string& what, const Bytes& packet, unsigned from, std::uint32_t mark = 0) {
    SCOPED_TRACE(what);
    const auto verdict = leaves(packet, from, mark);
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_TRUE(verdict.denials.empty());
  }
  void stops(const std::string& what, const Bytes& packet, unsigned from, Reason reason, std::uint32_t mark = 0) {
    SCOPED_TRACE(what);
    const auto verdict = leaves(packet, from, mark);
    EXPECT_EQ(verdict.action, is_dropped);
    ASSERT_EQ(verdict.denials.size(), 1U);
    EXPECT_EQ(verdict.denials[0].reason, reason);
    EXPECT_EQ(verdict.denials[0].ifindex, from);
    EXPECT_TRUE(verdict.denials[0].guard);
  }

  const Bytes out4_ = tcp_frame({pod4, 4000}, {outside4, 443});
  const Bytes out6_ = tcp_frame({pod6, 4000}, {outside6, 443});
  const Bytes datagram_ = udp_frame({pod4, 4000}, {outside4, 123});
  const unsigned late_pod_ = 4712;  // an interface that nothing is attached to yet
};

TEST_F(Guard, stops_what_nobody_decided) {
  for (const unsigned from : {pod_, late_pod_}) {
    stops("TCP", out4_, from, Reason::address_not_registered);
    stops("IPv6", out6_, from, Reason::address_not_registered);
    stops("UDP, as after a ClusterIP's translation", datagram_, from, Reason::address_not_registered);
    stops("fragment", frame(pod4, outside4, udp, text("fragment"), {.fragment = 0x2001}), from,
          Reason::address_not_registered);
    stops("not IP", ethernet(0x88cc, Bytes(64)), from, Reason::address_not_registered);
    stops("a foreign mark", out4_, from, Reason::address_not_registered, 0xffffffcf);
  }
}

TEST_F(Guard, lets_go_what_was_decided) {
  lets_go("passed", datagram_, pod_, SLUICE_MARK_PASSED);
}

TEST_F(Guard, lets_go_what_stays_in_the_cluster) {
  lets_go("to another node", tcp_frame({pod4, 4000}, {ip("10.2.0.9"), 443}), pod_);
  lets_go("to another node, IPv6", tcp_frame({pod6, 4000}, {ip("fd02::9"), 443}), late_pod_);
}

TEST_F(Guard, lets_go_what_the_node_sends_or_forwards_between_uplinks) {
  lets_go("the node's own", out4_, 0);
  lets_go("between uplinks", out4_, uplink_);
}

TEST_F(Guard, lets_arp_go) {
  lets_go("ARP", ethernet(ethertype_arp, Bytes(28, 1)), pod_);
}

TEST_F(Guard, stops_a_relayed_packet_that_was_not_delivered_locally) {
  for (const unsigned from : {pod_, late_pod_}) {
    stops("relayed", out4_, from, Reason::policy_not_ready, SLUICE_MARK_RELAY);
    stops("relayed and passed", out4_, from, Reason::policy_not_ready, SLUICE_MARK_MASK);
  }
}

// The kernel keeps another number in the place of the mark there.
TEST_F(Guard, lets_the_nodes_own_multicast_reports_go_whatever_their_mark) {
  const Bytes router_alert = {icmpv6, 0, 5, 2, 0, 0, 1, 0};
  const auto report = frame(ip("fe80::1"), ip("ff02::16"), 0, join({router_alert, {143, 0, 0, 0}, Bytes(24)}));
  for (const std::uint32_t mark : {0x10U, 0x20U, 0xffffffffU}) lets_go("report", report, 0, mark);
}

TEST_F(Guard, of_a_pod_in_mode_audit_only_tells) {
  know_pod(true);
  const auto verdict = leaves(out4_, pod_);
  EXPECT_EQ(verdict.action, goes_on);
  ASSERT_EQ(verdict.denials.size(), 1U);
  EXPECT_TRUE(verdict.denials[0].audit);
  EXPECT_TRUE(verdict.denials[0].guard);
}

class Inbound : public Gate {
 protected:
  Inbound() { must_be_done(kernel_->set_inbound_replies(true)); }

  // Somebody outside calls the pod's port 8080.
  void is_called(unsigned from, const TcpFields& fields = {}) {
    const auto verdict = pod_receives(tcp_frame({outside4, 5555}, {pod4, 8080}, fields), from);
    EXPECT_EQ(verdict.action, goes_on);
  }
  void answer_passes_out() {
    passes_out("SYN-ACK", tcp_frame({pod4, 8080}, {outside4, 5555}, {.flags = syn | ack}));
    passes_out("data", tcp_frame({pod4, 8080}, {outside4, 5555}, {.flags = ack | psh}));
    passes_out("RST", tcp_frame({pod4, 8080}, {outside4, 5555}, {.flags = rst}));
  }
  // What is no answer goes the way of all other segments: to the agent, which knows of no such connection.
  void answer_is_relayed() { is_relayed("SYN-ACK", tcp_frame({pod4, 8080}, {outside4, 5555}, {.flags = syn | ack})); }
};

TEST_F(Inbound, connections_may_be_answered) {
  is_called(uplink_);
  answer_passes_out();
}

TEST_F(Inbound, connections_do_not_need_the_agent) {
  stop_listening();
  set_heartbeat(1);
  is_called(uplink_);
  answer_passes_out();
}

TEST_F(Inbound, datagrams_may_be_answered) {
  const auto asked = pod_receives(udp_frame({outside6, 5555}, {pod6, 53}), uplink_);
  EXPECT_EQ(asked.action, goes_on);
  passes_out("answer", udp_frame({pod6, 53}, {outside6, 5555}));
  is_refused_for("to another port", udp_frame({pod6, 53}, {outside6, 5556}), Reason::udp_not_allowed);
  is_refused_for("from another port", udp_frame({pod6, 54}, {outside6, 5555}), Reason::udp_not_allowed);
}

TEST_F(Inbound, connections_open_no_way_for_new_ones) {
  is_called(uplink_);
  is_refused_for("SYN on the same tuple", tcp_frame({pod4, 8080}, {outside4, 5555}), Reason::port_not_registered);
}

TEST_F(Inbound, connections_that_a_neighbour_forges_may_not_be_answered) {
  is_called(pod_);
  is_called(4712);
  is_called(0);
  answer_is_relayed();
}

TEST_F(Inbound, segments_that_open_nothing_may_not_be_answered) {
  is_called(uplink_, {.flags = ack});
  is_called(uplink_, {.flags = syn | ack});
  answer_is_relayed();
}

TEST_F(Inbound, broken_packets_open_nothing) {
  const auto segment = tcp_segment({outside4, 5555}, {pod4, 8080});
  EXPECT_EQ(pod_receives(frame(outside4, pod4, tcp, segment, {.fragment = 0x2000}), uplink_).action, goes_on);
  EXPECT_EQ(pod_receives(frame(outside4, pod4, tcp, segment, {.options = Bytes(4, 1)}), uplink_).action, goes_on);
  const auto whole = frame(outside4, pod4, tcp, segment);
  EXPECT_EQ(pod_receives(Bytes(whole.begin(), whole.begin() + 40), uplink_).action, goes_on);
  answer_is_relayed();
}

TEST_F(Inbound, replies_can_be_switched_off) {
  is_called(uplink_);
  must_be_done(kernel_->set_inbound_replies(false));
  answer_is_relayed();
}

TEST_F(Inbound, answers_of_another_source_are_dropped) {
  is_called(uplink_);
  is_dropped_for("spoofed", tcp_frame({ip("10.1.0.3"), 8080}, {outside4, 5555}, {.flags = syn | ack}),
                 Reason::source_spoofed);
}

}  // namespace
}  // namespace sluice::test
