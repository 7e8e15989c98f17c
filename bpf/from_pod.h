/* A pod's segments of a flow, and what the agent sends in its place. */
#pragma once

#include "bpf/facts.h"
#include "bpf/hold.h"
#include "bpf/progress.h"
#include "bpf/refuse.h"
#include "bpf/report.h"
#include "bpf/steer.h"
#include "bpf/translate.h"

/* A segment of the pod that passes. */
SLUICE_INLINE void note_from_pod(struct sluice_flow* flow, __u32 state, const struct sluice_segment* segment) {
  const __u32 end = segment->sequence + segment->payload;
  if (state == SLUICE_FLOW_ALLOWED || state == SLUICE_FLOW_OPEN) {
    note_bytes(&flow->pod_next, flow->pod_acked, &flow->bytes_sent, segment, end);
  }
  if (segment->fin) {
    flow->pod_fin = end + 1;
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_POD_FIN);
  }
  if (!segment->ack) return;
  if (!sluice_before(flow->gateway_next, segment->acknowledgement)) {
    advance(&flow->gateway_acked, 0, segment->acknowledgement);
  }
  if ((flow->flags & SLUICE_FLOW_GATEWAY_FIN) && segment->acknowledgement == flow->gateway_fin) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_GATEWAY_FIN_ACKED);
  }
}

/* Ends the flow however its state moves meanwhile. While it is being judged `judge` does. */
SLUICE_INLINE void end_by_reset(struct sluice_flow* flow, __u64 state, const struct sluice_tuple* tuple) {
  const __u64 id = sluice_id_of(state);
  for (__u32 attempt = 0; attempt < 4; attempt++) {
    const __u32 now = sluice_state_of(state);
    if (sluice_id_of(state) != id || !is_connected(now)) return;
    if (now == SLUICE_FLOW_JUDGING) {
      __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_RESET_AGAIN);
    } else if (end_flow(flow, state, tuple, SLUICE_END_CLIENT_RESET) == 0) {
      return;
    }
    state = *(volatile __u64*)&flow->state;
  }
}

enum reset_taken { reset_passes, reset_asks_back, reset_is_nobodys };

/* The pod's RST ends the flow when it stands in what was sent, its FIN with it, and not acknowledged yet. The gateway
 * takes it where it expects the next byte, and else asks back (RFC 5961 section 3.2): a flow that has ended still
 * passes that question and the pod's RST that answers it, and the agent sends one of its own. A RST behind all that may
 * follow bytes that did not pass: the pod is asked. Any other is nobody's. */
SLUICE_INLINE enum reset_taken take_reset(struct sluice_flow* flow, __u64 state, const struct sluice_tuple* tuple,
                                          const struct sluice_segment* segment) {
  const __u32 now = sluice_state_of(state);
  if (now != SLUICE_FLOW_ALLOWED && now != SLUICE_FLOW_OPEN) {
    end_by_reset(flow, state, tuple);
    return reset_passes;
  }
  const __u32 acked = flow->pod_acked;
  const __u32 last = flow->pod_next + (now == SLUICE_FLOW_ALLOWED); /* its FIN may have been dropped */
  if (sluice_before(segment->sequence, acked) || sluice_before(last, segment->sequence)) {
    count(SLUICE_COUNT_RESETS_IGNORED);
    const bool ahead = segment->sequence - last - 1 < SLUICE_MAX_WINDOW;
    return ahead ? reset_asks_back : reset_is_nobodys;
  }
  const bool exact = now == SLUICE_FLOW_OPEN && segment->sequence == acked;
  if (!exact) __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_RESET_AGAIN);
  end_by_reset(flow, state, tuple);
  return reset_passes;
}

