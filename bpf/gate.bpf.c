/* The node's gate: what a pod sends is decided where it enters the node (from_pod), what answers it is translated or
 * noted where it leaves for the pod (to_pod), what must not leave the node is stopped at its uplinks (uplink_guard),
 * what is relayed finds the agent's listener (choose_listener), and what the agent sends for a flow gets there by the
 * helper interface (inject). Verdicts and the end of flows are written by programs that the agent runs (judge, sweep):
 * it never writes an entry that packets change. */
#include <linux/bpf.h>

#include "bpf/flow.h"
#include "bpf/hold.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/refuse.h"
#include "bpf/report.h"
#include "bpf/steer.h"
#include "bpf/translate.h"

char LICENSE[] SEC("license") = "GPL";

enum { tcx_next = -1 }; /* go on with what others attached to the same hook */

SLUICE_INLINE const struct sluice_config* get_config(void) {
  const __u32 zero = 0;
  return bpf_map_lookup_elem(&configs, &zero);
}

SLUICE_INLINE bool is_internal(const struct sluice_address* address) {
  const struct sluice_internal_key key = {128, *address};
  const __u8* kind = bpf_map_lookup_elem(&internals, &key);
  return kind && *kind == SLUICE_INTERNAL;
}

SLUICE_INLINE bool is_uplink(__u32 ifindex) {
  return bpf_map_lookup_elem(&uplinks, &ifindex) != 0;
}

/* An agent that ends takes its listeners away first; one that was killed leaves the heart's last beat. */
SLUICE_INLINE bool agent_is_alive(void) {
  const struct sluice_config* config = get_config();
  if (!config || config->listener_count == 0) return false;
  const __u32 zero = 0;
  const __u64* beat_ns = bpf_map_lookup_elem(&heartbeats, &zero);
  /* Signed: the beat may be written between the two readings. */
  return beat_ns && *beat_ns != 0 && (__s64)(bpf_ktime_get_ns() - *beat_ns) < (__s64)SLUICE_HEARTBEAT_LIMIT_NS;
}

/* The kernel takes a closed socket out of the map: this is how an agent's death shows at once. */
SLUICE_INLINE bool has_listener(bool is_v6) {
  const __u32 index = is_v6 ? SLUICE_MAX_LISTENERS : 0;
  struct bpf_sock* socket = bpf_map_lookup_elem(&listeners, &index);
  if (!socket) return false;
  bpf_sk_release(socket);
  return true;
}

SLUICE_INLINE bool has_socket(struct __sk_buff* skb, const struct sluice_packet* packet) {
  struct bpf_sock_tuple tuple = {};
  __u32 size = sizeof tuple.ipv4;
  if (packet->is_v6) {
    size = sizeof tuple.ipv6;
    __builtin_memcpy(tuple.ipv6.saddr, packet->source.bytes, 16);
    __builtin_memcpy(tuple.ipv6.daddr, packet->destination.bytes, 16);
    tuple.ipv6.sport = bpf_htons(packet->source_port);
    tuple.ipv6.dport = bpf_htons(packet->destination_port);
  } else {
    __builtin_memcpy(&tuple.ipv4.saddr, packet->source.bytes + 12, 4);
    __builtin_memcpy(&tuple.ipv4.daddr, packet->destination.bytes + 12, 4);
    tuple.ipv4.sport = bpf_htons(packet->source_port);
    tuple.ipv4.dport = bpf_htons(packet->destination_port);
  }
  struct bpf_sock* socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
  if (!socket) return false;
  const bool connected = socket->state != BPF_TCP_LISTEN;
  bpf_sk_release(socket);
  return connected;
}

/* Of a packet as the pod sends it. */
SLUICE_INLINE void make_tuple(const struct sluice_packet* packet, struct sluice_tuple* tuple) {
  __builtin_memset(tuple, 0, sizeof *tuple);
  tuple->source = packet->source;
  tuple->destination = packet->destination;
  tuple->source_port = packet->source_port;
  tuple->destination_port = packet->destination_port;
  tuple->protocol = packet->protocol;
}

SLUICE_INLINE bool owns_source(const struct sluice_pod* pod, const struct sluice_packet* packet) {
  const __u64* source = (const __u64*)packet->source.bytes;
#pragma unroll
  for (__u32 index = 0; index < SLUICE_POD_ADDRESSES; index++) {
    const __u64* address = (const __u64*)pod->addresses[index].bytes;
    if (index < pod->address_count && address[0] == source[0] && address[1] == source[1]) return true;
  }
  return false;
}

