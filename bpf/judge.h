/* Verdicts and the end of flows, as the agent has them carried out. */
#pragma once

#include "bpf/hold.h"
#include "bpf/steer.h"

/* The state is JUDGING, and nobody else writes it then. */
SLUICE_INLINE int settle(struct sluice_flow* flow, __u64 id, __u32 after) {
  return change_state(flow, sluice_make_state(id, SLUICE_FLOW_JUDGING), after) ? SLUICE_JUDGED_DONE
                                                                               : SLUICE_JUDGED_TOO_LATE;
}

SLUICE_INLINE void name_flow(struct sluice_flow* flow, const struct sluice_verdict* verdict) {
  flow->host = verdict->host;
  flow->sniffed = verdict->sniffed;
  const __u64 cookie = flow->cookie;
  if (cookie) bpf_map_delete_elem(&processes, &cookie); /* the agent knows it */
}

SLUICE_INLINE int allow_flow(struct sluice_flow* flow, __u64 state, const struct sluice_verdict* verdict) {
  const struct sluice_promise* promise = &verdict->promise;
  const __u64 id = verdict->flow_id;
  const __u32 first = flow->pod_isn + 1;
  const bool nothing_to_send = promise->header == 0 && promise->approved == first;
  if (sluice_state_of(state) != SLUICE_FLOW_HELD) return SLUICE_JUDGED_TOO_LATE;
  if (!nothing_to_send && bpf_map_update_elem(&promises, &id, promise, BPF_ANY)) return SLUICE_JUDGED_NO_ROOM;
  if (!change_state(flow, state, SLUICE_FLOW_JUDGING)) {
    bpf_map_delete_elem(&promises, &id);
    return SLUICE_JUDGED_TOO_LATE;
  }
  name_flow(flow, verdict);
  flow->approved = promise->approved;
  flow->header = (__u16)promise->header;
  flow->pod_next = promise->approved;
  flow->bytes_sent = promise->approved - first;
  __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_WAS_ALLOWED);
  const __u64 tenths = (bpf_ktime_get_ns() - flow->began_ns) / 100000000ULL;
  flow->judged = tenths < 255 ? (__u8)tenths : 255;
  const __u32 after = nothing_to_send ? SLUICE_FLOW_OPEN : SLUICE_FLOW_ALLOWED;
  const int result = settle(flow, id, after);
  /* The pod's RST came meanwhile. */
  if (flow->flags & SLUICE_FLOW_RESET_AGAIN) {
    end_flow(flow, sluice_make_state(id, after), &verdict->tuple, SLUICE_END_CLIENT_RESET);
  }
  return result;
}

SLUICE_INLINE int deny_flow(struct sluice_flow* flow, __u64 state, const struct sluice_verdict* verdict) {
  const __u32 now = sluice_state_of(state);
  if (now >= SLUICE_FLOW_DENIED) return SLUICE_JUDGED_TOO_LATE;
  if (is_undecided(now)) {
    if (!change_state(flow, state, SLUICE_FLOW_JUDGING)) return SLUICE_JUDGED_TOO_LATE;
    name_flow(flow, verdict);
    flow->why = verdict->why;
    return settle(flow, verdict->flow_id, SLUICE_FLOW_DENIED);
  }
  flow->why = verdict->why;
  return change_state(flow, state, SLUICE_FLOW_DENIED) ? SLUICE_JUDGED_DONE : SLUICE_JUDGED_TOO_LATE;
}

SLUICE_INLINE int collect_flow(struct sluice_flow* flow, __u64 state) {
  switch (sluice_state_of(state)) {
    case SLUICE_FLOW_ENDED:
      return change_state(flow, state, SLUICE_FLOW_COLLECTED) ? SLUICE_JUDGED_DONE : SLUICE_JUDGED_TOO_LATE;
    case SLUICE_FLOW_DENIED:
      __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_RECORDED);
      return SLUICE_JUDGED_DONE;
    default:
      return SLUICE_JUDGED_TOO_LATE;
  }
}

/* Carries out a verdict for one flow, and for no other that has its ports. */
__noinline int judge_flow(const struct sluice_verdict* verdict) {
  if (!verdict) return SLUICE_JUDGED_NO_FLOW;
  const struct sluice_tuple tuple = verdict->tuple;
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow) return SLUICE_JUDGED_NO_FLOW;
  int result = SLUICE_JUDGED_TOO_LATE;
  for (__u32 attempt = 0; attempt < 4 && result == SLUICE_JUDGED_TOO_LATE; attempt++) {
    const __u64 state = *(volatile __u64*)&flow->state;
    if (sluice_id_of(state) != verdict->flow_id) return SLUICE_JUDGED_NO_FLOW;
    switch (verdict->state) {
      case SLUICE_FLOW_ALLOWED:
        return allow_flow(flow, state, verdict);
      case SLUICE_FLOW_DENIED:
        result = deny_flow(flow, state, verdict); /* it may have moved on meanwhile */
        break;
      case SLUICE_FLOW_COLLECTED:
        return collect_flow(flow, state);
      case SLUICE_FLOW_OPENING:
        if (sluice_state_of(state) != SLUICE_FLOW_OPENING) return SLUICE_JUDGED_TOO_LATE;
        __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_REFUSED);
        return SLUICE_JUDGED_DONE;
      default:
        return SLUICE_JUDGED_NO_FLOW;
    }
  }
  return result;
}

