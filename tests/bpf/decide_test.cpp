// Claims about bpf/decide.h, compiled by the host: over every combination of facts, without a kernel.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "bpf/decide.h"

namespace {

constexpr int packet_flags = 11;
constexpr int fact_flags = 11;

// One of all combinations: each bit of `bits` is a flag.
sluice_packet make_packet(unsigned bits, std::uint8_t protocol) {
  sluice_packet packet{};
  bool* const flags[packet_flags] = {&packet.is_arp,    &packet.is_ip,       &packet.is_v6,    &packet.vlan,
                                     &packet.truncated, &packet.options,     &packet.fragment, &packet.mapped,
                                     &packet.tcp_syn,   &packet.segment.rst, &packet.neighbour};
  for (int flag = 0; flag < packet_flags; ++flag) *flags[flag] = (bits >> flag & 1) != 0;
  packet.protocol = protocol;
  return packet;
}

sluice_facts make_facts(unsigned bits, std::uint8_t port) {
  sluice_facts facts{};
  bool* const flags[fact_flags] = {
      &facts.pod_known, &facts.source_owned, &facts.internal,           &facts.inbound, &facts.policy, &facts.alive,
      &facts.listening, &facts.has_socket,   &facts.address_registered, &facts.audit,   &facts.gated};
  for (int flag = 0; flag < fact_flags; ++flag) *flags[flag] = (bits >> flag & 1) != 0;
  facts.port = port;
  return facts;
}

template <typename Each>
void for_every_combination(Each each) {
  for (unsigned packet_bits = 0; packet_bits < 1U << packet_flags; ++packet_bits) {
    for (const int protocol : {6, 17, 58, 47}) {
      const auto packet = make_packet(packet_bits, static_cast<std::uint8_t>(protocol));
      for (unsigned fact_bits = 0; fact_bits < 1U << fact_flags; ++fact_bits) {
        for (const int port : {0, static_cast<int>(SLUICE_PORT_ANY_ADDRESS)}) {
          const auto facts = make_facts(fact_bits, static_cast<std::uint8_t>(port));
          each(packet, facts, sluice_decide(&packet, &facts));
        }
      }
    }
  }
}

bool is_plain(const sluice_packet& packet) {
  return packet.is_ip && !packet.vlan && !packet.truncated && !packet.options && !packet.mapped;
}

bool goes_outside(sluice_action action) {
  return action == SLUICE_PASS_OUT || action == SLUICE_RELAY || action == SLUICE_GATE;
}

// Counted instead of asserted one by one: there are millions of combinations.
template <typename Holds>
void expect_always(Holds holds) {
  std::size_t broken = 0;
  for_every_combination([&](const auto& packet, const auto& facts, const auto& decision) {
    broken += holds(packet, facts, decision) ? 0 : 1;
  });
  EXPECT_EQ(broken, 0U);
}

TEST(Decide, every_denial_has_a_reason_and_nothing_else_has) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    // A late segment of a connection that is over is no call.
    const bool late = packet.protocol == IPPROTO_TCP && !packet.tcp_syn && facts.gated && packet.segment.payload == 0;
    const bool denied = decision.action >= SLUICE_DROP;
    const bool reasoned = decision.reason != SLUICE_REASON_NONE;
    return (denied == reasoned || (denied && late)) && decision.reason < SLUICE_REASONS;
  });
}

TEST(Decide, nothing_goes_outside_that_is_not_a_plain_whole_packet_of_the_pod) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return !goes_outside(decision.action) || (is_plain(packet) && !packet.fragment && facts.pod_known &&
                                              (facts.source_owned || sluice_link_source(&packet)));
  });
}

TEST(Decide, nothing_but_tcp_is_relayed_or_gated_and_nothing_but_udp_and_answers_passes_out) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    if (decision.action == SLUICE_RELAY || decision.action == SLUICE_GATE) return packet.protocol == IPPROTO_TCP;
    return decision.action != SLUICE_PASS_OUT || facts.inbound || packet.protocol == IPPROTO_UDP;
  });
}

TEST(Decide, once_nothing_is_enforced_everything_passes) {
  std::size_t broken = 0;
  for_every_combination([&](const auto& packet, auto facts, const auto&) {
    facts.released = true;
    const auto decision = sluice_decide(&packet, &facts);
    broken += decision.action == SLUICE_PASS_OUT && decision.reason == SLUICE_REASON_NONE ? 0 : 1;
  });
  EXPECT_EQ(broken, 0U);
}

