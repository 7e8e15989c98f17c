/* The beginning of a flow: which gateway, by which port, and what an entry of before leaves behind. */
#pragma once

#include "bpf/hold.h"
#include "bpf/translate.h"

SLUICE_INLINE void make_back_key(const struct sluice_flow* flow, const struct sluice_tuple* tuple,
                                 struct sluice_tuple* back) {
  __builtin_memset(back, 0, sizeof *back);
  back->source = flow->gateway;
  back->destination = tuple->source;
  back->source_port = flow->gateway_port;
  back->destination_port = flow->source_port;
  back->protocol = IPPROTO_TCP;
}

SLUICE_INLINE void remove_back(const struct sluice_flow* flow, const struct sluice_tuple* tuple, __u64 id) {
  struct sluice_tuple key;
  make_back_key(flow, tuple, &key);
  const struct sluice_back* back = bpf_map_lookup_elem(&backs, &key);
  if (back && back->flow_id == id) bpf_map_delete_elem(&backs, &key);
}

SLUICE_INLINE void count_removed(__u32 ifindex) {
  const __u32 all = SLUICE_NODE;
  struct sluice_load* load = bpf_map_lookup_elem(&loads, &ifindex);
  struct sluice_load* node = bpf_map_lookup_elem(&loads, &all);
  if (load) count_down(&load->entries);
  if (node) count_down(&node->entries);
}

/* Takes the entry of an earlier connection out of the way. Its totals stay in `ends` until the agent has them. */
__noinline int retire(struct sluice_flow* flow, const struct sluice_tuple* tuple) {
  if (!flow || !tuple) return -1;
  const __u64 state = flow->state;
  const __u32 now = sluice_state_of(state);
  const __u64 id = sluice_id_of(state);
  if (now == SLUICE_FLOW_JUDGING || now == SLUICE_FLOW_GONE) return -1;
  const bool recorded = now == SLUICE_FLOW_COLLECTED || (flow->flags & SLUICE_FLOW_RECORDED);
  struct sluice_scratch* scratch = get_scratch();
  if (!scratch) return -1;
  if (!recorded) {
    scratch->end.tuple = *tuple;
    scratch->end.flow = *flow;
    if (bpf_map_update_elem(&ends, &id, &scratch->end, BPF_NOEXIST)) {
      count(SLUICE_COUNT_ENDS_LOST);
      return -1;
    }
  }
  if (!change_state(flow, state, SLUICE_FLOW_GONE)) {
    if (!recorded) bpf_map_delete_elem(&ends, &id);
    return -1;
  }
  remove_back(flow, tuple, id);
  count_removed(flow->ifindex);
  if (!recorded) tell(tuple, flow, SLUICE_UPCALL_ENDED);
  return 0;
}

/* The same for the tuple of a SYN that begins no flow; an error when it cannot go yet. */
SLUICE_INLINE int retire_tuple(const struct sluice_tuple* tuple, __u32 ifindex) {
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, tuple);
  if (!flow || flow->ifindex != ifindex) return 0;
  if (retire(flow, tuple)) return -1;
  bpf_map_delete_elem(&flows, tuple);
  return 0;
}

/* Where the flow's address stands in the set; the number of addresses when it does not (any more). */
SLUICE_INLINE __u32 find_address(const struct sluice_gateway* gateway, const struct sluice_flow* flow) {
  for (__u32 index = 0; index < SLUICE_GATEWAY_ADDRESSES; index++) {
    if (index >= gateway->count) break;
    if (sluice_same_address(&gateway->addresses[index], &flow->gateway) && gateway->ports[index] == flow->gateway_port)
      return index;
  }
  return gateway->count;
}

