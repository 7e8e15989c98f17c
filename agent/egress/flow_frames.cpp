#include "egress/flow_frames.h"

#include <algorithm>
#include <array>

namespace sluice::egress {
namespace {

constexpr std::size_t timestamps_bytes = 12;
constexpr std::size_t least_segment = 256;  // whatever the pod says that it takes

// From the pod's side to the gateway: the gate translates the addresses, the numbers are the gateway's already.
wire::TcpSegment towards_gateway(const kernel::Flow& flow) {
  wire::TcpSegment segment;
  std::copy(flow.ethernet.begin(), flow.ethernet.end(), segment.ethernet.begin());
  segment.source = flow.key.source;
  segment.destination = flow.key.destination;
  return segment;
}

// As if from where the pod dialled.
wire::TcpSegment towards_pod(const kernel::Flow& flow) {
  wire::TcpSegment segment;
  std::copy_n(flow.ethernet.begin() + 6, 6, segment.ethernet.begin());
  std::copy_n(flow.ethernet.begin(), 6, segment.ethernet.begin() + 6);
  segment.source = flow.key.destination;
  segment.destination = flow.key.source;
  return segment;
}

wire::TcpSegment answer_to(const kernel::Flow& flow, const wire::TcpSegment& newest, std::uint32_t acknowledged) {
  auto segment = towards_pod(flow);
  segment.ack = true;
  segment.sequence = flow.gateway_next;
  segment.acknowledgement = acknowledged;
  segment.window = 0xffff;
  if (newest.timestamps) segment.timestamps = {newest.timestamps->echo, newest.timestamps->value};
  return segment;
}

void send(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& segment) {
  std::array<std::uint8_t, 2048> small;
  const auto mark = kernel::injection_mark(flow.key.id);
  if (const auto size = wire::write_tcp_frame(segment, small); size != 0) {
    static_cast<void>(injector.send(ByteSpan(small).first(size), mark));
    return;
  }
  static_cast<void>(injector.send(wire::build_tcp_frame(segment), mark));
}

}  // namespace

void reset_gateway(net::Injector& injector, const kernel::Flow& flow) {
  auto segment = towards_gateway(flow);
  segment.rst = true;
  // Exactly the byte that the gateway expects next, or it would only ask back (RFC 5961 section 3.2).
  segment.sequence = flow.pod_acked + flow.header;
  send(injector, flow, segment);
  if (flow.header == 0 || flow.pod_acked != flow.pod_first) return;
  segment.sequence = flow.pod_acked;  // it may have nothing yet
  send(injector, flow, segment);
}

void reset_pod(net::Injector& injector, const kernel::Flow& flow) {
  auto segment = towards_pod(flow);
  segment.rst = true;
  segment.ack = true;
  segment.sequence = flow.gateway_acked;
  segment.acknowledgement = flow.state == kernel::FlowState::opening ? flow.pod_first : flow.pod_next;
  send(injector, flow, segment);
}

void send_to_gateway(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest, ByteSpan bytes,
                     std::size_t most) {
  auto segment = towards_gateway(flow);
  segment.traffic_class = newest.traffic_class;
  segment.ack = true;
  segment.acknowledgement = newest.acknowledgement;
  segment.window = newest.window;
  segment.timestamps = newest.timestamps;
  most = std::min<std::size_t>(most, flow.mss);
  if (segment.timestamps) most -= std::min(most, timestamps_bytes);
  most = std::max(most, least_segment);
  for (std::size_t at = 0; at < bytes.size(); at += most) {
    const auto size = std::min(most, bytes.size() - at);
    segment.sequence = flow.pod_first + static_cast<std::uint32_t>(at);
    segment.psh = at + size == bytes.size();
    segment.payload = bytes.subspan(at, size);
    send(injector, flow, segment);
  }
}

void acknowledge_to_pod(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest,
                        std::uint32_t acknowledged) {
  send(injector, flow, answer_to(flow, newest, acknowledged));
}

void answer_pod(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest,
                std::uint32_t acknowledged, ByteSpan answer) {
  auto segment = answer_to(flow, newest, acknowledged);
  segment.psh = true;
  segment.fin = true;
  segment.payload = answer;
  send(injector, flow, segment);
}

}  // namespace sluice::egress