/* Does the gate lead anywhere for this port and family? */
SLUICE_INLINE bool leads_somewhere(const struct sluice_port* port, bool is_v6) {
  const __u32 number = port->gateway * 2 + is_v6;
  const struct sluice_gateway* gateway = bpf_map_lookup_elem(&gateways, &number);
  return gateway && gateway->count > 0;
}

/* What is registered for protocol, port and address. */
SLUICE_INLINE void look_up_port(const struct sluice_packet* packet, struct sluice_facts* facts,
                                struct sluice_port* found) {
  const struct sluice_config* config = get_config();
  if (!config || config->generation == 0) return;
  facts->policy = true;
  struct sluice_destination_key key = {.prefix_length = 64 + 128, .address = packet->destination};
  key.port.generation = config->generation;
  key.port.port = packet->destination_port;
  key.port.protocol = packet->protocol;
  const struct sluice_port* port = bpf_map_lookup_elem(&ports, &key.port);
  if (!port) return;
  *found = *port;
  facts->port = port->kind;
  facts->address_registered = port->kind == SLUICE_PORT_ANY_ADDRESS || bpf_map_lookup_elem(&destinations, &key) != 0;
  /* Mode audit lets calls go where the pod wanted them to: the relay does that. */
  facts->gated = port->way == SLUICE_WAY_GATE && !facts->audit && leads_somewhere(port, packet->is_v6);
}

/* A pod's answer to what to_pod saw coming from outside. A pod cannot make such an entry, and a SYN is no answer. */
SLUICE_INLINE bool answers_inbound(const struct sluice_packet* packet) {
  const struct sluice_config* config = get_config();
  if (!config || !(config->flags & SLUICE_INBOUND_REPLIES) || packet->tcp_syn) return false;
  struct sluice_tuple tuple;
  make_tuple(packet, &tuple);
  return bpf_map_lookup_elem(&inbounds, &tuple) != 0;
}

SLUICE_INLINE void gather(struct __sk_buff* skb, const struct sluice_pod* pod, const struct sluice_packet* packet,
                          struct sluice_facts* facts, struct sluice_port* port) {
  __builtin_memset(facts, 0, sizeof *facts);
  if (pod) {
    facts->pod_known = pod->address_count > 0;
    facts->source_owned = owns_source(pod, packet);
    facts->audit = (pod->flags & SLUICE_POD_AUDIT) != 0;
  }
  if (!packet->is_ip) return;
  facts->internal = is_internal(&packet->destination);
  if (facts->internal || packet->fragment) return;
  const bool tcp = packet->protocol == IPPROTO_TCP;
  if (!tcp && packet->protocol != IPPROTO_UDP) return;
  facts->inbound = answers_inbound(packet);
  if (facts->inbound) return;
  look_up_port(packet, facts, port);
  if (!tcp) return;
  facts->alive = agent_is_alive();
  facts->listening = has_listener(packet->is_v6);
  if (!packet->tcp_syn && (!facts->listening || facts->audit || facts->gated))
    facts->has_socket = has_socket(skb, packet);
}

/* The socket that sends a SYN belongs to a process of the pod; its cookie is found here, where no pod can forge it. */
SLUICE_INLINE void note_connection(struct __sk_buff* skb, const struct sluice_packet* packet) {
  const __u64 cookie = bpf_get_socket_cookie(skb);
  if (cookie == 0) return;
  struct sluice_tuple tuple;
  make_tuple(packet, &tuple);
  bpf_map_update_elem(&conns, &tuple, &cookie, BPF_ANY);
}

/* Plain TCP, of which ports and numbers can be believed. */
SLUICE_INLINE bool is_plain_tcp(const struct sluice_packet* packet) {
  return packet->is_ip && packet->protocol == IPPROTO_TCP && !packet->truncated && !packet->options &&
         !packet->fragment && !packet->mapped;
}

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
 * bytes that were lost: they are still to come, and to be counted. */
SLUICE_INLINE void note_bytes(__u32* next, __u64* bytes, const struct sluice_segment* segment, __u32 end) {
  if (segment->payload != 0 || segment->fin) advance(next, bytes, end);
  if (segment->fin) advance(next, 0, end + 1);
}

/* A segment of the pod that passes. */
SLUICE_INLINE void note_from_pod(struct sluice_flow* flow, __u32 state, const struct sluice_segment* segment) {
  const __u32 end = segment->sequence + segment->payload;
  if (state == SLUICE_FLOW_ALLOWED || state == SLUICE_FLOW_OPEN) {
    note_bytes(&flow->pod_next, &flow->bytes_sent, segment, end);
  }
  if (segment->fin) {
    flow->pod_fin = end + 1;
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_POD_FIN);
  }
  if (!segment->ack) return;
  advance(&flow->gateway_acked, 0, segment->acknowledgement);
  if ((flow->flags & SLUICE_FLOW_GATEWAY_FIN) && segment->acknowledgement == flow->gateway_fin) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_GATEWAY_FIN_ACKED);
  }
}

