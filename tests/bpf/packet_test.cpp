// Claims about what from_pod does with a packet that a pod sends. That of refusals is in refusal_test.cpp.
#include <gmock/gmock.h>

#include "support/gate.h"

namespace sluice::test {
namespace {

class Packet : public Gate {
 protected:
  static inline const IpAddress neighbour4 = ip("10.2.0.9");
  static inline const IpAddress neighbour6 = ip("fd02::9");
  static inline const IpAddress link_local = ip("fe80::2");

  static Bytes syn4(std::uint16_t port, const IpAddress& to = outside4) { return tcp_frame({pod4, 4000}, {to, port}); }
  static Bytes syn6(std::uint16_t port, const IpAddress& to = outside6) { return tcp_frame({pod6, 4000}, {to, port}); }
  static Bytes datagram4(std::uint16_t port, const IpAddress& to = outside4) {
    return udp_frame({pod4, 4000}, {to, port}, text("hello"));
  }
  static Bytes datagram6(std::uint16_t port, const IpAddress& to = outside6) {
    return udp_frame({pod6, 4000}, {to, port}, text("hello"));
  }
  static Bytes echo4(const IpAddress& to) { return frame(pod4, to, icmp, icmp_message(8, 0, text("0000data"))); }
  static Bytes neighbour_message(const IpAddress& from, const IpAddress& to, std::uint8_t type, std::uint8_t ttl) {
    const auto message = icmpv6_message(from, to, type, 0, join({be32(0), of(ip("fd01::3"))}));
    return frame(from, to, icmpv6, message, {.ttl = ttl});
  }
};

TEST_F(Packet, to_an_internal_address_passes_untouched) {
  passes_untouched("TCP", syn4(22, neighbour4));
  passes_untouched("TCP, IPv6", syn6(22, neighbour6));
  passes_untouched("UDP", datagram4(53, neighbour4));
  passes_untouched("UDP, IPv6", datagram6(53, neighbour6));
  passes_untouched("ICMP", echo4(neighbour4));
  passes_untouched("fragment", frame(pod4, neighbour4, udp, text("fragment"), {.fragment = 0x2001}));
  passes_untouched("fragment, IPv6", frame(pod6, neighbour6, 44, join({{udp, 0}, be16(9), be32(1), text("fragment")})));
}

TEST_F(Packet, to_the_gateway_is_not_internal) {
  is_refused_for("TCP", syn4(15443, ip("10.0.0.99")), Reason::port_not_registered);
  is_refused_for("TCP, IPv6", syn6(15443, ip("fd00::99")), Reason::port_not_registered);
}

TEST_F(Packet, to_a_registered_port_is_relayed) {
  is_relayed("any address", syn4(443));
  is_relayed("any address, IPv6", syn6(443));
  is_relayed("registered address", syn4(5432));
  is_relayed("registered address, IPv6", syn6(5432));
  is_relayed("segment of an open connection",
             tcp_frame({pod4, 4000}, {outside4, 443}, {.flags = ack | psh, .options = {}, .payload = text("data")}));
  is_relayed("end of an open connection", tcp_frame({pod6, 4000}, {outside6, 443}, {.flags = ack | fin}));
}

TEST_F(Packet, to_another_port_or_address_is_refused) {
  is_refused_for("port", syn4(22), Reason::port_not_registered);
  is_refused_for("port, IPv6", syn6(22), Reason::port_not_registered);
  is_refused_for("address", syn4(5432, ip("203.0.114.5")), Reason::address_not_registered);
  is_refused_for("address, IPv6", syn6(5432, ip("2001:db8:1::5")), Reason::address_not_registered);
  is_refused_for("port registered for UDP only", syn4(123), Reason::port_not_registered);
}

TEST_F(Packet, of_udp_passes_only_to_allowed_addresses) {
  passes_out("allowed", datagram4(123));
  passes_out("allowed, IPv6", datagram6(123));
  is_refused_for("another address", datagram4(123, ip("203.0.114.5")), Reason::udp_not_allowed);
  is_refused_for("QUIC", datagram4(443), Reason::udp_not_allowed);
  is_refused_for("QUIC, IPv6", datagram6(443), Reason::udp_not_allowed);
  is_refused_for("a port registered for TCP by address", datagram4(5432), Reason::udp_not_allowed);
}

TEST_F(Packet, of_udp_needs_no_agent) {
  stop_listening();
  set_heartbeat(1);
  passes_out("allowed", datagram4(123));
  is_refused_for("not allowed", datagram4(443), Reason::udp_not_allowed);
}

TEST_F(Packet, of_another_protocol_is_dropped) {
  is_dropped_for("ICMP echo", echo4(outside4), Reason::protocol_not_allowed);
  is_dropped_for("ICMPv6 echo", frame(pod6, outside6, icmpv6, icmpv6_message(pod6, outside6, 128, 0, text("0000data"))),
                 Reason::protocol_not_allowed);
  for (const int protocol : {0, 2, 4, 41, 47, 50, 103, 132, 136, 253, 255}) {
    is_dropped_for("IPv4 protocol " + std::to_string(protocol),
                   frame(pod4, outside4, static_cast<std::uint8_t>(protocol), Bytes(32)), Reason::protocol_not_allowed);
  }
  for (const int protocol : {4, 41, 47, 50, 59, 103, 132, 136, 253, 255}) {
    is_dropped_for("IPv6 next header " + std::to_string(protocol),
                   frame(pod6, outside6, static_cast<std::uint8_t>(protocol), Bytes(32)), Reason::protocol_not_allowed);
  }
}

TEST_F(Packet, that_is_a_fragment_is_dropped) {
  const auto segment = tcp_segment({pod4, 4000}, {outside4, 443});
  is_dropped_for("first", frame(pod4, outside4, tcp, segment, {.fragment = 0x2000}), Reason::protocol_not_allowed);
  is_dropped_for("later", frame(pod4, outside4, tcp, segment, {.fragment = 0x2010}), Reason::protocol_not_allowed);
  is_dropped_for("last", frame(pod4, outside4, tcp, segment, {.fragment = 0x0010}), Reason::protocol_not_allowed);
  is_relayed("whole, told not to fragment", frame(pod4, outside4, tcp, segment, {.fragment = 0x4000}));
  const auto segment6 = tcp_segment({pod6, 4000}, {outside6, 443});
  is_dropped_for("IPv6", frame(pod6, outside6, 44, join({{tcp, 0}, be16(1), be32(7), segment6})),
                 Reason::protocol_not_allowed);
  is_dropped_for("IPv6, of one piece", frame(pod6, outside6, 44, join({{tcp, 0}, be16(0), be32(7), segment6})),
                 Reason::protocol_not_allowed);
}

TEST_F(Packet, with_ip_options_is_dropped_wherever_it_goes) {
  const Bytes no_operations(4, 1);
  const Bytes loose_source_route = {0x83, 7, 4, 203, 0, 113, 9, 0};
  for (const auto& to : {outside4, neighbour4}) {
    for (const auto& options : {no_operations, loose_source_route, Bytes(40, 1)}) {
      is_dropped_for("IPv4 to " + to.to_string(),
                     frame(pod4, to, tcp, tcp_segment({pod4, 4000}, {to, 443}), {.options = options}),
                     Reason::protocol_not_allowed);
    }
  }
  for (const auto& to : {outside6, neighbour6}) {
    for (const int header : {0, 43, 51, 60, 135, 139, 140}) {
      const auto extension = join({{tcp, 0, 1, 4, 0, 0, 0, 0}, tcp_segment({pod6, 4000}, {to, 443})});
      is_dropped_for("IPv6 extension " + std::to_string(header) + " to " + to.to_string(),
                     frame(pod6, to, static_cast<std::uint8_t>(header), extension), Reason::protocol_not_allowed);
    }
  }
}

TEST_F(Packet, with_a_vlan_tag_is_dropped_wherever_it_goes) {
  for (const auto& to : {outside4, neighbour4}) {
    const auto inner = ipv4(pod4, to, tcp, tcp_segment({pod4, 4000}, {to, 443}));
    is_dropped_for("802.1Q", ethernet(0x8100, vlan_tag(7, ethertype_ipv4, inner)), Reason::protocol_not_allowed);
    is_dropped_for("802.1ad", ethernet(0x88a8, vlan_tag(7, ethertype_ipv4, inner)), Reason::protocol_not_allowed);
    is_dropped_for("priority tag", ethernet(0x8100, vlan_tag(0, ethertype_ipv4, inner)), Reason::protocol_not_allowed);
  }
}

TEST_F(Packet, that_is_no_ip_packet_is_dropped_except_arp) {
  passes_untouched("ARP", ethernet(ethertype_arp, Bytes(28, 1)));
  for (const int type : {0x88cc, 0x8847, 0x8863, 0x0842, 0x22f0, 0x0060}) {
    is_dropped_for("type " + std::to_string(type), ethernet(static_cast<std::uint16_t>(type), Bytes(64)),
                   Reason::protocol_not_allowed);
  }
}

TEST_F(Packet, of_anothers_source_is_dropped_wherever_it_goes) {
  for (const auto& from : {neighbour4, ip("10.1.0.3"), ip("0.0.0.0"), ip("127.0.0.1"), outside4}) {
    for (const auto& to : {ip("203.0.113.6"), ip("10.9.9.9")}) {
      is_dropped_for(from.to_string() + " to " + to.to_string(), tcp_frame({from, 4000}, {to, 443}),
                     Reason::source_spoofed);
    }
  }
  for (const auto& from : {neighbour6, ip("fd01::3"), ip("::"), ip("::1"), outside6, link_local}) {
    for (const auto& to : {ip("2001:db8::6"), ip("fd09::9")}) {
      is_dropped_for(from.to_string() + " to " + to.to_string(), tcp_frame({from, 4000}, {to, 443}),
                     Reason::source_spoofed);
    }
  }
}

TEST_F(Packet, of_ipv6_with_a_mapped_address_is_dropped) {
  const auto payload = tcp_segment({pod4, 4000}, {outside4, 443});
  is_dropped_for("both", ethernet(ethertype_ipv6, ipv6(pod4, outside4, tcp, payload)), Reason::source_spoofed);
  is_dropped_for("source", ethernet(ethertype_ipv6, ipv6(pod4, outside6, tcp, payload)), Reason::source_spoofed);
  is_dropped_for("destination", ethernet(ethertype_ipv6, ipv6(pod6, neighbour4, tcp, payload)), Reason::source_spoofed);
}

TEST_F(Packet, of_neighbour_discovery_stays_on_the_link) {
  const auto group = ip("ff02::1:ff00:3");
  for (const int type : {133, 135, 136}) {
    const auto number = static_cast<std::uint8_t>(type);
    passes_untouched("from link-local", neighbour_message(link_local, group, number, 255));
    passes_untouched("while testing an address", neighbour_message(ip("::"), group, number, 255));
    passes_untouched("from the pod's address", neighbour_message(pod6, group, number, 255));
  }
  is_dropped_for("forwarded once", neighbour_message(ip("::"), group, 135, 254), Reason::source_spoofed);
  is_dropped_for("to outside", neighbour_message(link_local, outside6, 135, 255), Reason::protocol_not_allowed);
  is_dropped_for("of anyone", neighbour_message(ip("fd01::3"), group, 136, 255), Reason::source_spoofed);
  is_dropped_for("to all of a site", neighbour_message(link_local, ip("ff05::2"), 133, 255),
                 Reason::protocol_not_allowed);
  passes_untouched("an echo on the link", frame(link_local, ip("fe80::1"), icmpv6,
                                                icmpv6_message(link_local, ip("fe80::1"), 128, 0, text("0000data"))));
}

// Shorter ones the kernel does not take for a trial run; live_test.cpp sends them.
TEST_F(Packet, cut_anywhere_behind_its_ip_header_is_dropped) {
  for (const auto& packet : {syn4(443), syn6(443), datagram4(123), datagram6(123), syn4(443, neighbour4)}) {
    const std::size_t header_end = read16(packet, 12) == ethertype_ipv4 ? 34 : 54;
    for (std::size_t size = header_end; size < packet.size(); ++size) {
      is_dropped_for(std::to_string(size), Bytes(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size)),
                     Reason::protocol_not_allowed);
    }
  }
}

TEST_F(Packet, whose_lengths_contradict_each_other_is_dropped) {
  const auto with = [](Bytes packet, std::size_t at, std::uint8_t value) {
    packet[at] = value;
    return packet;
  };
  const auto dropped = [&](const char* what, const Bytes& packet) {
    is_dropped_for(what, packet, Reason::protocol_not_allowed);
  };
  dropped("IPv4 total of 19", with(syn4(443), 17, 19));
  dropped("IPv4 total beyond the frame", with(syn4(443), 16, 1));
  dropped("IPv4 that ends inside TCP", with(syn4(443), 17, 39));
  dropped("IPv4 header of 16 bytes", with(syn4(443), 14, 0x44));
  dropped("IPv4 of version 5", with(syn4(443), 14, 0x55));
  dropped("IPv4 of version 6", with(syn4(443), 14, 0x65));
  dropped("IPv6 of version 4", with(syn6(443), 14, 0x40));
  dropped("IPv6 length of 0", with(syn6(443), 19, 0));
  dropped("IPv6 length beyond the frame", with(syn6(443), 18, 1));
  dropped("TCP header of 16 bytes", with(syn4(443), 46, 0x40));
  dropped("TCP header beyond the packet", with(syn4(443), 46, 0x60));
  dropped("TCP header beyond the packet, IPv6", with(syn6(443), 66, 0xf0));
  dropped("UDP cut by IPv4", with(datagram4(123), 17, 27));
  auto padded = syn4(443);
  padded.resize(60);
  is_relayed("Ethernet padding", padded);
}

TEST_F(Packet, of_an_unknown_pod_goes_inside_only) {
  must_be_done(kernel_->set_pod(pod_, {}));
  passes_untouched("internal", syn4(22, neighbour4));
  is_refused_for("registered TCP", syn4(443), Reason::pod_unknown);
  is_refused_for("registered TCP, IPv6", syn6(443), Reason::pod_unknown);
  is_refused_for("allowed UDP", datagram4(123), Reason::pod_unknown);
  is_dropped_for("ICMP", echo4(outside4), Reason::pod_unknown);
}

TEST_F(Packet, before_any_policy_is_refused_as_such) {
  auto config = lab_.config();
  config.generation = 0;
  lab_.map<std::uint32_t, sluice_config>("configs").put(0, config);
  is_refused_for("registered", syn4(443), Reason::policy_not_ready);
}

TEST_F(Packet, that_opens_a_connection_is_refused_when_the_heartbeat_is_stale) {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  const auto now_ns = static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000;
  set_heartbeat(now_ns - 3'100'000'000);
  is_refused_for("stale", syn4(443), Reason::policy_not_ready);
  is_refused_for("stale, IPv6", syn6(443), Reason::policy_not_ready);
  is_relayed("open connection", tcp_frame({pod4, 4000}, {outside4, 443}, {.flags = ack}));
  set_heartbeat(0);
  is_refused_for("never", syn4(443), Reason::policy_not_ready);
  kernel_->beat();
  is_relayed("fresh", syn4(443));
}

TEST_F(Packet, that_opens_a_connection_is_refused_when_nobody_listens) {
  stop_listening();
  is_refused_for("SYN", syn4(443), Reason::policy_not_ready);
  is_refused_for("SYN, IPv6", syn6(443), Reason::policy_not_ready);
  is_refused_for("segment of no connection", tcp_frame({pod4, 4000}, {outside4, 443}, {.flags = ack}),
                 Reason::policy_not_ready);
}

TEST_F(Packet, in_mode_audit_passes_and_tells_what_would_be) {
  know_pod(true);
  const std::vector<std::pair<Bytes, Reason>> rows = {{syn4(22), Reason::port_not_registered},
                                                      {datagram6(443), Reason::udp_not_allowed},
                                                      {echo4(outside4), Reason::protocol_not_allowed}};
  for (const auto& [packet, reason] : rows) {
    const auto verdict = pod_sends(packet);
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_PASSED));
    EXPECT_EQ(verdict.packet, packet);
    ASSERT_EQ(verdict.denials.size(), 1U);
    EXPECT_EQ(verdict.denials[0].reason, reason);
    EXPECT_TRUE(verdict.denials[0].audit);
  }
  is_relayed("registered", syn4(443));
  // Once a connection, not once a segment.
  passes_out("segment of no connection of ours", tcp_frame({pod4, 4000}, {outside4, 22}, {.flags = ack | psh}));
}

