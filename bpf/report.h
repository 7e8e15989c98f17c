/* Telling the agent what was refused: an event while the interface has budget, else a count. */
#pragma once

#include "bpf/maps.h"
#include "bpf/parse.h"

/* Takes one event from the interface's budget: a virtual clock of when the events so far would have been spread evenly
 * over time (the generic cell rate algorithm). Two CPUs at once may both take the last one, which does no harm. */
SLUICE_INLINE bool spend_budget(__u32 ifindex, __u64 now_ns) {
  const __u64 interval_ns = 1000000000ULL / SLUICE_EVENTS_PER_SECOND;
  __u64* due_ns = bpf_map_lookup_elem(&budgets, &ifindex);
  if (!due_ns) {
    const __u64 first_ns = now_ns + interval_ns;
    return bpf_map_update_elem(&budgets, &ifindex, &first_ns, BPF_ANY) == 0;
  }
  const __u64 from_ns = *due_ns > now_ns ? *due_ns : now_ns;
  if (from_ns - now_ns > 1000000000ULL) return false;
  *due_ns = from_ns + interval_ns;
  return true;
}

SLUICE_INLINE void count_denial(__u32 ifindex, enum sluice_reason reason) {
  const struct sluice_denial_key key = {ifindex, reason};
  const __u64 one = 1;
  __u64* count = bpf_map_lookup_elem(&denials, &key);
  if (!count) {
    if (bpf_map_update_elem(&denials, &key, &one, BPF_NOEXIST) == 0) return;
    count = bpf_map_lookup_elem(&denials, &key); /* another CPU was first, or the map is full */
    if (!count) return;
  }
  __sync_fetch_and_add(count, 1);
}

SLUICE_INLINE void report(struct __sk_buff* skb, __u32 ifindex, const struct sluice_packet* packet,
                          enum sluice_reason reason, __u8 flags) {
  const __u64 now_ns = bpf_ktime_get_ns();
  struct sluice_event* event = 0;
  if (spend_budget(ifindex, now_ns)) event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
  if (!event) {
    count_denial(ifindex, reason);
    return;
  }
  __builtin_memset(event, 0, sizeof *event);
  event->time_ns = now_ns;
  event->cookie = bpf_get_socket_cookie(skb);
  event->ifindex = ifindex;
  event->protocol = packet->protocol;
  event->reason = reason;
  event->flags = flags;
  event->source_port = packet->source_port;
  event->destination_port = packet->destination_port;
  event->source = packet->source;
  event->destination = packet->destination;
  bpf_ringbuf_submit(event, 0);
}
