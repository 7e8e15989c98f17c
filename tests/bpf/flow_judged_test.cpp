// Claims about a flow that was judged: sequence numbers with and without a header, what waits for the approved bytes,
// and what a denied one may still say.
#include "support/flows.h"

#include <array>
#include <numeric>

namespace sluice::test {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint16_t header = 250;
constexpr std::uint32_t hello = 500;

class FlowJudged : public Flows {
 protected:
  std::vector<std::uint64_t> pieces() const { return lab_.map<std::uint64_t, sluice_piece>("pieces").keys(); }
  static Bytes sack(const std::vector<std::pair<std::uint32_t, std::uint32_t>>& blocks) {
    Bytes option = {1, 1, 5, static_cast<std::uint8_t>(2 + 8 * blocks.size())};
    for (const auto& [left, right] : blocks) option = join({option, be32(left), be32(right)});
    return option;
  }
  TcpFields acknowledges(const Call& call, std::uint32_t offset, const Bytes& options = {}) {
    return {.flags = ack,
            .sequence = gateway_isn + 1,
            .acknowledgement = call.first + offset,
            .options = options,
            .payload = {}};
  }
};

TEST_P(FlowJudged, point_5_approved_bytes_wait_until_the_gateway_has_them) {
  const auto call = allowed(hello, 0);
  pod_is_not_heard(call, data(call, 0, hello));
  pod_is_not_heard(call, data(call, hello - 1, 1));
  pod_is_not_heard(call, data(call, hello - 1, 100));
  EXPECT_EQ(told(Kind::held), 3U) << "they go up again";
  EXPECT_EQ(reaches_gateway(call, data(call, hello, 100)).payload, Bytes(100, 'p')) << "what follows passes";
  reaches_pod(call, acknowledges(call, hello - 1));
  EXPECT_EQ(state_of(call), State::allowed);
  pod_is_not_heard(call, data(call, 0, hello));
  reaches_pod(call, acknowledges(call, hello));
  EXPECT_EQ(state_of(call), State::open);
  EXPECT_EQ(reaches_gateway(call, data(call, 0, hello)).sequence, call.first);
  EXPECT_EQ(told(Kind::held), 1U);
}

TEST_P(FlowJudged, point_5_a_fin_does_not_pass_before_the_flow_is_open) {
  const auto call = allowed(hello, 0);
  pod_is_not_heard(call, data(call, hello, 0, ack | fin));
  pod_is_not_heard(call, data(call, hello, 10, ack | fin));
  pod_is_not_heard(call, data(call, 0, hello, ack | fin));
  EXPECT_FALSE(flow_of(call)->client_fin);
  reaches_pod(call, acknowledges(call, hello));
  reaches_gateway(call, data(call, hello, 10, ack | fin));
  EXPECT_TRUE(flow_of(call)->client_fin);
}

TEST_P(FlowJudged, point_5_an_acknowledgement_of_another_flow_opens_nothing) {
  const auto call = allowed(hello, header);
  gateway_says(call, acknowledges(call, hello));
  EXPECT_EQ(state_of(call), State::allowed) << "that is short of the header's bytes";
  gateway_says(call, {.flags = psh, .sequence = gateway_isn + 1, .acknowledgement = call.first + hello + header});
  EXPECT_EQ(state_of(call), State::allowed) << "without the ACK flag the number says nothing";
}

TEST_P(FlowJudged, point_8_towards_the_gateway_every_number_is_more_by_the_header) {
  for (const std::uint32_t isn : {1000U, 0xffffff00U, 0x7fffff00U, 0xfffffffeU}) {
    SCOPED_TRACE(isn);
    const auto call = allowed(hello, header, isn);
    EXPECT_EQ(reaches_gateway(call, bare(call)).sequence, call.first + header);
    EXPECT_EQ(reaches_gateway(call, data(call, hello, 10)).sequence, call.first + hello + header);
    reaches_pod(call, acknowledges(call, hello + header));
    ASSERT_EQ(state_of(call), State::open);
    EXPECT_EQ(reaches_gateway(call, data(call, 0, hello)).sequence, call.first + header);
    EXPECT_EQ(reaches_gateway(call, data(call, hello + 10, 10, ack | fin)).sequence, call.first + hello + 10 + header);
  }
}

TEST_P(FlowJudged, point_8_acknowledgements_are_less_by_it_and_never_below_the_first_byte) {
  for (const std::uint32_t isn : {1000U, 0xffffff00U, 0x7fffff00U, 0xfffffffeU}) {
    SCOPED_TRACE(isn);
    const auto call = allowed(hello, header, isn);
    for (const std::uint32_t inside : {0U, 1U, header - 1U, header + 0U}) {
      EXPECT_EQ(reaches_pod(call, acknowledges(call, inside)).acknowledgement, call.first);
    }
    EXPECT_EQ(reaches_pod(call, acknowledges(call, header + 1)).acknowledgement, call.first + 1);
    EXPECT_EQ(reaches_pod(call, acknowledges(call, header + hello - 1)).acknowledgement, call.first + hello - 1);
    EXPECT_EQ(state_of(call), State::allowed);
    EXPECT_EQ(reaches_pod(call, acknowledges(call, header + hello)).acknowledgement, call.first + hello);
    EXPECT_EQ(state_of(call), State::open);
    EXPECT_EQ(reaches_pod(call, acknowledges(call, header + hello + 90)).acknowledgement, call.first + hello + 90);
  }
}

TEST_P(FlowJudged, point_8_the_gateways_own_numbers_stay) {
  const auto call = open(hello, header);
  const auto segment = reaches_pod(call, answer(call, 77, 10, hello + header));
  EXPECT_EQ(segment.sequence, gateway_isn + 1 + 77);
  EXPECT_EQ(segment.payload, Bytes(10, 'g'));
  auto fields = data(call, hello, 10);
  fields.acknowledgement = gateway_isn + 88;
  fields.options = sack({{gateway_isn + 100, gateway_isn + 200}});
  const auto out = reaches_gateway(call, fields);
  EXPECT_EQ(out.acknowledgement, gateway_isn + 88);
  EXPECT_EQ(out.options, fields.options) << "what the pod selectively acknowledges are the gateway's";
}

TEST_P(FlowJudged, point_8_selective_acknowledgements_are_shifted_too) {
  for (const std::uint32_t isn : {1000U, 0xffffff00U}) {
    const auto call = open(hello, header, isn);
    const std::uint32_t base = call.first + hello;
    for (std::size_t count = 1; count <= 4; ++count) {
      std::vector<std::pair<std::uint32_t, std::uint32_t>> theirs;
      std::vector<std::pair<std::uint32_t, std::uint32_t>> pods;
      for (std::uint32_t n = 0; n < count; ++n) {
        const std::uint32_t left = base + 1000 + 3000 * n;
        pods.emplace_back(left, left + 1000);
        theirs.emplace_back(left + header, left + 1000 + header);
      }
      EXPECT_EQ(reaches_pod(call, acknowledges(call, hello + header, sack(theirs))).options, sack(pods));
    }
    // As Linux writes them, behind timestamps.
    const Bytes timestamps = {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2};
    const auto three = sack({{base + 1000, base + 2000}, {base + 3000, base + 4000}, {base + 5000, base + 6000}});
    const auto shifted = sack({{base + 1000 + header, base + 2000 + header},
                               {base + 3000 + header, base + 4000 + header},
                               {base + 5000 + header, base + 6000 + header}});
    EXPECT_EQ(reaches_pod(call, acknowledges(call, hello + header, join({timestamps, shifted}))).options,
              join({timestamps, three}));
  }
}

TEST_P(FlowJudged, point_8_one_that_says_nothing_of_the_pods_bytes_is_blanked) {
  const auto call = allowed(hello, header);
  const auto inside = sack({{call.first + 10, call.first + 100}});
  EXPECT_EQ(reaches_pod(call, acknowledges(call, 0, inside)).options, Bytes(inside.size(), 1));
  const auto across = sack({{call.first + 10, call.first + header + 100}});
  EXPECT_EQ(reaches_pod(call, acknowledges(call, 0, across)).options, sack({{call.first, call.first + 100}}));
  const auto behind = sack({{call.first + header + 100, call.first + header + 200}});
  EXPECT_EQ(reaches_pod(call, acknowledges(call, 0, behind)).options, sack({{call.first + 100, call.first + 200}}));
}

TEST_P(FlowJudged, point_8_a_broken_selective_acknowledgement_breaks_nothing) {
  const auto call = open(hello, header);
  for (const Bytes& options : {Bytes{5, 40, 1, 1}, Bytes{5, 1, 1, 1}, Bytes{5, 2, 1, 1},
                               Bytes{5, 9, 1, 2, 3, 4, 5, 6, 7, 1, 1, 1}, Bytes{1, 1, 1, 5}, Bytes(40, 5)}) {
    EXPECT_EQ(reaches_pod(call, acknowledges(call, hello + header, options)).options, options);
  }
}

TEST_P(FlowJudged, without_a_header_options_stay_as_they_are) {
  const auto call = open(hello, 0);
  const auto options = sack({{call.first + 600, call.first + 700}});
  EXPECT_EQ(reaches_pod(call, acknowledges(call, hello, options)).options, options);
}

TEST_P(FlowJudged, point_8_a_header_alone_is_waited_for) {
  const auto call = allowed(0, header);
  EXPECT_EQ(reaches_pod(call, acknowledges(call, 0)).acknowledgement, call.first);
  EXPECT_EQ(state_of(call), State::allowed);
  EXPECT_EQ(reaches_pod(call, acknowledges(call, header)).acknowledgement, call.first);
  EXPECT_EQ(state_of(call), State::open);
}

TEST_P(FlowJudged, with_nothing_to_send_it_is_open_at_once) {
  const auto call = allowed(0, 0);
  EXPECT_EQ(state_of(call), State::open);
  EXPECT_EQ(reaches_gateway(call, data(call, 0, 10)).sequence, call.first);
  reaches_pod(call, answer(call, 0, 10, 0));
}

TEST_P(FlowJudged, the_verdict_stands_in_the_flow) {
  const auto call = allowed(hello, header);
  const auto flow = flow_of(call);
  EXPECT_EQ(flow->host, 3U);
  EXPECT_EQ(flow->note, 4);
  EXPECT_EQ(flow->approved, call.first + hello);
  EXPECT_EQ(flow->header, header);
  EXPECT_EQ(flow->bytes_sent, hello) << "the header's bytes are not the pod's";
  EXPECT_EQ(load().undecided, 0U);
  EXPECT_EQ(load().live, 1U);
}

TEST_P(FlowJudged, point_10_what_is_sent_for_it_is_kept_with_its_verdict_and_outlives_the_agent) {
  const auto call = held();
  Bytes bytes(header);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{1});
  ASSERT_DONE(kernel_->flows().keep_headers(std::array{kernel::FlowHeader{call.key.id, bytes}}));
  EXPECT_FALSE(kernel_->flows().promised(call.key.id)) << "no verdict stands";
  FlowVerdict verdict{.kind = FlowVerdict::Kind::allow, .key = call.key, .approved = call.first + hello};
  verdict.header = header;
  verdict.digest.fill(0xab);
  ASSERT_TRUE(kernel_->flows().judge(verdict));
  kernel_.reset();
  kernel_ = lab_.open();
  kernel_->flows().drop_promises_without({call.key.id});
  const auto kept = kernel_->flows().promised(call.key.id);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->header, bytes);
  EXPECT_EQ(kept->approved, call.first + hello);
  EXPECT_EQ(kept->digest, verdict.digest);
  EXPECT_FALSE(kernel_->flows().promised(call.key.id + 1));
  kernel_->flows().drop_promises_without({});
  EXPECT_FALSE(kernel_->flows().promised(call.key.id));
  EXPECT_THAT(pieces(), IsEmpty());
}

