/* Showing the agent what it has to look at, and the end of flows. */
#pragma once

#include "bpf/flow.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/rate.h"

SLUICE_INLINE const struct sluice_config* get_config(void) {
  const __u32 zero = 0;
  return bpf_map_lookup_elem(&configs, &zero);
}

SLUICE_INLINE void count(enum sluice_counter counter) {
  const __u32 index = counter;
  __u64* counted = bpf_map_lookup_elem(&counters, &index);
  if (counted) __sync_fetch_and_add(counted, 1);
}

SLUICE_INLINE struct sluice_load* get_load(__u32 ifindex) {
  struct sluice_load* load = bpf_map_lookup_elem(&loads, &ifindex);
  if (load) return load;
  const struct sluice_load none = {};
  bpf_map_update_elem(&loads, &ifindex, &none, BPF_NOEXIST);
  return bpf_map_lookup_elem(&loads, &ifindex);
}

/* An upcall of the interface's share, by the room it takes: a flood takes room from nobody else. */
SLUICE_INLINE bool spend_upcall(__u32 ifindex, __u32 bytes, __u64 now_ns) {
  struct sluice_load* load = get_load(ifindex);
  __u32 per_second = SLUICE_UPCALLS_PER_SECOND;
  if (bytes > SLUICE_FRAME_BYTES_L) {
    per_second /= 20;
  } else if (bytes > SLUICE_FRAME_BYTES_S) {
    per_second /= 4;
  }
  return load && sluice_spend(&load->shown_ns, now_ns, per_second, 50000000ULL);
}

SLUICE_INLINE void fill_upcall(struct sluice_upcall* upcall, const struct sluice_tuple* tuple,
                               const struct sluice_flow* flow, __u8 kind, bool first) {
  __builtin_memset(upcall, 0, sizeof *upcall);
  upcall->tuple = *tuple;
  upcall->flow = *flow;
  upcall->kind = kind;
  upcall->first = first;
  const __u64 cookie = flow->cookie;
  const struct sluice_process* process = cookie ? bpf_map_lookup_elem(&processes, &cookie) : 0;
  if (process) upcall->process = *process;
}

/* Without a frame: that the gateway refused a flow now, everything else when the agent looks next. What does not fit in
 * the ring is found by the next sweep. */
__noinline int tell(const struct sluice_tuple* tuple, const struct sluice_flow* flow, __u32 kind) {
  if (!tuple || !flow) return 0;
  const bool now = kind == SLUICE_UPCALL_REFUSED;
  struct sluice_upcall* upcall =
      now ? bpf_ringbuf_reserve(&upcalls, sizeof *upcall, 0) : bpf_ringbuf_reserve(&endings, sizeof *upcall, 0);
  if (!upcall) {
    count(SLUICE_COUNT_UPCALLS_LOST);
    return 0;
  }
  fill_upcall(upcall, tuple, flow, (__u8)kind, false);
  bpf_ringbuf_submit(upcall, now ? 0 : BPF_RB_NO_WAKEUP);
  return 1;
}

/* The ring gives places of constant sizes only: show_NAME() shows a frame of at most `size` bytes, or its beginning. */
#define SLUICE_SHOW(name, size)                                                                                       \
  __noinline int show_##name(struct __sk_buff* skb, const struct sluice_tuple* tuple, const struct sluice_flow* flow, \
                             __u32 kind, __u32 first) {                                                               \
    struct place {                                                                                                    \
      struct sluice_upcall upcall;                                                                                    \
      __u8 frame[size];                                                                                               \
    };                                                                                                                \
    if (!tuple || !flow) return 0;                                                                                    \
    struct place* place = bpf_ringbuf_reserve(&upcalls, sizeof *place, 0);                                            \
    if (!place) return 0;                                                                                             \
    fill_upcall(&place->upcall, tuple, flow, (__u8)kind, first != 0);                                                 \
    __u32 bytes = skb->len;                                                                                           \
    if (bytes > (size)) bytes = size;                                                                                 \
    barrier_var(bytes);                                                                                               \
    if (bytes == 0 || bytes > (size) || bpf_skb_load_bytes(skb, 0, place->frame, bytes)) {                            \
      bpf_ringbuf_discard(place, 0);                                                                                  \
      return 0;                                                                                                       \
    }                                                                                                                 \
    place->upcall.frame_bytes = (__u16)bytes;                                                                         \
    bpf_ringbuf_submit(place, 0);                                                                                     \
    return 1;                                                                                                         \
  }