TEST(Decide, a_new_connection_is_relayed_only_by_a_live_agent_with_a_policy_that_has_it) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_RELAY || !packet.tcp_syn ||
           (facts.policy && facts.alive && facts.listening && facts.port != 0 && facts.address_registered);
  });
}

TEST(Decide, a_flow_begins_with_a_syn_to_a_gated_port_of_a_live_agents_policy_that_has_it) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_GATE || (packet.tcp_syn && facts.gated && facts.policy && facts.alive &&
                                              facts.port != 0 && facts.address_registered);
  });
}

TEST(Decide, to_a_gated_port_no_connection_is_relayed) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_RELAY || !facts.gated || (!packet.tcp_syn && facts.has_socket);
  });
}

TEST(Decide, in_mode_audit_a_segment_is_relayed_only_to_a_socket_that_has_its_connection) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_RELAY || packet.tcp_syn || !facts.audit || facts.has_socket;
  });
}

TEST(Decide, a_datagram_passes_out_only_when_registered_or_an_answer) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_PASS_OUT || facts.inbound ||
           (packet.protocol == IPPROTO_UDP && facts.port != 0 && facts.address_registered);
  });
}

TEST(Decide, untouched_passes_only_what_stays_inside_or_on_the_link) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    return decision.action != SLUICE_PASS || (packet.is_arp && !packet.vlan) ||
           (is_plain(packet) && (facts.internal || sluice_link_scope(&packet.destination)));
  });
}

TEST(Decide, nothing_passes_from_a_source_that_a_known_pod_does_not_own) {
  expect_always([](const auto& packet, const auto& facts, const auto& decision) {
    const bool spoofed = facts.pod_known && !facts.source_owned && !sluice_link_source(&packet) && !packet.is_arp;
    return !spoofed || decision.action == SLUICE_DROP;
  });
}

TEST(Decide, only_tcp_is_answered_by_rst_and_never_a_rst) {
  expect_always([](const auto& packet, const auto&, const auto& decision) {
    return decision.action != SLUICE_REFUSE_TCP || (packet.protocol == IPPROTO_TCP && !packet.segment.rst);
  });
}

TEST(Decide, only_whole_plain_packets_are_answered) {
  expect_always([](const auto& packet, const auto&, const auto& decision) {
    const bool answered = decision.action == SLUICE_REFUSE_TCP || decision.action == SLUICE_REFUSE_UDP;
    return !answered || (is_plain(packet) && !packet.fragment);
  });
}

sluice_address address_of(std::initializer_list<std::uint8_t> bytes) {
  sluice_address address{};
  std::copy(bytes.begin(), bytes.end(), address.bytes);
  return address;
}

TEST(Decide, link_scope_is_link_local_unicast_and_multicast) {
  const auto in_scope = [](std::initializer_list<std::uint8_t> bytes) {
    const auto address = address_of(bytes);
    return sluice_link_scope(&address);
  };
  EXPECT_TRUE(in_scope({0xfe, 0x80}));
  EXPECT_TRUE(in_scope({0xfe, 0xbf}));
  EXPECT_TRUE(in_scope({0xff, 0x02}));
  EXPECT_TRUE(in_scope({0xff, 0x12}));
  EXPECT_FALSE(in_scope({0xfe, 0xc0}));
  EXPECT_FALSE(in_scope({0xff, 0x05}));
  EXPECT_FALSE(in_scope({0xff, 0x0e}));
  EXPECT_FALSE(in_scope({0x20, 0x01}));
  EXPECT_FALSE(in_scope({}));
}

TEST(DecideLeaving, nothing_forwarded_leaves_undecided) {
  for (unsigned bits = 0; bits < 32; ++bits) {
    for (const unsigned mark : {0U, 0x10U, 0x20U, 0x30U, 0xffffffcfU}) {
      const sluice_leaving leaving{.released = (bits & 16) != 0,
                                   .is_arp = (bits & 1) != 0,
                                   .is_ip = (bits & 2) != 0,
                                   .internal = (bits & 4) != 0,
                                   .forwarded = (bits & 8) != 0,
                                   .mark = mark};
      const auto decision = sluice_decide_leaving(&leaving);
      const bool relayed = (mark & SLUICE_MARK_RELAY) != 0;
      const bool decided = leaving.is_ip && (leaving.internal || (mark & SLUICE_MARK_PASSED) != 0);
      const bool passes = leaving.released || !leaving.forwarded || leaving.is_arp || (decided && !relayed);
      EXPECT_EQ(decision.action, passes ? SLUICE_PASS : SLUICE_DROP) << bits << " " << mark;
      EXPECT_EQ(decision.reason == SLUICE_REASON_NONE, passes);
    }
  }
}

}  // namespace