SLUICE_INLINE int pass_to_gateway(struct __sk_buff* skb, const struct sluice_packet* packet,
                                  const struct sluice_flow* flow, __u64 id, __u32 sequence) {
  const struct sluice_rewrite rewrite = {
      .source = false,
      .address = flow->gateway,
      .source_port = flow->source_port,
      .destination_port = flow->gateway_port,
      .sequence = sequence,
      .acknowledgement = packet->segment.acknowledgement,
  };
  if (!is_still(flow, id) || (flow->flags & SLUICE_FLOW_REOPENING)) return TC_ACT_SHOT;
  if (rewrite_tcp(skb, packet, &rewrite)) return TC_ACT_SHOT;
  skb->mark |= SLUICE_MARK_PASSED;
  return tcx_next;
}

/* Held: the agent sees it. When there is none, and none came back in time, the pod hears it at once. */
SLUICE_INLINE int hold(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_tuple* tuple,
                       struct sluice_flow* flow, __u64 state) {
  if (agent_is_alive()) {
    show(skb, tuple, flow, SLUICE_UPCALL_HELD);
    return TC_ACT_SHOT;
  }
  end_flow(flow, state, tuple, SLUICE_END_CUT);
  if (is_undecided(sluice_state_of(state))) count_denial(skb->ifindex, SLUICE_REASON_POLICY_NOT_READY);
  return refuse_tcp(skb, packet);
}

__noinline int flow_from_pod(struct __sk_buff* skb, const struct sluice_packet* packet,
                             const struct sluice_tuple* tuple, struct sluice_flow* flow) {
  if (!packet || !tuple || !flow) return TC_ACT_SHOT;
  const __u64 state = *(volatile __u64*)&flow->state;
  const __u32 now = sluice_state_of(state);
  const struct sluice_segment* segment = &packet->segment;
  if (now < SLUICE_FLOW_DENIED) touch(flow);
  switch (sluice_step_from_pod(flow, now, segment)) {
    case SLUICE_STEP_PASS:
      break;
    case SLUICE_STEP_HOLD:
      return hold(skb, packet, tuple, flow, state);
    case SLUICE_STEP_RESET:
      return refuse_tcp(skb, packet);
    default:
      return TC_ACT_SHOT;
  }
  const __u64 id = sluice_id_of(state);
  __u32 sequence = segment->sequence + sluice_shift_of(flow, now);
  if (!is_still(flow, id)) return TC_ACT_SHOT;
  if (segment->rst) {
    const enum reset_taken taken = take_reset(flow, state, tuple, segment);
    if (taken == reset_asks_back) return ask_back(skb, packet, flow->gateway_acked, flow->pod_acked);
    if (taken == reset_is_nobodys) return TC_ACT_SHOT;
    /* The gateway has nothing yet of what the pod believes it sent. */
    if (now == SLUICE_FLOW_HELD || now == SLUICE_FLOW_JUDGING) sequence = flow->pod_isn + 1;
    return pass_to_gateway(skb, packet, flow, id, sequence);
  }
  note_from_pod(flow, now, segment);
  if (now == SLUICE_FLOW_HELD && (flow->flags & (SLUICE_FLOW_ASK | SLUICE_FLOW_ASKED)) == SLUICE_FLOW_ASK &&
      show(skb, tuple, flow, SLUICE_UPCALL_ASK)) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_ASKED);
  }
  if (now < SLUICE_FLOW_DENIED && was_closed(flow->flags)) end_flow(flow, state, tuple, SLUICE_END_FINISHED);
  return pass_to_gateway(skb, packet, flow, id, sequence);
}

/* A SYN of a pod that has forgotten the flow ends it: the gateway gets a RST in its place, and the pod's next SYN, a
 * second later, begins another one. */
SLUICE_INLINE int replace_flow(struct __sk_buff* skb, struct sluice_packet* packet, const struct sluice_tuple* tuple,
                               struct sluice_flow* flow) {
  const __u64 state = *(volatile __u64*)&flow->state;
  if (!is_connected(sluice_state_of(state)) || sluice_state_of(state) == SLUICE_FLOW_JUDGING) return TC_ACT_SHOT;
  __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_RESET_AGAIN);
  if (end_flow(flow, state, tuple, SLUICE_END_REPLACED)) return TC_ACT_SHOT;
  if ((packet->segment.payload != 0 && cut_syn_payload(skb, packet)) || turn_into_reset(skb, packet)) {
    return TC_ACT_SHOT;
  }
  return pass_to_gateway(skb, packet, flow, sluice_id_of(state),
                         flow->pod_acked + sluice_shift_of(flow, sluice_state_of(state)));
}