SLUICE_SHOW(s, SLUICE_FRAME_BYTES_S)
SLUICE_SHOW(m, SLUICE_FRAME_BYTES_M)
SLUICE_SHOW(l, SLUICE_FRAME_BYTES_L)
SLUICE_SHOW(whole, SLUICE_FRAME_BYTES)

/* The packet as the pod sent it. What cannot be shown now is shown when TCP sends it again. */
SLUICE_INLINE bool show(struct __sk_buff* skb, const struct sluice_tuple* tuple, struct sluice_flow* flow, __u32 kind) {
  int shown = 0;
  if (spend_upcall(skb->ifindex, skb->len, bpf_ktime_get_ns())) {
    const bool first = !(__sync_fetch_and_or(&flow->flags, SLUICE_FLOW_SHOWN) & SLUICE_FLOW_SHOWN);
    if (skb->len <= SLUICE_FRAME_BYTES_S) {
      shown = show_s(skb, tuple, flow, kind, first);
    } else if (skb->len <= SLUICE_FRAME_BYTES_M) {
      shown = show_m(skb, tuple, flow, kind, first);
    } else if (skb->len <= SLUICE_FRAME_BYTES_L) {
      shown = show_l(skb, tuple, flow, kind, first);
    } else {
      shown = show_whole(skb, tuple, flow, kind, first);
    }
  }
  if (!shown) count(SLUICE_COUNT_UPCALLS_LOST);
  return shown != 0;
}

/* Is the entry still this flow's? Its memory may be another's by now; what was read of it before is right if it is. */
SLUICE_INLINE bool is_still(const struct sluice_flow* flow, __u64 id) {
  barrier();
  const __u64 state = *(const volatile __u64*)&flow->state;
  return sluice_id_of(state) == id && sluice_state_of(state) != SLUICE_FLOW_GONE;
}

/* Does the gateway have a connection? */
SLUICE_INLINE bool is_connected(__u32 state) {
  return state >= SLUICE_FLOW_HELD && state <= SLUICE_FLOW_OPEN;
}

SLUICE_INLINE bool is_undecided(__u32 state) {
  return state == SLUICE_FLOW_OPENING || state == SLUICE_FLOW_HELD || state == SLUICE_FLOW_JUDGING;
}

/* An interface that was forgotten, and is there again, counts from 0. */
SLUICE_INLINE void count_down(__u32* number) {
  if (*(volatile __u32*)number != 0) __sync_fetch_and_sub(number, 1);
}

SLUICE_INLINE void count_change(__u32 ifindex, __u32 before, __u32 after) {
  const bool decided = is_undecided(before) && !is_undecided(after);
  const bool over = before < SLUICE_FLOW_DENIED && after >= SLUICE_FLOW_DENIED;
  if (!decided && !over) return;
  const __u32 all = SLUICE_NODE;
  struct sluice_load* load = bpf_map_lookup_elem(&loads, &ifindex);
  struct sluice_load* node = bpf_map_lookup_elem(&loads, &all);
  if (load && decided) count_down(&load->undecided);
  if (node && decided) count_down(&node->undecided);
  if (load && over) count_down(&load->live);
  if (node && over) count_down(&node->live);
}

/* From the state that was read to another; false when somebody was faster. */
SLUICE_INLINE bool change_state(struct sluice_flow* flow, __u64 before, __u32 after) {
  const __u64 wanted = sluice_make_state(sluice_id_of(before), after);
  if (after == SLUICE_FLOW_GONE) flow->seen_ns = bpf_ktime_get_ns();
  if (__sync_val_compare_and_swap(&flow->state, before, wanted) != before) return false;
  count_change(flow->ifindex, sluice_state_of(before), after);
  return true;
}

/* What was promised to the gateway: it has all, or gets no more. Whoever takes the flow out of ALLOWED drops it. */
SLUICE_INLINE void drop_promise(__u64 id, __u32 header) {
  bpf_map_delete_elem(&promises, &id);
  for (__u32 index = 0; index < SLUICE_MAX_PIECES_OF_ONE && index * SLUICE_PIECE_BYTES < header; index++) {
    const __u64 key = SLUICE_PIECE_KEY(id, index);
    bpf_map_delete_elem(&pieces, &key);
  }
}

__noinline int end_flow(struct sluice_flow* flow, __u64 state, const struct sluice_tuple* tuple, __u32 end) {
  if (!flow || !tuple || !change_state(flow, state, SLUICE_FLOW_ENDED)) return -1;
  if (sluice_state_of(state) == SLUICE_FLOW_ALLOWED) drop_promise(sluice_id_of(state), flow->header);
  flow->end = (__u8)end;
  flow->seen_ns = bpf_ktime_get_ns();
  tell(tuple, flow, SLUICE_UPCALL_ENDED);
  return 0;
}
