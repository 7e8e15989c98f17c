/* Telling the agent what was refused: an event while the interface has budget, else a count. */
#pragma once

#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/rate.h"

SLUICE_INLINE bool spend_event(__u32 ifindex, __u64 now_ns) {
  __u64* due_ns = bpf_map_lookup_elem(&budgets, &ifindex);
  if (due_ns) return sluice_spend(due_ns, now_ns, SLUICE_EVENTS_PER_SECOND, 1000000000ULL);
  return bpf_map_update_elem(&budgets, &ifindex, &now_ns, BPF_ANY) == 0;
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
  if (spend_event(ifindex, now_ns)) event = bpf_ringbuf_reserve(&events, sizeof *event, 0);
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
