// Claims about the bytes by which from_pod refuses: what the pod's own stack gets as the answer.
#include "support/gate.h"

namespace sluice::test {
namespace {

constexpr std::uint16_t refused_port = 22;

class Refusal : public Gate {
 protected:
  // The answer to a packet that is refused, its addresses, MACs and checksums checked.
  Parsed answer_to(const Bytes& packet) {
    const auto verdict = pod_sends(packet);
    EXPECT_EQ(verdict.action, is_sent_back);
    EXPECT_EQ(verdict.mark & SLUICE_MARK_MASK, 0U);
    const auto sent = parse(packet);
    const auto answer = parse(verdict.packet);
    EXPECT_EQ(answer.destination_mac, sent.source_mac);
    EXPECT_EQ(answer.source_mac, sent.destination_mac);
    EXPECT_EQ(answer.ethertype, sent.ethertype);
    EXPECT_EQ(answer.source, sent.destination);
    EXPECT_EQ(answer.destination, sent.source);
    EXPECT_EQ(answer.length + 14, verdict.packet.size());
    EXPECT_TRUE(answer.header_sound);
    return answer;
  }

  // A RST with these numbers.
  void expect_reset(const Parsed& answer, const Endpoint& from, const Endpoint& to, std::uint8_t flags,
                    std::uint32_t sequence, std::uint32_t acknowledgement) {
    ASSERT_EQ(answer.protocol, tcp);
    ASSERT_EQ(answer.payload.size(), 20U);
    EXPECT_EQ(read16(answer.payload, 0), to.port);
    EXPECT_EQ(read16(answer.payload, 2), from.port);
    EXPECT_EQ(read32(answer.payload, 4), sequence);
    EXPECT_EQ(read32(answer.payload, 8), acknowledgement);
    EXPECT_EQ(answer.payload[12], 0x50);
    EXPECT_EQ(answer.payload[13], flags);
    EXPECT_EQ(read16(answer.payload, 18), 0U) << "urgent pointer";
    EXPECT_TRUE(checksum_is_sound(answer));
  }

  struct Family {
    const char* name;
    Endpoint pod;
    Endpoint outside;
  };
  static inline const Family families[] = {{"IPv4", {pod4, 4000}, {outside4, refused_port}},
                                           {"IPv6", {pod6, 4000}, {outside6, refused_port}}};
};

TEST_F(Refusal, of_a_syn_acknowledges_all_it_carried) {
  const Bytes options = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7};
  struct Row {
    const char* name;
    TcpFields fields;
    std::uint32_t acknowledged;
  };
  const Row rows[] = {
      {"bare", {.flags = syn, .sequence = 1000}, 1001},
      {"with options", {.flags = syn, .sequence = 1000, .acknowledgement = 0, .options = options}, 1001},
      {"with data",
       {.flags = syn, .sequence = 1000, .acknowledgement = 0, .options = options, .payload = text("early data!")},
       1012},
      {"with FIN", {.flags = syn | fin, .sequence = 1000}, 1002},
      {"at the end of the sequence space", {.flags = syn, .sequence = 0xffffffff}, 0},
  };
  for (const auto& [family, pod, outside] : families) {
    for (const auto& [name, fields, acknowledged] : rows) {
      SCOPED_TRACE(std::string(family) + " " + name);
      expect_reset(answer_to(tcp_frame(pod, outside, fields)), pod, outside, rst | ack, 0, acknowledged);
    }
  }
}

TEST_F(Refusal, of_a_segment_has_the_number_that_the_peer_expects) {
  stop_listening();
  for (const auto& [family, pod, outside] : families) {
    SCOPED_TRACE(family);
    const TcpFields data{
        .flags = ack | psh, .sequence = 1000, .acknowledgement = 777, .options = {}, .payload = text("data")};
    expect_reset(answer_to(tcp_frame(pod, outside, data)), pod, outside, rst, 777, 0);
    const TcpFields bare{.flags = psh, .sequence = 1000, .acknowledgement = 0, .options = {}, .payload = text("data")};
    expect_reset(answer_to(tcp_frame(pod, outside, bare)), pod, outside, rst | ack, 0, 1004);
  }
}

TEST_F(Refusal, of_a_reset_is_silence) {
  stop_listening();
  for (const auto& [family, pod, outside] : families) {
    is_dropped_for(family, tcp_frame(pod, outside, {.flags = rst}), Reason::policy_not_ready);
    is_dropped_for(family, tcp_frame(pod, outside, {.flags = rst | ack}), Reason::policy_not_ready);
  }
}

TEST_F(Refusal, leaves_a_checksum_that_is_still_to_be_completed_like_that) {
  for (const auto& [family, pod, outside] : families) {
    SCOPED_TRACE(family);
    auto segment = tcp_segment(pod, outside);
    write16(segment, 16, sum16(pseudo_header(pod.address, outside.address, tcp, segment.size())));
    const auto answer = answer_to(frame(pod.address, outside.address, tcp, segment));
    ASSERT_EQ(answer.payload.size(), 20U);
    EXPECT_EQ(read16(answer.payload, 16), sum16(pseudo_header(outside.address, pod.address, tcp, 20)));
  }
}

TEST_F(Refusal, of_a_padded_packet_is_not_padded) {
  auto packet = tcp_frame({pod4, 4000}, {outside4, refused_port});
  packet.resize(60);
  expect_reset(answer_to(packet), {pod4, 4000}, {outside4, refused_port}, rst | ack, 0, 1001);
}

TEST_F(Refusal, of_a_datagram_is_port_unreachable_around_its_headers) {
  for (const auto& [family, pod, outside] : families) {
    for (const std::size_t size : {0, 1, 5, 512, 1400}) {
      SCOPED_TRACE(std::string(family) + " " + std::to_string(size));
      const auto packet = udp_frame(pod, outside, Bytes(size, 'x'));
      const auto answer = answer_to(packet);
      const bool is_v4 = pod.address.is_v4();
      const std::size_t quoted = is_v4 ? 28 : 48;
      ASSERT_EQ(answer.protocol, is_v4 ? icmp : icmpv6);
      ASSERT_EQ(answer.payload.size(), 8 + quoted);
      EXPECT_EQ(answer.payload[0], is_v4 ? 3 : 1);
      EXPECT_EQ(answer.payload[1], is_v4 ? 3 : 4);
      EXPECT_EQ(read32(answer.payload, 4), 0U);
      EXPECT_TRUE(checksum_is_sound(answer));
      EXPECT_TRUE(std::equal(answer.payload.begin() + 8, answer.payload.end(), packet.begin() + 14))
          << "the quoted headers are those of the datagram";
    }
  }
}

}  // namespace
}  // namespace sluice::test