/* The next of the set; for a flow that has an address another one, where there is one. */
SLUICE_INLINE int choose_address(struct sluice_flow* flow) {
  struct sluice_gateway* gateway = bpf_map_lookup_elem(&gateways, &flow->gateway_number);
  if (!gateway || gateway->count == 0) return -1;
  const __u32 before = find_address(gateway, flow);
  __u32 index = before < gateway->count ? before + 1 : __sync_fetch_and_add(&gateway->next, 1);
  index %= gateway->count;
  index &= SLUICE_GATEWAY_ADDRESSES - 1;
  flow->gateway = gateway->addresses[index];
  flow->gateway_port = gateway->ports[index];
  return 0;
}

SLUICE_INLINE bool is_in_use(const struct sluice_flow* flow) {
  const struct sluice_gateway* gateway = bpf_map_lookup_elem(&gateways, &flow->gateway_number);
  return gateway && find_address(gateway, flow) < gateway->count && !(flow->flags & SLUICE_FLOW_REFUSED);
}

/* The way back. Two connections of a pod from one port to two destinations are one tuple at the gateway: the second
 * gets another port. */
__noinline int claim_port(struct sluice_flow* flow, const struct sluice_tuple* tuple) {
  if (!flow || !tuple) return -1;
  const struct sluice_back back = {
      .flow_id = sluice_id_of(flow->state),
      .destination = tuple->destination,
      .source_port = tuple->source_port,
      .destination_port = tuple->destination_port,
  };
  struct sluice_tuple key;
  flow->source_port = tuple->source_port;
  for (__u32 attempt = 0; attempt < SLUICE_SOURCE_PORTS; attempt++) {
    make_back_key(flow, tuple, &key);
    if (bpf_map_update_elem(&backs, &key, &back, BPF_NOEXIST) == 0) return 0;
    flow->source_port = SLUICE_FIRST_PORT + bpf_get_prandom_u32() % SLUICE_PORT_RANGE;
  }
  return -1;
}

/* A SYN again, of a flow that is opening: to the same address, or to another one when that is not in use any more. */
__noinline int reopen(struct sluice_flow* flow, const struct sluice_tuple* tuple) {
  if (!flow || !tuple) return -1;
  const __u64 state = flow->state;
  const __u64 id = sluice_id_of(state);
  if (sluice_state_of(state) != SLUICE_FLOW_OPENING || is_in_use(flow)) return 0;
  if (__sync_fetch_and_or(&flow->flags, SLUICE_FLOW_REOPENING) & SLUICE_FLOW_REOPENING) return -1;
  remove_back(flow, tuple, id);
  if (choose_address(flow) || claim_port(flow, tuple)) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_REFUSED); /* no way back: the next SYN looks for one again */
    __sync_fetch_and_and(&flow->flags, ~SLUICE_FLOW_REOPENING);
    return -1;
  }
  __sync_fetch_and_and(&flow->flags, ~(SLUICE_FLOW_REFUSED | SLUICE_FLOW_REOPENING));
  if (is_still(flow, id)) return 0;
  remove_back(flow, tuple, id); /* it was retired meanwhile, with the way that it had before */
  return -1;
}

SLUICE_INLINE __u64 next_flow_id(void) {
  const __u32 zero = 0;
  __u64* last = bpf_map_lookup_elem(&flow_ids, &zero);
  return last ? (__sync_fetch_and_add(last, 1) + 1) & 0xffffffffffffffULL : 0;
}

/* Kept while there is another address to try: the agent sends it again when the first one does not answer. */
__noinline int keep_syn(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_flow* flow) {
  if (!packet || !flow) return 0;
  const struct sluice_gateway* gateway = bpf_map_lookup_elem(&gateways, &flow->gateway_number);
  if (!gateway || gateway->count < 2) return 0;
  struct sluice_syn syn = {};
  __u32 bytes = transport_offset(packet) + packet->segment.header;
  barrier_var(bytes);
  if (bytes == 0 || bytes > sizeof syn.frame || bpf_skb_load_bytes(skb, 0, syn.frame, bytes)) return 0;
  syn.bytes = bytes;
  const __u64 id = sluice_id_of(flow->state);
  return (int)bpf_map_update_elem(&syns, &id, &syn, BPF_ANY);
}

