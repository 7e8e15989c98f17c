// A pod whose TCP port 443 goes through the gate: whole connections, segment by segment, as the pod and as the gateway
// sends them. Each test runs for IPv4 and for IPv6.
#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "support/gate.h"

namespace sluice::test {

inline constexpr std::uint8_t urg = 32;
inline constexpr std::uint32_t gateway_isn = 0xfffffff0;  // its numbers go round soon

// A TCP segment, taken apart. `sound`: both checksums, computed anew, and the lengths.
struct Segment {
  Endpoint source;
  Endpoint destination;
  std::uint32_t sequence = 0;
  std::uint32_t acknowledgement = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint16_t urgent = 0;
  Bytes options = {};
  Bytes payload = {};
  bool sound = false;
};
inline Segment segment_of(const Bytes& frame) {
  const auto packet = parse(frame);
  const auto& tcp_bytes = packet.payload;
  const auto header = static_cast<std::ptrdiff_t>((tcp_bytes[12] >> 4) * 4);
  return {
      {packet.source, read16(tcp_bytes, 0)},
      {packet.destination, read16(tcp_bytes, 2)},
      read32(tcp_bytes, 4),
      read32(tcp_bytes, 8),
      tcp_bytes[13],
      read16(tcp_bytes, 14),
      read16(tcp_bytes, 18),
      {tcp_bytes.begin() + 20, tcp_bytes.begin() + header},
      {tcp_bytes.begin() + header, tcp_bytes.end()},
      packet.header_sound && packet.protocol == tcp && packet.length + 14 == frame.size() && checksum_is_sound(packet)};
}

// With the urgent pointer set, and the checksum for it.
inline Bytes with_urgent_pointer(Bytes frame, std::uint16_t pointer) {
  const std::size_t at = read16(frame, 12) == ethertype_ipv4 ? 34 : 54;
  const std::uint32_t sum = read16(frame, at + 16) ^ 0xffffU;
  write16(frame, at + 18, pointer);
  const std::uint32_t raised = sum + pointer;
  write16(frame, at + 16, ((raised & 0xffff) + (raised >> 16)) ^ 0xffffU);
  return frame;
}

// One connection as the pod dialled it, and as its gateway has it.
struct Call {
  Endpoint pod;
  Endpoint destination;
  Endpoint gateway;
  std::uint16_t source_port = 0;  // towards the gateway
  std::uint32_t first = 0;        // sequence number of the pod's first byte
  kernel::FlowKey key;
};

struct Told {
  kernel::UpcallKind kind;
  std::uint64_t id;
  kernel::FlowState state;
  Bytes frame;
};

class Flows : public Gate, public ::testing::WithParamInterface<bool> {
 protected:
  using State = kernel::FlowState;
  using Kind = kernel::UpcallKind;
  using FlowVerdict = kernel::Verdict;
  static constexpr std::uint32_t gateway_number = 7;
  static constexpr std::uint32_t server_first_number = 8;
  static constexpr std::uint32_t flow_limit = 100;

  Flows() {
    auto gated = any_address(443);
    gated.gated = true;
    gated.gateway = gateway_number;
    auto opaque = any_address(25);
    opaque.gated = true;
    opaque.opaque = true;
    opaque.gateway = server_first_number;
    must_be_done(kernel_->set_ports({gated, opaque, any_address(80)}));
    limit_flows(flow_limit);
    for (const auto number : {gateway_number, server_first_number}) set_gateways(number, {gateway_});
  }

  void set_gateways(std::uint32_t number, const std::vector<Endpoint>& addresses) {
    must_be_done(kernel_->flows().set_gateway(number, addresses));
  }

  // What the pod, or the gateway, sends on a connection.
  static Bytes from_pod(const Call& call, const TcpFields& fields) {
    return tcp_frame(call.pod, call.destination, fields);
  }
  static Bytes from_gateway(const Call& call, const TcpFields& fields) {
    return tcp_frame(call.gateway, {call.pod.address, call.source_port}, fields);
  }
  Verdict pod_says(const Call& call, const TcpFields& fields) { return pod_sends(from_pod(call, fields)); }
  Verdict gateway_says(const Call& call, const TcpFields& fields) {
    return pod_receives(from_gateway(call, fields), uplink_);
  }

