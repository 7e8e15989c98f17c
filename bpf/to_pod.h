/* A gateway's segments of a flow. */
#pragma once

#include "bpf/facts.h"
#include "bpf/hold.h"
#include "bpf/progress.h"
#include "bpf/translate.h"

/* A segment of the gateway that passes, after its acknowledgement was put in the pod's numbers. */
SLUICE_INLINE void note_to_pod(struct sluice_flow* flow, __u32 state, const struct sluice_segment* segment,
                               __u32 acknowledgement) {
  const __u32 end = segment->sequence + segment->payload;
  if (state == SLUICE_FLOW_ALLOWED || state == SLUICE_FLOW_OPEN) {
    note_bytes(&flow->gateway_next, flow->gateway_acked, &flow->bytes_received, segment, end);
  }
  if (segment->fin) {
    if (is_undecided(state) && segment->sequence == flow->gateway_next) advance(&flow->gateway_next, 0, end + 1);
    flow->gateway_fin = end + 1;
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_GATEWAY_FIN);
  }
  if (!segment->ack) return;
  if (!sluice_before(flow->pod_next, acknowledgement)) advance(&flow->pod_acked, 0, acknowledgement);
  if ((flow->flags & SLUICE_FLOW_POD_FIN) && acknowledgement == flow->pod_fin) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_POD_FIN_ACKED);
  }
}

/* The gateway's answer to the SYN; false: the pod is not to see it. A RST is for the agent: the pod's next SYN may find
 * another address. */
SLUICE_INLINE bool take_answer(struct sluice_flow* flow, __u64 state, const struct sluice_tuple* tuple,
                               const struct sluice_segment* segment) {
  if (!segment->ack || segment->acknowledgement != flow->pod_isn + 1) return true; /* of an earlier connection */
  if (segment->rst) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_REFUSED);
    tell(tuple, flow, SLUICE_UPCALL_REFUSED);
    return false;
  }
  if (!segment->syn) return true;
  if (flow->flags & SLUICE_FLOW_REOPENING) return false; /* of the address that is given up */
  flow->gateway_next = segment->sequence + 1;
  flow->gateway_acked = segment->sequence + 1;
  flow->pod_acked = segment->acknowledgement;
  change_state(flow, state, SLUICE_FLOW_HELD);
  return true;
}

/* The entry may have become another flow's since its key was found. */
SLUICE_INLINE bool is_from_gateway(const struct sluice_flow* flow, const struct sluice_packet* packet) {
  return sluice_same_address(&flow->gateway, &packet->source) && flow->gateway_port == packet->source_port &&
         flow->source_port == packet->destination_port;
}

__noinline int flow_to_pod(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_tuple* tuple,
                           struct sluice_flow* flow) {
  if (!packet || !tuple || !flow) return TC_ACT_SHOT;
  __u64 state = *(volatile __u64*)&flow->state;
  __u32 now = sluice_state_of(state);
  const __u64 id = sluice_id_of(state);
  const struct sluice_segment* segment = &packet->segment;
  if (!is_from_gateway(flow, packet) || !is_still(flow, id)) return TC_ACT_SHOT;
  if (sluice_step_to_pod(now, segment) != SLUICE_STEP_PASS) return TC_ACT_SHOT;
  if (now < SLUICE_FLOW_DENIED) touch(flow);
  if (now == SLUICE_FLOW_ALLOWED && segment->ack &&
      !sluice_before(segment->acknowledgement - flow->header, flow->approved)) {
    if (change_state(flow, state, SLUICE_FLOW_OPEN)) {
      state = sluice_make_state(id, SLUICE_FLOW_OPEN);
      now = SLUICE_FLOW_OPEN;
      drop_promise(id, flow->header);
    }
  }
  const __u32 acknowledgement =
      segment->ack ? sluice_to_pod_number(flow, now, segment->acknowledgement) : segment->acknowledgement;
  if (segment->syn) {
    __u16 mss = sluice_default_mss(packet->is_v6);
    if (edit_options(skb, packet, 0, 0, &mss)) return TC_ACT_SHOT;
    if (mss < flow->mss) flow->mss = mss;
  } else if (sluice_shift_of(flow, now) != 0 && segment->header > sizeof(struct tcphdr)) {
    __u16 mss = 0;
    if (edit_options(skb, packet, flow, now, &mss)) return TC_ACT_SHOT;
  }
  if (now == SLUICE_FLOW_OPENING) {
    if (!take_answer(flow, state, tuple, segment)) return TC_ACT_SHOT;
  } else if (segment->rst) {
    /* The pod takes one that stands exactly where it expects the next byte, and asks back about others. */
    const bool exact = segment->sequence == flow->gateway_acked || segment->sequence == flow->gateway_next;
    if (exact && now < SLUICE_FLOW_DENIED) end_flow(flow, state, tuple, SLUICE_END_UPSTREAM_RESET);
  } else {
    note_to_pod(flow, now, segment, acknowledgement);
    if (now < SLUICE_FLOW_DENIED && was_closed(flow->flags)) end_flow(flow, state, tuple, SLUICE_END_FINISHED);
  }
  const struct sluice_rewrite rewrite = {
      .source = true,
      .address = tuple->destination,
      .source_port = tuple->destination_port,
      .destination_port = tuple->source_port,
      .sequence = segment->sequence,
      .acknowledgement = acknowledgement,
  };
  return rewrite_tcp(skb, packet, &rewrite) ? TC_ACT_SHOT : tcx_next;
}
