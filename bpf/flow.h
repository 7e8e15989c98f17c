/* What happens to a segment of a flow: pure functions, compiled for BPF and, in the unit tests, for the host. They are
 * the gate: payload of a pod passes only when it stands behind what the agent approved, or the gateway has all of that.
 */
#pragma once

#include "bpf/decide.h"

enum sluice_step {
  SLUICE_STEP_PASS, /* translated */
  SLUICE_STEP_HOLD, /* shown to the agent, not passed */
  SLUICE_STEP_DROP,
  SLUICE_STEP_RESET, /* answered with RST */
};

/* How far two numbers of one connection can be apart: the largest window (RFC 7323 section 2.3). */
enum { SLUICE_MAX_WINDOW = 1 << 30 };

/* Sequence numbers compare modulo 2^32 (RFC 9293 section 3.4). */
SLUICE_INLINE bool sluice_before(__u32 a, __u32 b) {
  return (__s32)(a - b) < 0;
}

SLUICE_INLINE bool sluice_same_address(const struct sluice_address* a, const struct sluice_address* b) {
  const __u64* left = (const __u64*)a->bytes;
  const __u64* right = (const __u64*)b->bytes;
  return left[0] == right[0] && left[1] == right[1];
}

/* Of who does not say (RFC 9293 section 3.7.1). */
SLUICE_INLINE __u16 sluice_default_mss(bool is_v6) {
  return is_v6 ? 1220 : 536;
}

SLUICE_INLINE __u32 sluice_state_of(__u64 state) {
  return (__u32)(state & 0xff);
}

SLUICE_INLINE __u64 sluice_id_of(__u64 state) {
  return state >> 8;
}

SLUICE_INLINE __u64 sluice_make_state(__u64 id, __u32 state) {
  return id << 8 | state;
}

/* A segment that the pod sent, no SYN. `state` was read from the flow once. */
SLUICE_INLINE enum sluice_step sluice_step_from_pod(const struct sluice_flow* flow, __u32 state,
                                                    const struct sluice_segment* segment) {
  const bool bare = segment->payload == 0 && !segment->fin; /* acknowledges, and nothing else */
  if (segment->rst && !bare) return SLUICE_STEP_DROP;       /* no stack sends that, and its bytes were not read */
  switch (state) {
    case SLUICE_FLOW_OPENING:
      /* A RST here answers the gateway's memory of an earlier connection, which has to go before a new one can be. */
      return segment->rst ? SLUICE_STEP_PASS : SLUICE_STEP_DROP;
    case SLUICE_FLOW_HELD:
    case SLUICE_FLOW_JUDGING:
      if (segment->rst) return SLUICE_STEP_PASS;
      if (!bare) return SLUICE_STEP_HOLD;
      return sluice_before(flow->pod_isn + 1, segment->sequence) ? SLUICE_STEP_DROP : SLUICE_STEP_PASS;
    case SLUICE_FLOW_ALLOWED:
      if (segment->rst) return SLUICE_STEP_PASS;
      if (segment->payload != 0 && sluice_before(segment->sequence, flow->approved)) return SLUICE_STEP_HOLD;
      return segment->fin ? SLUICE_STEP_DROP : SLUICE_STEP_PASS; /* the pod repeats its FIN */
    case SLUICE_FLOW_OPEN:
      return SLUICE_STEP_PASS;
    case SLUICE_FLOW_DENIED:
      return bare || segment->rst ? SLUICE_STEP_DROP : SLUICE_STEP_RESET;
    case SLUICE_FLOW_ENDED:
    case SLUICE_FLOW_COLLECTED:
      return segment->payload != 0 ? SLUICE_STEP_RESET : SLUICE_STEP_PASS;
    default:
      return SLUICE_STEP_DROP;
  }
}

/* A segment from the gateway. */
SLUICE_INLINE enum sluice_step sluice_step_to_pod(__u32 state, const struct sluice_segment* segment) {
  switch (state) {
    case SLUICE_FLOW_ALLOWED:
    case SLUICE_FLOW_OPEN:
      return SLUICE_STEP_PASS;
    case SLUICE_FLOW_OPENING:
    case SLUICE_FLOW_HELD:
    case SLUICE_FLOW_JUDGING:
    case SLUICE_FLOW_ENDED:
    case SLUICE_FLOW_COLLECTED:
      return segment->payload == 0 ? SLUICE_STEP_PASS : SLUICE_STEP_DROP;
    default:
      return SLUICE_STEP_DROP;
  }
}

/* Bytes that the gateway counts before the pod's own: none until a verdict stands. */
SLUICE_INLINE __u32 sluice_shift_of(const struct sluice_flow* flow, __u32 state) {
  return state >= SLUICE_FLOW_ALLOWED ? flow->header : 0;
}

/* The pod's number for a gateway's. Until the gateway has all that was approved, what it has of the header alone is
 * nothing yet; afterwards no number of the header comes again, and numbers may have gone round. */
SLUICE_INLINE __u32 sluice_to_pod_number(const struct sluice_flow* flow, __u32 state, __u32 number) {
  const __u32 shifted = number - sluice_shift_of(flow, state);
  if (state != SLUICE_FLOW_ALLOWED) return shifted;
  const __u32 first = flow->pod_isn + 1;
  return sluice_before(shifted, first) ? first : shifted;
}
