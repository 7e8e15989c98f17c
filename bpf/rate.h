/* How often something may happen. */
#pragma once

#include <linux/types.h>

#include "bpf/decide.h"

/* Takes one of `per_second`, and of `burst_ns` worth at once (the generic cell rate algorithm): *due_ns is when those
 * so far would have been spread evenly over time. Two CPUs at once may both take the last one, which does no harm. */
SLUICE_INLINE bool sluice_spend(__u64* due_ns, __u64 now_ns, __u32 per_second, __u64 burst_ns) {
  if (per_second == 0) return false;
  const __u64 from_ns = *due_ns > now_ns ? *due_ns : now_ns;
  if (from_ns - now_ns > burst_ns) return false;
  *due_ns = from_ns + 1000000000ULL / per_second;
  return true;
}