static long judge_next(__u32 index, __attribute__((unused)) void* context) {
  struct sluice_verdict* verdict = bpf_map_lookup_elem(&verdicts, &index);
  if (verdict) verdict->result = (__u8)judge_flow(verdict);
  return 0;
}

SEC("syscall")
int judge(struct sluice_judge_args* args) {
  const __u32 count = args->count;
  bpf_loop(count < SLUICE_VERDICTS ? count : SLUICE_VERDICTS, judge_next, 0, 0);
  return 0;
}

/* After which an end that was told stands in front of what the sweep tells. */
#define SLUICE_UNHEARD_NS 1000000000LL

SLUICE_INLINE bool is_late(const struct sluice_flow* flow, __u32 state, const struct sluice_sweep_args* args) {
  const __s64 age_ns = (__s64)(args->now_ns - flow->began_ns);
  const __s64 idle_ns = (__s64)(args->now_ns - flow->seen_ns);
  switch (state) {
    case SLUICE_FLOW_OPENING:
      return age_ns > (__s64)args->opening_ns;
    case SLUICE_FLOW_HELD:
      return age_ns > (__s64)args->held_ns;
    case SLUICE_FLOW_ALLOWED:
      return age_ns > (__s64)args->allowed_ns;
    case SLUICE_FLOW_OPEN:
      if (idle_ns > (__s64)args->idle_ns) return true;
      return flow->sniffed == SLUICE_SNIFFED_TLS && flow->bytes_received == 0 &&
             age_ns - flow->judged * 100000000LL > (__s64)args->answer_ns;
    case SLUICE_FLOW_DENIED:
      return !(flow->flags & SLUICE_FLOW_RECORDED);
    case SLUICE_FLOW_ENDED:
      return idle_ns > SLUICE_UNHEARD_NS; /* nobody heard of it */
    default:
      return false;
  }
}

/* Recorded, and nothing late is to be expected any more. */
SLUICE_INLINE bool is_over(const struct sluice_flow* flow, __u32 state, const struct sluice_sweep_args* args) {
  return (state == SLUICE_FLOW_COLLECTED || (flow->flags & SLUICE_FLOW_RECORDED)) &&
         (__s64)(args->now_ns - flow->seen_ns) > (__s64)args->ended_ns;
}

SLUICE_INLINE void remove_flow(struct sluice_flow* flow, const struct sluice_tuple* tuple, __u64 state) {
  if (!change_state(flow, state, SLUICE_FLOW_GONE)) return;
  remove_back(flow, tuple, sluice_id_of(state));
  count_removed(flow->ifindex);
  bpf_map_delete_elem(&flows, tuple);
}

enum { late_at_once = 2048 };

__noinline int sweep_flow(struct sluice_tuple* tuple, struct sluice_flow* flow, struct sluice_sweep_args* args) {
  if (!tuple || !flow || !args) return 0;
  const __u64 state = *(volatile __u64*)&flow->state;
  const __u32 now = sluice_state_of(state);
  if (now == SLUICE_FLOW_GONE) {
    /* Another one is being put in its place, or it could not be removed: then none can be. */
    if ((__s64)(args->now_ns - flow->seen_ns) > (__s64)args->ended_ns) bpf_map_delete_elem(&flows, tuple);
    return 0;
  }
  args->flows++;
  if (is_undecided(now)) args->undecided++;
  if (is_over(flow, now, args)) {
    remove_flow(flow, tuple, state);
  } else if (is_late(flow, now, args) && args->late < late_at_once) {
    args->late++;
    tell(tuple, flow, SLUICE_UPCALL_LATE);
  }
  return 0;
}

static long look_at_flow(__attribute__((unused)) void* map, const struct sluice_tuple* tuple, struct sluice_flow* flow,
                         struct sluice_sweep_args* args) {
  struct sluice_tuple key = *tuple;
  sweep_flow(&key, flow, args);
  return 0;
}

/* Finds what waits too long, and removes what is over. */
SEC("syscall")
int sweep(struct sluice_sweep_args* args) {
  struct sluice_sweep_args local = *args;
  local.late = 0;
  local.undecided = 0;
  local.flows = 0;
  bpf_for_each_map_elem(&flows, look_at_flow, &local, 0);
  args->late = local.late;
  args->undecided = local.undecided;
  args->flows = local.flows;
  return 0;
}