/* The pod's RST ends the flow when it stands in what was sent, its FIN with it, and not acknowledged yet. The gateway
 * takes it where it expects the next byte, and else asks back (RFC 5961 section 3.2): a flow that has ended still
 * passes that question and the pod's RST that answers it. Any other RST is nobody's. */
SLUICE_INLINE bool take_reset(struct sluice_flow* flow, __u64 state, const struct sluice_tuple* tuple,
                              const struct sluice_segment* segment) {
  const __u32 now = sluice_state_of(state);
  if (now != SLUICE_FLOW_ALLOWED && now != SLUICE_FLOW_OPEN) {
    if (now == SLUICE_FLOW_HELD) end_flow(flow, state, tuple, SLUICE_END_CLIENT_RESET);
    return true;
  }
  if (sluice_before(segment->sequence, flow->pod_acked) || sluice_before(flow->pod_next, segment->sequence)) {
    count(SLUICE_COUNT_RESETS_IGNORED);
    return false;
  }
  end_flow(flow, state, tuple, SLUICE_END_CLIENT_RESET);
  return true;
}

SLUICE_INLINE int pass_to_gateway(struct __sk_buff* skb, const struct sluice_packet* packet,
                                  const struct sluice_flow* flow, __u32 sequence) {
  const struct sluice_rewrite rewrite = {
      .source = false,
      .address = flow->gateway,
      .source_port = flow->source_port,
      .destination_port = flow->gateway_port,
      .sequence = sequence,
      .acknowledgement = packet->segment.acknowledgement,
  };
  if (rewrite_tcp(skb, packet, &rewrite)) return TC_ACT_SHOT;
  skb->mark |= SLUICE_MARK_PASSED;
  return tcx_next;
}

/* Held: the agent sees it. When there is none, and none came back in time, the pod hears it at once. */
SLUICE_INLINE int hold(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_tuple* tuple,
                       struct sluice_flow* flow, __u64 state) {
  if (agent_is_alive()) {
    show(skb, state, tuple, SLUICE_UPCALL_HELD);
    return TC_ACT_SHOT;
  }
  end_flow(flow, state, tuple, SLUICE_END_CUT);
  count_denial(skb->ifindex, SLUICE_REASON_POLICY_NOT_READY);
  return refuse_tcp(skb, packet);
}

__noinline int flow_from_pod(struct __sk_buff* skb, const struct sluice_packet* packet,
                             const struct sluice_tuple* tuple, struct sluice_flow* flow) {
  if (!packet || !tuple || !flow) return TC_ACT_SHOT;
  const __u64 state = *(volatile __u64*)&flow->state;
  const __u32 now = sluice_state_of(state);
  const struct sluice_segment* segment = &packet->segment;
  touch(flow);
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
  __u32 sequence = segment->sequence + sluice_shift_of(flow, now);
  if (segment->rst) {
    if (!take_reset(flow, state, tuple, segment)) return TC_ACT_SHOT;
    /* The gateway has nothing yet of what the pod believes it sent. */
    if (now == SLUICE_FLOW_HELD || now == SLUICE_FLOW_JUDGING) sequence = flow->pod_isn + 1;
    return pass_to_gateway(skb, packet, flow, sequence);
  }
  note_from_pod(flow, now, segment);
  if (now == SLUICE_FLOW_HELD && (flow->flags & (SLUICE_FLOW_ASK | SLUICE_FLOW_ASKED)) == SLUICE_FLOW_ASK &&
      show(skb, state, tuple, SLUICE_UPCALL_ASK)) {
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_ASKED);
  }
  if (now < SLUICE_FLOW_DENIED && was_closed(flow->flags)) end_flow(flow, state, tuple, SLUICE_END_FINISHED);
  return pass_to_gateway(skb, packet, flow, sequence);
}