TEST_P(FlowJudged, point_10_a_header_without_a_verdict_is_dropped_at_the_next_start) {
  const auto call = held();
  const Bytes bytes(header);
  ASSERT_DONE(kernel_->flows().keep_headers(std::array{kernel::FlowHeader{call.key.id, bytes}}));
  EXPECT_THAT(pieces(), SizeIs(2));
  kernel_->flows().drop_promises_without({call.key.id});
  EXPECT_THAT(pieces(), IsEmpty());
}

TEST_P(FlowJudged, a_header_that_is_too_large_is_not_kept) {
  const Bytes bytes(kernel::max_promised_header_bytes + 1);
  EXPECT_FALSE(kernel_->flows().keep_headers(std::array{kernel::FlowHeader{5, bytes}}).ok());
}

TEST_P(FlowJudged, point_10_a_promise_goes_with_the_verdict_that_did_not_stand) {
  const auto opening = dial();
  EXPECT_FALSE(allow(opening, hello, 0));
  EXPECT_FALSE(kernel_->flows().promised(opening.key.id));
}

TEST_P(FlowJudged, point_10_a_promise_goes_with_a_flow_that_ends_before_the_gateway_has_it) {
  const auto call = held();
  const Bytes bytes(header);
  ASSERT_DONE(kernel_->flows().keep_headers(std::array{kernel::FlowHeader{call.key.id, bytes}}));
  ASSERT_TRUE(allow(call, hello, header));
  ASSERT_TRUE(kernel_->flows().promised(call.key.id));
  reaches_gateway(call, {.flags = rst, .sequence = call.first + hello});
  EXPECT_EQ(state_of(call), State::ended);
  EXPECT_FALSE(kernel_->flows().promised(call.key.id));
  EXPECT_THAT(pieces(), IsEmpty());
  // The gateway's acknowledgement comes late, and says nothing about that.
  reaches_pod(call, answer(call, 0, 0, hello + header, ack));
  EXPECT_EQ(flow_of(call)->pod_acked, call.first + hello);
}

