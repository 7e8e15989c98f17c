/* The node's gate: what a pod sends is decided where it enters the node (from_pod), what answers it is translated or
 * noted where it leaves for the pod (to_pod), what must not leave the node is stopped at its uplinks (uplink_guard),
 * what is relayed finds the agent's listener (choose_listener), and what the agent sends for a flow gets there by the
 * helper interface (inject). Verdicts and the end of flows are written by programs that the agent runs (judge, sweep):
 * it never writes an entry that packets change. */
#include <linux/bpf.h>

#include "bpf/facts.h"
#include "bpf/from_pod.h"
#include "bpf/icmp_error.h"
#include "bpf/judge.h"
#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/refuse.h"
#include "bpf/report.h"
#include "bpf/steer.h"
#include "bpf/to_pod.h"

char LICENSE[] SEC("license") = "GPL";

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
  /* Also of a flow, which may be older than what the pod's addresses are now. */
  if (!packet.tcp_syn && is_plain_tcp(&packet) && pod && owns_source(pod, &packet)) {
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
  int action = TC_ACT_SHOT;
  switch (decision.action) {
    case SLUICE_PASS:
      return tcx_next;
    case SLUICE_PASS_OUT:
      if (packet.tcp_syn && retire_tuple(&tuple, ifindex)) return TC_ACT_SHOT;
      skb->mark |= SLUICE_MARK_PASSED;
      return tcx_next;
    case SLUICE_GATE:
      return begin_flow(skb, &packet, &tuple, &port);
    case SLUICE_RELAY:
      if (packet.tcp_syn) {
        if (!leave_flow(skb, &packet, &tuple, &action)) return action;
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

/* from_pod lets nothing pass with another source. (What comes from a gateway of this node behind a cluster address has
 * got that as its source since.) */
SLUICE_INLINE bool checks_source(const struct sluice_pod* pod) {
  return pod->address_count != 0 && !(pod->flags & SLUICE_POD_AUDIT) && !is_released();
}

/* From a pod with an address that is not its own, which mode audit lets pass, or from an interface that nobody looked
 * at yet. */
SLUICE_INLINE bool is_forged(const struct __sk_buff* skb, const struct sluice_packet* packet) {
  const __u32 from = skb->ingress_ifindex;
  if (from == 0) return false;
  if (from == skb->ifindex) return true; /* from_pod's own answer to the pod, which is no flow's */
  const struct sluice_pod* pod = bpf_map_lookup_elem(&pods, &from);
  return pod ? !checks_source(pod) && !owns_source(pod, packet) : bpf_map_lookup_elem(&links, &from) == 0;
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

/* A late segment of a gateway for a flow that is gone: the pod knows nothing of the gateway, unless nothing keeps it
 * from calling it. */
SLUICE_INLINE bool is_stray(const struct sluice_packet* packet) {
  if (packet->tcp_syn || !is_gateway(&packet->source) || is_released()) return false;
  const struct sluice_tuple inbound = {
      .source = packet->destination,
      .destination = packet->source,
      .source_port = packet->destination_port,
      .destination_port = packet->source_port,
      .protocol = IPPROTO_TCP,
  };
  return bpf_map_lookup_elem(&inbounds, &inbound) == 0;
}

/* Of a gateway, and of which flow cannot be said. */
SLUICE_INLINE bool is_odd(const struct sluice_packet* packet) {
  return packet->is_ip && (packet->protocol == IPPROTO_TCP || packet->fragment || packet->options) &&
         is_gateway(&packet->source) && !is_released();
}

SEC("tc")
int to_pod(struct __sk_buff* skb) {
  if ((skb->mark & SLUICE_MARK_MASK) == SLUICE_MARK_INJECTED) {
    skb->mark = 0;
    return tcx_next;
  }
  struct sluice_packet packet;
  parse_packet(skb, &packet);
  const bool plain = is_plain_tcp(&packet);
  if (plain && !is_forged(skb, &packet)) {
    struct sluice_tuple key;
    make_tuple(&packet, &key);
    const struct sluice_back* back = bpf_map_lookup_elem(&backs, &key);
    if (back) {
      follow_back(back, &key);
      struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &key);
      if (!flow || flow->ifindex != skb->ifindex || sluice_id_of(flow->state) != back->flow_id) return TC_ACT_SHOT;
      return flow_to_pod(skb, &packet, &key, flow);
    }
    if (is_stray(&packet)) return TC_ACT_SHOT;
  } else if (!plain && is_odd(&packet)) {
    return TC_ACT_SHOT;
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

SEC("tc")
int uplink_guard(struct __sk_buff* skb) {
  const __u32 from = skb->ingress_ifindex;
  struct sluice_packet packet;
  if (from != 0 && (skb->mark & SLUICE_MARK_MASK) == SLUICE_MARK_PASSED) return tcx_next; /* most of them */
  parse_packet(skb, &packet);
  const struct sluice_leaving leaving = {
      .released = is_released(),
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
