// What the gate sends for a flow, in the pod's place to the gateway and in the gateway's to the pod.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "kernel/flows.h"
#include "net/injection.h"
#include "wire/tcp_segment.h"

namespace sluice::egress {

// All of these send and forget: what is lost is sent again, or was only for somebody's convenience.

// RST with the numbers that the gateway, or the pod, expects. `flow` is the newest that is known of it.
void reset_gateway(net::Injector& injector, const kernel::Flow& flow);
void reset_pod(net::Injector& injector, const kernel::Flow& flow);

// `bytes`, the first of the connection, with the acknowledgement, window and timestamps of `newest`, the pod's latest
// segment; in segments of at most `most` bytes and what both sides take.
void send_to_gateway(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest, ByteSpan bytes,
                     std::size_t most);

// Acknowledges everything before `acknowledged` to the pod, as an answer to `newest`; with `answer`, when there is one,
// and the end of the gateway's half.
void acknowledge_to_pod(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest,
                        std::uint32_t acknowledged);
void answer_pod(net::Injector& injector, const kernel::Flow& flow, const wire::TcpSegment& newest,
                std::uint32_t acknowledged, ByteSpan answer);

}  // namespace sluice::egress