  // Claims about one segment: it passes, with checksums that are right, from whom to whom it has to.
  Segment reaches_gateway(const Call& call, const TcpFields& fields) {
    const auto verdict = pod_says(call, fields);
    EXPECT_EQ(verdict.action, goes_on);
    EXPECT_EQ(verdict.mark, static_cast<std::uint32_t>(SLUICE_MARK_PASSED));
    const auto segment = segment_of(verdict.packet);
    EXPECT_TRUE(segment.sound);
    EXPECT_EQ(segment.source, (Endpoint{call.pod.address, call.source_port}));
    EXPECT_EQ(segment.destination, call.gateway);
    EXPECT_EQ(segment.flags, fields.flags & ~urg);
    return segment;
  }
  Segment reaches_pod(const Call& call, const TcpFields& fields) {
    const auto verdict = gateway_says(call, fields);
    EXPECT_EQ(verdict.action, goes_on);
    const auto segment = segment_of(verdict.packet);
    EXPECT_TRUE(segment.sound);
    EXPECT_EQ(segment.source, call.destination);
    EXPECT_EQ(segment.destination, call.pod);
    EXPECT_EQ(segment.flags, fields.flags & ~urg);
    return segment;
  }
  void pod_is_not_heard(const Call& call, const TcpFields& fields) {
    EXPECT_EQ(pod_says(call, fields).action, is_dropped);
  }
  void gateway_is_not_heard(const Call& call, const TcpFields& fields) {
    EXPECT_EQ(gateway_says(call, fields).action, is_dropped);
  }
  // The program's own answer to the pod.
  Segment is_answered(const Call& call, const TcpFields& fields) {
    const auto verdict = pod_says(call, fields);
    EXPECT_EQ(verdict.action, is_sent_back);
    const auto segment = segment_of(verdict.packet);
    EXPECT_TRUE(segment.sound);
    EXPECT_EQ(segment.source, call.destination);
    EXPECT_EQ(segment.destination, call.pod);
    return segment;
  }
  void is_reset(const Call& call, const TcpFields& fields) {
    const auto segment = is_answered(call, fields);
    EXPECT_EQ(segment.flags, rst);
    EXPECT_EQ(segment.sequence, fields.acknowledgement);
  }