TEST_F(Packet, loses_our_mark_and_keeps_others) {
  const std::uint32_t foreign = 0xffffffcf;
  for (const std::uint32_t ours : {SLUICE_MARK_RELAY, SLUICE_MARK_PASSED}) {
    EXPECT_EQ(pod_sends(syn4(22, neighbour4), foreign | ours).mark, foreign);
    EXPECT_EQ(pod_sends(syn4(443), foreign | ours).mark, foreign | SLUICE_MARK_RELAY);
    EXPECT_EQ(pod_sends(datagram4(123), foreign | ours).mark, foreign | SLUICE_MARK_PASSED);
  }
}

TEST_F(Packet, with_the_mark_of_an_injected_one_and_no_flow_is_dropped) {
  for (const auto& packet : {syn4(22, neighbour4), syn4(443), datagram4(123), syn6(443)}) {
    EXPECT_EQ(pod_sends(packet, 0xffffffff).action, is_dropped);
    EXPECT_EQ(pod_sends(packet, SLUICE_MARK_INJECTED).action, is_dropped);
  }
}

TEST_F(Packet, that_is_denied_is_told_in_full) {
  const auto verdict = pod_sends(syn6(22));
  ASSERT_EQ(verdict.denials.size(), 1U);
  const auto& denial = verdict.denials[0];
  EXPECT_EQ(denial.ifindex, pod_);
  EXPECT_EQ(denial.source, (Endpoint{pod6, 4000}));
  EXPECT_EQ(denial.destination, (Endpoint{outside6, 22}));
  EXPECT_EQ(denial.protocol, tcp);
  EXPECT_FALSE(denial.guard);
}

TEST_F(Packet, floods_are_counted_beyond_the_budget) {
  constexpr std::size_t sent = 1000;
  std::size_t told = 0;
  for (std::size_t n = 0; n < sent; ++n) {
    run_program(from_pod_.get(), syn4(22), {.ifindex = pod_, .ingress_ifindex = pod_, .mark = 0});
  }
  EXPECT_EQ(kernel_->read_denials(10, [&](const auto&) { ++told; }), 10U);
  while (kernel_->read_denials(64, [&](const auto&) { ++told; }) != 0) {
  }
  EXPECT_GE(told, 100U);
  EXPECT_LT(told, sent);
  const auto counts = kernel_->take_counts();
  ASSERT_THAT(counts, ::testing::SizeIs(1));
  EXPECT_EQ(counts[0].reason, Reason::port_not_registered);
  EXPECT_EQ(counts[0].count + told, sent);
}

}  // namespace
}  // namespace sluice::test