/* A SYN that the gate takes. */
__noinline int begin_flow(struct __sk_buff* skb, struct sluice_packet* packet, const struct sluice_tuple* tuple,
                          const struct sluice_port* port) {
  const struct sluice_config* config = get_config();
  if (!config || !packet || !tuple || !port) return TC_ACT_SHOT;
  if (packet->segment.fin || packet->segment.rst) return TC_ACT_SHOT; /* no stack opens a connection so */
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, tuple);
  const bool again = flow && flow->ifindex == skb->ifindex && flow->pod_isn == packet->segment.sequence &&
                     is_undecided(sluice_state_of(flow->state));
  if (again) {
    if (reopen(flow, tuple)) return TC_ACT_SHOT;
  } else {
    if (flow && retire(flow, tuple)) return TC_ACT_SHOT;
    const int opened = open_flow(skb, packet, tuple, port, config->flows_per_pod);
    if (opened != 0 && flow) bpf_map_delete_elem(&flows, tuple); /* it was retired, and nobody else removes it */
    flow = opened == 0 ? bpf_map_lookup_elem(&flows, tuple) : 0;
    if (!flow) {
      report(skb, skb->ifindex, packet, SLUICE_REASON_OVERLOADED, 0);
      return refuse_tcp(skb, packet);
    }
  }
  __u16 mss = flow->mss;
  if ((packet->segment.payload != 0 && cut_syn_payload(skb, packet)) || edit_options(skb, packet, 0, 0, &mss)) {
    return TC_ACT_SHOT;
  }
  flow->mss = mss;
  if (!again) keep_syn(skb, packet, flow);
  return pass_to_gateway(skb, packet, flow, packet->segment.sequence);
}

/* What the agent made for a flow, as the pod would have sent it but with the gateway's numbers: the mark says for which
 * one, and only that one takes it. */
SLUICE_INLINE int pass_injected(struct __sk_buff* skb, const struct sluice_packet* packet, __u32 mark) {
  if (!is_plain_tcp(packet)) return TC_ACT_SHOT;
  struct sluice_tuple tuple;
  make_tuple(packet, &tuple);
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow || flow->ifindex != skb->ifindex || SLUICE_INJECTION_MARK(sluice_id_of(flow->state)) != mark) {
    return TC_ACT_SHOT;
  }
  skb->mark = 0;
  if (packet->tcp_syn && (sluice_state_of(flow->state) != SLUICE_FLOW_OPENING || reopen(flow, &tuple))) {
    return TC_ACT_SHOT;
  }
  return pass_to_gateway(skb, packet, flow, packet->segment.sequence);
}

SEC("tc")
int from_pod(struct __sk_buff* skb) {
  const __u32 mark = skb->mark;
  skb->mark = mark & ~SLUICE_MARK_MASK;
  const __u32 ifindex = skb->ifindex;
  struct sluice_packet packet;
  struct sluice_facts facts;
  struct sluice_tuple tuple;
  struct sluice_port port = {};
  parse_packet(skb, &packet);
  if ((mark & SLUICE_MARK_MASK) == SLUICE_MARK_INJECTED) return pass_injected(skb, &packet, mark);
  const struct sluice_pod* pod = bpf_map_lookup_elem(&pods, &ifindex);
  make_tuple(&packet, &tuple);
  const bool plain = is_plain_tcp(&packet);
  if (plain && !packet.tcp_syn && pod && owns_source(pod, &packet)) {
    struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
    if (flow && flow->ifindex == ifindex) return flow_from_pod(skb, &packet, &tuple, flow);
  }
  gather(skb, pod, &packet, &facts, &port);
  const struct sluice_decision decision = sluice_decide(&packet, &facts);
  if (decision.reason != SLUICE_REASON_NONE) {
    if (facts.audit) {
      /* Once a connection, not once a segment. */
      if (packet.protocol != IPPROTO_TCP || packet.tcp_syn) {
        report(skb, ifindex, &packet, decision.reason, SLUICE_EVENT_AUDIT);
      }
      skb->mark |= SLUICE_MARK_PASSED;
      return tcx_next;
    }
    report(skb, ifindex, &packet, decision.reason, 0);
  }
  switch (decision.action) {
    case SLUICE_PASS:
      return tcx_next;
    case SLUICE_PASS_OUT:
      skb->mark |= SLUICE_MARK_PASSED;
      return tcx_next;
    case SLUICE_GATE:
      return begin_flow(skb, &packet, &tuple, &port);
    case SLUICE_RELAY:
      if (packet.tcp_syn) {
        /* The port's calls went through the gate before. */
        struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
        if (flow && retire(flow, &tuple)) return TC_ACT_SHOT;
        if (flow) bpf_map_delete_elem(&flows, &tuple);
        note_connection(skb, &packet);
      }
      skb->mark |= SLUICE_MARK_RELAY;
      return tcx_next;
    case SLUICE_REFUSE_TCP:
      return refuse_tcp(skb, &packet);
    case SLUICE_REFUSE_UDP:
      return refuse_udp(skb, &packet);
    default:
      return TC_ACT_SHOT;
  }
}