TEST_P(FlowJudged, point_10_without_room_for_its_promise_nothing_is_allowed) {
  const auto call = held();
  const auto promises = lab_.map<std::uint64_t, sluice_promise>("promises");
  for (std::uint64_t id = 1; id <= SLUICE_MAX_PROMISES; ++id) promises.put(call.key.id + id, {});
  std::array verdicts{FlowVerdict{.kind = FlowVerdict::Kind::allow, .key = call.key, .approved = call.first + hello}};
  kernel_->flows().judge(verdicts);
  EXPECT_FALSE(verdicts[0].done);
  EXPECT_TRUE(verdicts[0].no_room);
  EXPECT_EQ(state_of(call), State::held);
  pod_is_not_heard(call, data(call, 0, hello));
}

TEST_P(FlowJudged, a_flow_is_allowed_once_and_never_after_a_denial) {
  const auto call = allowed(hello, 0);
  EXPECT_FALSE(allow(call, hello + 100, header));
  EXPECT_EQ(flow_of(call)->approved, call.first + hello);
  EXPECT_TRUE(deny(call.key));
  EXPECT_FALSE(allow(call, hello, 0));
  EXPECT_FALSE(deny(call.key));
  EXPECT_EQ(state_of(call), State::denied);
  const auto opening = dial({pod_address_, 4001}, {outside_, 443}, {});
  EXPECT_FALSE(allow(opening, hello, 0)) << "the gateway has not answered";
}