  // The connection's beginning. Its frames may have been sent before.
  // What goes on on the same ports ends by it: the pod's second SYN begins the new one then.
  Call dial(const Endpoint& from, const Endpoint& to, const TcpFields& fields) {
    auto verdict = pod_sends(tcp_frame(from, to, fields));
    if (segment_of(verdict.packet).flags == rst) verdict = pod_sends(tcp_frame(from, to, fields));
    EXPECT_EQ(verdict.action, goes_on);
    const auto segment = segment_of(verdict.packet);
    Call call{.pod = from,
              .destination = to,
              .gateway = segment.destination,
              .source_port = segment.source.port,
              .first = fields.sequence + 1,
              .key = {}};
    if (const auto flow = flow_of(call)) call.key = flow->key;
    EXPECT_NE(call.key.id, 0U);
    return call;
  }
  Call dial(std::uint32_t isn = 1000) {
    return dial({pod_address_, 4000}, {outside_, 443}, {.flags = syn, .sequence = isn});
  }
  void shake_hands(const Call& call) {
    reaches_pod(call, {.flags = syn | ack, .sequence = gateway_isn, .acknowledgement = call.first});
    reaches_gateway(call, bare(call));
  }
  Call held(std::uint32_t isn = 1000) {
    auto call = dial(isn);
    shake_hands(call);
    return call;
  }
  Call allowed(std::uint32_t bytes, std::uint16_t header, std::uint32_t isn = 1000) {
    auto call = held(isn);
    EXPECT_TRUE(allow(call, bytes, header));
    return call;
  }
  // As many bytes were approved, and the gateway has them.
  Call open(std::uint32_t bytes = 500, std::uint16_t header = 0, std::uint32_t isn = 1000) {
    auto call = allowed(bytes, header, isn);
    gateway_says(call, {.flags = ack, .sequence = gateway_isn + 1, .acknowledgement = call.first + bytes + header});
    EXPECT_EQ(state_of(call), State::open);
    return call;
  }
  bool allow(const Call& call, std::uint32_t bytes, std::uint16_t header) {
    return kernel_->flows().judge({.kind = FlowVerdict::Kind::allow,
                                   .key = call.key,
                                   .host = 3,
                                   .note = 4,
                                   .approved = call.first + bytes,
                                   .header = header});
  }
  // Of a pod; everything else has room.
  void limit_flows(std::uint32_t flows_per_pod) {
    must_be_done(kernel_->set_flow_limits({100'000, flows_per_pod, 1'000'000, 1'000'000}));
  }
  bool deny(const kernel::FlowKey& key) const { return kernel_->flows().judge({FlowVerdict::Kind::deny, key}); }
  bool reroute(const kernel::FlowKey& key) const { return kernel_->flows().judge({FlowVerdict::Kind::reroute, key}); }
  bool collect(const kernel::FlowKey& key) const { return kernel_->flows().judge({FlowVerdict::Kind::collect, key}); }

  static TcpFields bare(const Call& call, std::uint32_t offset = 0) {
    return {.flags = ack, .sequence = call.first + offset, .acknowledgement = gateway_isn + 1};
  }
  static TcpFields data(const Call& call, std::uint32_t offset, std::size_t size, std::uint8_t flags = ack | psh) {
    return {.flags = flags,
            .sequence = call.first + offset,
            .acknowledgement = gateway_isn + 1,
            .options = {},
            .payload = Bytes(size, 'p')};
  }
  static TcpFields answer(const Call& call, std::uint32_t offset, std::size_t size, std::uint32_t acknowledged,
                          std::uint8_t flags = ack | psh) {
    return {.flags = flags,
            .sequence = gateway_isn + 1 + offset,
            .acknowledgement = call.first + acknowledged,
            .options = {},
            .payload = Bytes(size, 'g')};
  }

  static kernel::FlowPatience endless() {
    constexpr std::uint64_t year = 31'536'000'000'000'000;
    return {.opening = year, .held = year, .allowed = year, .idle = year, .answer = year, .ended = year};
  }
  // Removes what is over, as if its time had passed.
  void sweep_away() const {
    auto patience = endless();
    patience.ended = 0;
    std::uint64_t now_ns = 0;
    for (const auto& flow : kernel_->flows().all()) now_ns = std::max(now_ns, flow.seen_ns + 1);
    kernel_->flows().sweep(now_ns, patience);
  }

  std::optional<kernel::Flow> flow_of(const Call& call) const {
    for (const auto& flow : kernel_->flows().all()) {
      if (flow.key.source == call.pod && flow.key.destination == call.destination) return flow;
    }
    return std::nullopt;
  }
  State state_of(const Call& call) const {
    const auto flow = kernel_->flows().find(call.key);
    return flow ? flow->state : State{};
  }
  std::vector<Told> told() {
    std::vector<Told> all;
    const auto note = [&](const kernel::Upcall& upcall) {
      all.push_back({upcall.kind, upcall.flow.key.id, upcall.flow.state, {upcall.frame.begin(), upcall.frame.end()}});
    };
    kernel_->flows().read_upcalls(10000, note);
    kernel_->flows().read_endings(10000, note);
    return all;
  }
  std::size_t told(Kind kind) {
    const auto all = told();
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [kind](const Told& one) { return one.kind == kind; }));
  }
  sluice_load load() const { return loads().find(pod_).value_or(sluice_load{}); }
  void set_load(const sluice_load& load) const { loads().put(pod_, load); }
  std::uint64_t counted(sluice_counter counter) const {
    return lab_.map<std::uint32_t, std::uint64_t>("counters").find(counter).value();
  }
  std::vector<sluice_tuple> backs() const { return lab_.map<sluice_tuple, sluice_back>("backs").keys(); }

  const bool v6_flow_ = GetParam();
  const IpAddress pod_address_ = v6_flow_ ? pod6 : pod4;
  const IpAddress outside_ = v6_flow_ ? outside6 : outside4;
  const IpAddress elsewhere_ = v6_flow_ ? ip("2001:db8::6") : ip("203.0.113.6");
  const Endpoint gateway_ = endpoint(v6_flow_ ? "[fd00::99]:15443" : "10.0.0.99:15443");
  const Endpoint second_gateway_ = endpoint(v6_flow_ ? "[fd00::98]:15444" : "10.0.0.98:15444");

 private:
  PinnedMap<std::uint32_t, sluice_load> loads() const { return lab_.map<std::uint32_t, sluice_load>("loads"); }
};

}  // namespace sluice::test