/* A segment of the gateway that passes, after its acknowledgement was put in the pod's numbers. */
SLUICE_INLINE void note_to_pod(struct sluice_flow* flow, __u32 state, const struct sluice_segment* segment,
                               __u32 acknowledgement) {
  const __u32 end = segment->sequence + segment->payload;
  if (state == SLUICE_FLOW_ALLOWED || state == SLUICE_FLOW_OPEN) {
    note_bytes(&flow->gateway_next, &flow->bytes_received, segment, end);
  }
  if (segment->fin) {
    flow->gateway_fin = end + 1;
    __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_GATEWAY_FIN);
  }
  if (!segment->ack) return;
  advance(&flow->pod_acked, 0, acknowledgement);
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
    tell(state, tuple, flow->ifindex, SLUICE_UPCALL_REFUSED);
    return false;
  }
  if (!segment->syn) return true;
  flow->gateway_next = segment->sequence + 1;
  flow->gateway_acked = segment->sequence + 1;
  flow->pod_acked = segment->acknowledgement;
  change_state(flow, state, SLUICE_FLOW_HELD);
  return true;
}

__noinline int flow_to_pod(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_tuple* tuple,
                           struct sluice_flow* flow) {
  if (!packet || !tuple || !flow) return TC_ACT_SHOT;
  __u64 state = *(volatile __u64*)&flow->state;
  __u32 now = sluice_state_of(state);
  const struct sluice_segment* segment = &packet->segment;
  if (sluice_step_to_pod(now, segment) != SLUICE_STEP_PASS) return TC_ACT_SHOT;
  touch(flow);
  if (now == SLUICE_FLOW_ALLOWED && segment->ack &&
      !sluice_before(segment->acknowledgement - flow->header, flow->approved)) {
    if (change_state(flow, state, SLUICE_FLOW_OPEN)) {
      const __u64 id = sluice_id_of(state);
      state = sluice_make_state(id, SLUICE_FLOW_OPEN);
      now = SLUICE_FLOW_OPEN;
      bpf_map_delete_elem(&promises, &id);
    }
  }
  const __u32 acknowledgement =
      segment->ack ? sluice_to_pod_number(flow, now, segment->acknowledgement) : segment->acknowledgement;
  if (segment->syn) {
    __u16 mss = flow->mss;
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

/* Errors that quote a packet: unreachable, packet too big, time exceeded, parameter problem (RFC 792, RFC 4443). */
SLUICE_INLINE bool is_error(bool is_v6, __u8 type) {
  return is_v6 ? type >= 1 && type <= 4 : type == 3 || type == 11 || type == 12;
}

/* The beginning of a TCP header, as much as an error quotes at least. */
struct quoted_tcp {
  __be16 source;
  __be16 destination;
  __be32 sequence;
};

/* Reads the quoted packet as the gateway would answer it: the key of the way back. Where its TCP header stands; 0: it
 * is none of plain TCP. */
SLUICE_INLINE __u32 read_quoted(struct __sk_buff* skb, bool is_v6, __u32 offset, struct quoted_tcp* tcp,
                                struct sluice_tuple* key) {
  __builtin_memset(key, 0, sizeof *key);
  __u32 at = offset;
  if (is_v6) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) || ip.version != 6 || ip.nexthdr != IPPROTO_TCP) return 0;
    __builtin_memcpy(&key->source, &ip.daddr, sizeof key->source);
    __builtin_memcpy(&key->destination, &ip.saddr, sizeof key->destination);
    at += sizeof ip;
  } else {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, offset, &ip, sizeof ip) || ip.version != 4 || ip.ihl != 5 ||
        ip.protocol != IPPROTO_TCP || (ip.frag_off & bpf_htons(0x1fff))) {
      return 0;
    }
    set_v4(&key->source, ip.daddr);
    set_v4(&key->destination, ip.saddr);
    at += sizeof ip;
  }
  if (bpf_skb_load_bytes(skb, at, tcp, sizeof *tcp)) return 0;
  key->source_port = bpf_ntohs(tcp->destination);
  key->destination_port = bpf_ntohs(tcp->source);
  key->protocol = IPPROTO_TCP;
  return at;
}

/* An error about a packet of a flow quotes what the gateway was sent: the pod knows it by its own numbers only, and
 * without them would learn nothing of a smaller path MTU. Nothing else of the flow changes. */