TEST_P(FlowJudged, point_9_a_denied_flow_is_silent_and_payload_is_reset) {
  const auto call = held();
  ASSERT_TRUE(deny(call.key));
  pod_is_not_heard(call, bare(call));
  pod_is_not_heard(call, bare(call, 100));
  pod_is_not_heard(call, {.flags = rst, .sequence = call.first});
  is_reset(call, data(call, 0, 10));
  is_reset(call, data(call, 500, 10, ack | fin));
  is_reset(call, data(call, 0, 0, ack | fin));
  gateway_is_not_heard(call, answer(call, 0, 10, 0));
  gateway_is_not_heard(call, answer(call, 0, 0, 0, ack));
  gateway_is_not_heard(call, answer(call, 0, 0, 0, ack | fin));
  gateway_is_not_heard(call, answer(call, 0, 0, 0, rst));
  EXPECT_EQ(state_of(call), State::denied);
  EXPECT_THAT(told(), IsEmpty());
  EXPECT_EQ(load().live, 0U);
  EXPECT_EQ(load().undecided, 0U);
  EXPECT_EQ(load().entries, 1U);
}

TEST_P(FlowJudged, point_9_what_the_agent_sends_for_a_denied_flow_still_goes_both_ways) {
  const auto call = held();
  ASSERT_TRUE(deny(call.key));
  const auto mark = kernel::injection_mark(call.key.id);
  const auto reset = pod_sends(from_pod(call, {.flags = rst, .sequence = call.first}), mark);
  EXPECT_EQ(reset.action, goes_on);
  EXPECT_EQ(segment_of(reset.packet).destination, gateway_);
  const auto alert = tcp_frame(call.destination, call.pod, answer(call, 0, 7, 100));
  const auto verdict = run(to_pod_.get(), alert, {.ifindex = pod_, .ingress_ifindex = 0, .mark = mark});
  EXPECT_EQ(verdict.action, goes_on);
  EXPECT_EQ(verdict.mark, 0U);
  EXPECT_EQ(verdict.packet, alert);
}