/* What lingers of a pod's flows is less its own where room grows short. */
SLUICE_INLINE __u32 most_lingering(const struct sluice_load* node) {
  return node->entries > SLUICE_MAX_FLOWS / 2 ? SLUICE_FEW_LINGERING : SLUICE_MAX_LINGERING;
}

/* Do the pod and the node have room for one more? */
SLUICE_INLINE bool take_place(__u32 ifindex, const struct sluice_config* config, __u64 now_ns) {
  struct sluice_load* load = get_load(ifindex);
  struct sluice_load* node = get_load(SLUICE_NODE);
  if (!load || !node || load->live >= config->flows_per_pod || node->live >= config->flows ||
      load->undecided >= SLUICE_MAX_UNDECIDED || load->entries >= load->live + most_lingering(node) ||
      !sluice_spend(&load->opened_ns, now_ns, config->flows_per_second_per_pod, 1000000000ULL) ||
      !sluice_spend(&node->opened_ns, now_ns, config->flows_per_second, 1000000000ULL)) {
    return false;
  }
  __sync_fetch_and_add(&load->entries, 1);
  __sync_fetch_and_add(&node->entries, 1);
  __sync_fetch_and_add(&load->live, 1);
  __sync_fetch_and_add(&load->undecided, 1);
  __sync_fetch_and_add(&node->live, 1);
  __sync_fetch_and_add(&node->undecided, 1);
  return true;
}

SLUICE_INLINE void leave_place(__u32 ifindex) {
  count_removed(ifindex);
  count_change(ifindex, SLUICE_FLOW_OPENING, SLUICE_FLOW_GONE);
}

/* A new flow for the SYN; an error when there is no room for it. */
__noinline int open_flow(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_tuple* tuple,
                         const struct sluice_port* port) {
  struct sluice_scratch* scratch = get_scratch();
  const struct sluice_config* config = get_config();
  if (!scratch || !config || !packet || !tuple || !port) return -1;
  struct sluice_flow* flow = &scratch->end.flow;
  __builtin_memset(flow, 0, sizeof *flow);
  flow->audit[0] = config->audit_prefix;
  flow->audit[1] = next_flow_id();
  flow->state = sluice_make_state(flow->audit[1], SLUICE_FLOW_OPENING);
  flow->cookie = bpf_get_socket_cookie(skb);
  flow->began_ns = bpf_ktime_get_ns();
  flow->seen_ns = flow->began_ns;
  flow->ifindex = skb->ifindex;
  flow->gateway_number = port->gateway * 2 + packet->is_v6;
  flow->pod_isn = packet->segment.sequence;
  flow->pod_next = flow->pod_isn + 1;
  flow->pod_acked = flow->pod_isn;
  flow->flags = (packet->is_v6 ? SLUICE_FLOW_V6 : 0) | (port->opaque ? SLUICE_FLOW_ASK : 0);
  flow->mss = sluice_default_mss(packet->is_v6);
  if (bpf_skb_load_bytes(skb, 0, flow->ethernet, sizeof flow->ethernet)) return -1;
  if (choose_address(flow) || !take_place(flow->ifindex, config, flow->began_ns)) return -1;
  if (claim_port(flow, tuple)) {
    leave_place(flow->ifindex);
    return -1;
  }
  /* Nothing, or what retire() left there: never what a copy of the SYN began on another CPU. */
  const struct sluice_flow* before = bpf_map_lookup_elem(&flows, tuple);
  const bool gone = before && sluice_state_of(before->state) == SLUICE_FLOW_GONE;
  if (bpf_map_update_elem(&flows, tuple, flow, gone ? BPF_EXIST : BPF_NOEXIST)) {
    remove_back(flow, tuple, sluice_id_of(flow->state));
    leave_place(flow->ifindex);
    return -1;
  }
  return 0;
}