__noinline int translate_error(struct __sk_buff* skb, const struct sluice_packet* packet) {
  if (!packet) return tcx_next;
  const bool is_v6 = packet->is_v6;
  const __u32 icmp = transport_offset(packet);
  const __u32 quoted = icmp + 8;
  __u8 type = 0;
  struct quoted_tcp before;
  struct sluice_tuple key;
  if (bpf_skb_load_bytes(skb, icmp, &type, 1) || !is_error(is_v6, type)) return tcx_next;
  const __u32 tcp = read_quoted(skb, is_v6, quoted, &before, &key);
  if (tcp == 0) return tcx_next;
  const struct sluice_back* back = bpf_map_lookup_elem(&backs, &key);
  if (!back) return tcx_next;
  const struct sluice_tuple tuple = back->tuple;
  const struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow || sluice_id_of(flow->state) != back->flow_id) return TC_ACT_SHOT;
  const __u32 shift = sluice_shift_of(flow, sluice_state_of(flow->state));
  struct quoted_tcp after = {
      .source = bpf_htons(tuple.source_port),
      .destination = bpf_htons(tuple.destination_port),
      .sequence = bpf_htonl(bpf_ntohl(before.sequence) - shift),
  };
  __s64 difference = bpf_csum_diff((__be32*)&before, sizeof before, (__be32*)&after, sizeof after, 0);
  if (bpf_skb_store_bytes(skb, tcp, &after, sizeof after, 0)) return TC_ACT_SHOT;
  if (is_v6) {
    difference = bpf_csum_diff((__be32*)&key.source, 16, (__be32*)&tuple.destination, 16, (__wsum)difference);
    if (bpf_skb_store_bytes(skb, quoted + 24, tuple.destination.bytes, 16, 0)) return TC_ACT_SHOT;
  } else {
    /* The quoted header's own checksum takes up what its address changes. */
    const __u32* old_words = (const __u32*)key.source.bytes;
    const __u32* new_words = (const __u32*)tuple.destination.bytes;
    if (bpf_skb_store_bytes(skb, quoted + 16, &new_words[3], 4, 0) ||
        bpf_l3_csum_replace(skb, quoted + ip_checksum_offset, old_words[3], new_words[3], 4)) {
      return TC_ACT_SHOT;
    }
  }
  return bpf_l4_csum_replace(skb, icmp + 2, 0, (__u64)difference, 0) ? TC_ACT_SHOT : tcx_next;
}

/* A pod that sends with an address that is not its own, which only mode audit lets pass. */
SLUICE_INLINE bool is_forged(const struct __sk_buff* skb, const struct sluice_packet* packet) {
  const __u32 from = skb->ingress_ifindex;
  if (from == 0) return false;
  const struct sluice_pod* pod = bpf_map_lookup_elem(&pods, &from);
  return pod && !owns_source(pod, packet);
}

/* Only what an uplink brought from outside opens a way back; a neighbouring pod cannot. */
SLUICE_INLINE void note_inbound(struct __sk_buff* skb, const struct sluice_packet* packet) {
  if (skb->ingress_ifindex == 0 || !is_uplink(skb->ingress_ifindex)) return;
  if (!packet->is_ip || packet->truncated || packet->options || packet->fragment || packet->mapped) return;
  if (packet->protocol != IPPROTO_UDP && !packet->tcp_syn) return;
  if (is_internal(&packet->source)) return;
  struct sluice_tuple tuple = {
      .source = packet->destination,
      .destination = packet->source,
      .source_port = packet->destination_port,
      .destination_port = packet->source_port,
      .protocol = packet->protocol,
  };
  const __u64 now_ns = bpf_ktime_get_ns();
  bpf_map_update_elem(&inbounds, &tuple, &now_ns, BPF_ANY);
}

/* A late segment of a gateway for a flow that is gone: the pod knows nothing of the gateway. */
SLUICE_INLINE bool is_stray(const struct sluice_packet* packet) {
  const struct sluice_internal_key key = {128, packet->source};
  const __u8* kind = bpf_map_lookup_elem(&internals, &key);
  if (!kind || *kind != SLUICE_NOT_INTERNAL || packet->tcp_syn) return false;
  const struct sluice_tuple inbound = {
      .source = packet->destination,
      .destination = packet->source,
      .source_port = packet->destination_port,
      .destination_port = packet->source_port,
      .protocol = IPPROTO_TCP,
  };
  return bpf_map_lookup_elem(&inbounds, &inbound) == 0;
}