TEST_P(FlowJudged, point_12_an_open_flow_can_be_cut) {
  const auto call = open(hello, header);
  reaches_gateway(call, data(call, hello, 10));
  reaches_pod(call, answer(call, 0, 30, hello + header + 10));
  ASSERT_TRUE(deny(call.key));
  is_reset(call, data(call, hello + 10, 10));
  gateway_is_not_heard(call, answer(call, 30, 10, hello + header + 10));
  const auto flow = flow_of(call);
  EXPECT_EQ(flow->pod_acked, call.first + hello + 10) << "by these numbers both sides are told";
  EXPECT_EQ(flow->pod_next, call.first + hello + 10);
  EXPECT_EQ(flow->gateway_next, gateway_isn + 31);
  EXPECT_EQ(flow->gateway_acked, gateway_isn + 1);
  EXPECT_EQ(load().live, 0U);
}

TEST_P(FlowJudged, point_13_an_error_about_its_packet_tells_the_pod_of_its_own) {
  const auto call = open(hello, header);
  const auto before = *flow_of(call);
  const auto router = v6_flow_ ? ip("2001:db8:9::1") : ip("192.0.2.1");
  const auto quoted_segment = [&](const Endpoint& from, const Endpoint& to, std::uint32_t sequence) {
    const auto segment = tcp_segment(from, to, {.flags = ack, .sequence = sequence});
    return v6_flow_ ? ipv6(from.address, to.address, tcp, segment) : ipv4(from.address, to.address, tcp, segment);
  };
  const auto error = [&](std::uint8_t type, std::uint8_t code, const Bytes& quoted) {
    const auto rest = join({be32(1400), quoted});
    return frame(router, pod_address_, v6_flow_ ? icmpv6 : icmp,
                 v6_flow_ ? icmpv6_message(router, pod_address_, type, code, rest) : icmp_message(type, code, rest));
  };
  const auto theirs = quoted_segment({pod_address_, call.source_port}, call.gateway, call.first + hello + 10 + header);
  const auto pods = quoted_segment(call.pod, call.destination, call.first + hello + 10);
  const std::size_t ip_bytes = v6_flow_ ? 40 : 20;
  const std::vector<std::pair<int, int>> kinds =
      v6_flow_ ? std::vector<std::pair<int, int>>{{2, 0}, {1, 0}, {3, 0}, {4, 0}}
               : std::vector<std::pair<int, int>>{{3, 4}, {3, 1}, {11, 0}, {12, 0}};
  for (const auto& [type, code] : kinds) {
    SCOPED_TRACE(type);
    const auto message = error(static_cast<std::uint8_t>(type), static_cast<std::uint8_t>(code), theirs);
    const auto verdict = pod_receives(message, uplink_);
    ASSERT_EQ(verdict.action, goes_on);
    const auto packet = parse(verdict.packet);
    EXPECT_TRUE(packet.header_sound);
    EXPECT_TRUE(checksum_is_sound(packet));
    EXPECT_EQ(packet.source, router);
    EXPECT_EQ(read32(packet.payload, 4), 1400U);
    // The IP header and as much of TCP as names the segment; what follows is only looked at by people.
    const auto quoted = packet.payload.begin() + 8;
    EXPECT_EQ(Bytes(quoted, quoted + static_cast<std::ptrdiff_t>(ip_bytes + 8)),
              Bytes(pods.begin(), pods.begin() + static_cast<std::ptrdiff_t>(ip_bytes + 8)));
  }
  const auto untouched = [&](const char* what, const Bytes& message) {
    SCOPED_TRACE(what);
    const auto verdict = pod_receives(message, uplink_);
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_EQ(verdict.packet, message);
  };
  untouched("an echo", error(v6_flow_ ? 128 : 8, 0, theirs));
  untouched("of another connection",
            error(v6_flow_ ? 2 : 3, v6_flow_ ? 0 : 4, quoted_segment({pod_address_, 9}, call.gateway, 0)));
  untouched("cut off", error(v6_flow_ ? 2 : 3, v6_flow_ ? 0 : 4, Bytes(theirs.begin(), theirs.begin() + 20)));
  const auto after = *flow_of(call);
  EXPECT_EQ(after.state, State::open);
  EXPECT_EQ(after.pod_acked, before.pod_acked);
  EXPECT_EQ(after.pod_next, before.pod_next);
}

INSTANTIATE_TEST_SUITE_P(, FlowJudged, ::testing::Bool(), family_name);

}  // namespace
}  // namespace sluice::test