/* A SYN for the relay, where a flow was: the port's calls went through the gate before. False: that one goes first, and
 * `action` is what becomes of the SYN. */
SLUICE_INLINE bool leave_flow(struct __sk_buff* skb, struct sluice_packet* packet, const struct sluice_tuple* tuple,
                              int* action) {
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, tuple);
  *action = TC_ACT_SHOT;
  if (flow && flow->ifindex == skb->ifindex && is_connected(sluice_state_of(*(volatile __u64*)&flow->state))) {
    const bool again = flow->pod_isn == packet->segment.sequence; /* a late copy */
    if (!again) *action = replace_flow(skb, packet, tuple, flow);
    return false;
  }
  return retire_tuple(tuple, skb->ifindex) == 0;
}

/* A SYN that the gate takes. */
__noinline int begin_flow(struct __sk_buff* skb, struct sluice_packet* packet, const struct sluice_tuple* tuple,
                          const struct sluice_port* port) {
  if (!packet || !tuple || !port) return TC_ACT_SHOT;
  if (packet->segment.fin || packet->segment.rst) return TC_ACT_SHOT; /* no stack opens a connection so */
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, tuple);
  const __u64 state = flow ? *(volatile __u64*)&flow->state : 0;
  const bool again = flow && flow->ifindex == skb->ifindex && flow->pod_isn == packet->segment.sequence;
  /* A late copy: what goes on, or is over, is not begun anew by it. */
  if (again && !is_undecided(sluice_state_of(state))) return TC_ACT_SHOT;
  if (!again && is_connected(sluice_state_of(state))) return replace_flow(skb, packet, tuple, flow);
  if (again) {
    if (reopen(flow, tuple)) return TC_ACT_SHOT;
  } else {
    if (flow && retire(flow, tuple)) return TC_ACT_SHOT;
    const int opened = open_flow(skb, packet, tuple, port);
    if (opened != 0 && flow) bpf_map_delete_elem(&flows, tuple); /* it was retired, and nobody else removes it */
    flow = bpf_map_lookup_elem(&flows, tuple);
    if (opened != 0 && flow) return TC_ACT_SHOT; /* a copy of this SYN was faster */
    if (!flow) {
      report(skb, skb->ifindex, packet, SLUICE_REASON_OVERLOADED, 0);
      return refuse_tcp(skb, packet);
    }
  }
  __u16 mss = flow->mss;
  if ((packet->segment.payload != 0 && cut_syn_payload(skb, packet)) || edit_options(skb, packet, 0, 0, &mss)) {
    return TC_ACT_SHOT;
  }
  if (!again) {
    flow->mss = mss; /* a copy may come after the gateway's answer */
    keep_syn(skb, packet, flow);
  }
  return pass_to_gateway(skb, packet, flow, sluice_id_of(flow->state), packet->segment.sequence);
}

/* What the agent made for a flow, as the pod would have sent it but with the gateway's numbers: the mark says for which
 * one, and only that one takes it. */
SLUICE_INLINE int pass_injected(struct __sk_buff* skb, const struct sluice_packet* packet, __u32 mark) {
  if (!is_plain_tcp(packet)) return TC_ACT_SHOT;
  struct sluice_tuple tuple;
  make_tuple(packet, &tuple);
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow || flow->ifindex != skb->ifindex) return TC_ACT_SHOT;
  const __u64 id = sluice_id_of(*(volatile __u64*)&flow->state);
  if (SLUICE_INJECTION_MARK(id) != mark) return TC_ACT_SHOT;
  skb->mark = 0;
  if (packet->tcp_syn && (sluice_state_of(flow->state) != SLUICE_FLOW_OPENING || reopen(flow, &tuple))) {
    return TC_ACT_SHOT;
  }
  return pass_to_gateway(skb, packet, flow, id, packet->segment.sequence);
}