SEC("tc")
int to_pod(struct __sk_buff* skb) {
  if ((skb->mark & SLUICE_MARK_MASK) == SLUICE_MARK_INJECTED) {
    skb->mark = 0;
    return tcx_next;
  }
  struct sluice_packet packet;
  parse_packet(skb, &packet);
  if (is_plain_tcp(&packet) && !is_forged(skb, &packet)) {
    struct sluice_tuple key;
    make_tuple(&packet, &key);
    const struct sluice_back* back = bpf_map_lookup_elem(&backs, &key);
    if (back) {
      key = back->tuple;
      struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &key);
      if (!flow || sluice_id_of(flow->state) != back->flow_id) return TC_ACT_SHOT;
      return flow_to_pod(skb, &packet, &key, flow);
    }
    if (is_stray(&packet)) return TC_ACT_SHOT;
  }
  const __u8 icmp = packet.is_v6 ? SLUICE_ICMPV6 : IPPROTO_ICMP;
  if (packet.is_ip && packet.protocol == icmp && !packet.truncated && !packet.options && !packet.fragment) {
    return translate_error(skb, &packet);
  }
  note_inbound(skb, &packet);
  return tcx_next;
}

/* The agent's packets for a flow: towards the gateway they enter as if the pod had sent them, towards the pod they
 * leave as they are. */
SEC("tc")
int inject(struct __sk_buff* skb) {
  const __u32 mark = skb->mark;
  struct sluice_packet packet;
  parse_packet(skb, &packet);
  if ((mark & SLUICE_MARK_MASK) != SLUICE_MARK_INJECTED || !is_plain_tcp(&packet)) return TC_ACT_SHOT;
  struct sluice_tuple tuple;
  make_tuple(&packet, &tuple);
  const struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (flow && SLUICE_INJECTION_MARK(sluice_id_of(flow->state)) == mark) {
    return (int)bpf_redirect(flow->ifindex, BPF_F_INGRESS);
  }
  const struct sluice_tuple reversed = {
      .source = tuple.destination,
      .destination = tuple.source,
      .source_port = tuple.destination_port,
      .destination_port = tuple.source_port,
      .protocol = IPPROTO_TCP,
  };
  flow = bpf_map_lookup_elem(&flows, &reversed);
  if (flow && SLUICE_INJECTION_MARK(sluice_id_of(flow->state)) == mark) return (int)bpf_redirect(flow->ifindex, 0);
  return TC_ACT_SHOT;
}

enum { done = 0, no_such_flow = 1, too_late = 2 };

SLUICE_INLINE int allow_flow(struct sluice_flow* flow, __u64 state, const struct sluice_judge_args* args) {
  if (sluice_state_of(state) != SLUICE_FLOW_HELD || !change_state(flow, state, SLUICE_FLOW_JUDGING)) return too_late;
  /* From here on nobody else writes the state, until it is no more JUDGING. */
  const __u32 first = flow->pod_isn + 1;
  flow->approved = args->approved;
  flow->header = args->header;
  flow->host = args->host;
  flow->audit[0] = args->audit[0];
  flow->audit[1] = args->audit[1];
  flow->sniffed = args->sniffed;
  flow->pod_next = args->approved;
  flow->bytes_sent = args->approved - first;
  const bool nothing_to_send = args->header == 0 && args->approved == first;
  const __u64 judging = sluice_make_state(args->flow_id, SLUICE_FLOW_JUDGING);
  return change_state(flow, judging, nothing_to_send ? SLUICE_FLOW_OPEN : SLUICE_FLOW_ALLOWED) ? done : too_late;
}

/* Writes a verdict for one flow, and for no other that has its ports. */
SEC("syscall")
int judge(struct sluice_judge_args* args) {
  const struct sluice_tuple tuple = args->tuple;
  struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow) return no_such_flow;
  for (__u32 attempt = 0; attempt < 8; attempt++) {
    const __u64 state = *(volatile __u64*)&flow->state;
    const __u32 now = sluice_state_of(state);
    if (sluice_id_of(state) != args->flow_id) return no_such_flow;
    if (args->verdict == SLUICE_FLOW_ALLOWED) return allow_flow(flow, state, args);
    if (args->verdict == SLUICE_FLOW_OPENING) {
      if (now != SLUICE_FLOW_OPENING) return too_late;
      __sync_fetch_and_or(&flow->flags, SLUICE_FLOW_REFUSED);
      return done;
    }
    if (args->verdict == SLUICE_FLOW_COLLECTED) {
      return now == SLUICE_FLOW_ENDED && change_state(flow, state, SLUICE_FLOW_COLLECTED) ? done : too_late;
    }
    if (now >= SLUICE_FLOW_DENIED) return too_late;
    if (now == SLUICE_FLOW_JUDGING) continue;
    if (change_state(flow, state, SLUICE_FLOW_DENIED)) return done;
  }
  return too_late;
}

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
      return flow->sniffed == SLUICE_SNIFFED_TLS && flow->bytes_received == 0 && age_ns > (__s64)args->answer_ns;
    case SLUICE_FLOW_ENDED:
      return true; /* nobody heard of it */
    default:
      return false;
  }
}

