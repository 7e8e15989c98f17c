/* How far a flow has come: what each side sent and acknowledged. Each byte is counted once. */
#pragma once

#include "bpf/flow.h"
#include "bpf/maps.h"

/* To about a second, so that CPUs do not fight for it. */
SLUICE_INLINE void touch(struct sluice_flow* flow) {
  const __u64 now_ns = bpf_ktime_get_coarse_ns();
  if ((__s64)(now_ns - flow->seen_ns) > 500000000LL) flow->seen_ns = now_ns;
}

/* Raises a number, and with it the count of bytes, where one is given; each byte is counted once. */
SLUICE_INLINE void advance(__u32* number, __u64* bytes, __u32 to) {
  for (__u32 attempt = 0; attempt < 4; attempt++) {
    const __u32 from = *(volatile __u32*)number;
    if (!sluice_before(from, to)) return;
    if (__sync_val_compare_and_swap(number, from, to) == from) {
      if (bytes) __sync_fetch_and_add(bytes, to - from);
      return;
    }
  }
}

SLUICE_INLINE bool was_closed(__u32 flags) {
  const __u32 both = SLUICE_FLOW_POD_FIN_ACKED | SLUICE_FLOW_GATEWAY_FIN_ACKED;
  return (flags & both) == both;
}

/* Bytes that a segment brings, or that its FIN says were sent before it. An acknowledgement alone may stand behind
 * bytes that were lost: they are still to come, and to be counted. Nobody sends further than a window behind what was
 * `acked`. */
SLUICE_INLINE void note_bytes(__u32* next, __u32 acked, __u64* bytes, const struct sluice_segment* segment, __u32 end) {
  if (sluice_before(acked + SLUICE_MAX_WINDOW, end)) return;
  if (segment->payload != 0 || segment->fin) advance(next, bytes, end);
  if (segment->fin) advance(next, 0, end + 1);
}