/* Denied, or recorded, and nothing late is to be expected any more. */
SLUICE_INLINE bool is_over(const struct sluice_flow* flow, __u32 state, const struct sluice_sweep_args* args) {
  return (state == SLUICE_FLOW_DENIED || state == SLUICE_FLOW_COLLECTED) &&
         (__s64)(args->now_ns - flow->seen_ns) > (__s64)args->ended_ns;
}

SLUICE_INLINE void remove_flow(struct sluice_flow* flow, const struct sluice_tuple* tuple, __u64 state) {
  if (!change_state(flow, state, SLUICE_FLOW_GONE)) return;
  remove_back(flow, tuple, sluice_id_of(state));
  count_removed(flow->ifindex);
  bpf_map_delete_elem(&flows, tuple);
}

enum { late_at_once = 1024 };

__noinline int sweep_flow(struct sluice_tuple* tuple, struct sluice_flow* flow, struct sluice_sweep_args* args) {
  if (!tuple || !flow || !args) return 0;
  const __u64 state = *(volatile __u64*)&flow->state;
  const __u32 now = sluice_state_of(state);
  args->flows++;
  if (is_undecided(now)) args->undecided++;
  if (is_over(flow, now, args)) {
    remove_flow(flow, tuple, state);
  } else if (is_late(flow, now, args) && args->late < late_at_once) {
    args->late++;
    tell(state, tuple, flow->ifindex, SLUICE_UPCALL_LATE);
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

SEC("tc")
int uplink_guard(struct __sk_buff* skb) {
  const __u32 from = skb->ingress_ifindex;
  struct sluice_packet packet;
  parse_packet(skb, &packet);
  const struct sluice_leaving leaving = {
      .is_arp = packet.is_arp,
      .is_ip = packet.is_ip,
      .internal = packet.is_ip && is_internal(&packet.destination),
      .forwarded = from != 0 && !is_uplink(from),
      .mark = skb->mark,
  };
  const struct sluice_decision decision = sluice_decide_leaving(&leaving);
  if (decision.action == SLUICE_PASS) return tcx_next;
  const struct sluice_pod* pod = bpf_map_lookup_elem(&pods, &from);
  const bool audit = pod && (pod->flags & SLUICE_POD_AUDIT);
  report(skb, from, &packet, decision.reason, SLUICE_EVENT_GUARD | (audit ? SLUICE_EVENT_AUDIT : 0));
  return audit ? tcx_next : TC_ACT_SHOT;
}

SLUICE_INLINE void lookup_destination(const struct bpf_sk_lookup* lookup, bool is_v6,
                                      struct sluice_address* destination) {
  __u32 v4 = lookup->local_ip4;
  __u32 v6[4] = {lookup->local_ip6[0], lookup->local_ip6[1], lookup->local_ip6[2], lookup->local_ip6[3]};
  barrier_var(v4); /* or clang computes a place in the context, which the verifier does not take */
  barrier_var(v6[3]);
  if (is_v6) {
    __builtin_memcpy(destination->bytes, v6, sizeof v6);
  } else {
    set_v4(destination, v4);
  }
}

/* Connections that from_pod marked for the relay end up in the local stack by a routing rule; there this program gives
 * them to a listener of the agent. The mark is not visible here, but whatever is delivered locally, came from a pod's
 * side and has a destination outside the cluster can only be one of them. */
SEC("sk_lookup")
int choose_listener(struct bpf_sk_lookup* lookup) {
  enum { loopback_ifindex = 1 };
  if (lookup->protocol != IPPROTO_TCP || lookup->ingress_ifindex <= loopback_ifindex ||
      is_uplink(lookup->ingress_ifindex)) {
    return SK_PASS;
  }
  const bool is_v6 = lookup->family == 10 /* AF_INET6 */;
  struct sluice_address destination;
  lookup_destination(lookup, is_v6, &destination);
  if (is_internal(&destination) || (is_v6 && sluice_link_scope(&destination))) return SK_PASS;
  const struct sluice_config* config = get_config();
  if (!config || config->listener_count == 0) return SK_DROP;
  const __u32 spread = bpf_get_prandom_u32() % config->listener_count;
  const __u32 index = (is_v6 ? SLUICE_MAX_LISTENERS : 0) + (spread & (SLUICE_MAX_LISTENERS - 1));
  struct bpf_sock* socket = bpf_map_lookup_elem(&listeners, &index);
  if (!socket) return SK_DROP;
  const long assigned = bpf_sk_assign(lookup, socket, 0);
  bpf_sk_release(socket);
  return assigned == 0 ? SK_PASS : SK_DROP;
}
