/* The node's gate: what a pod sends is decided where it enters the node (from_pod), what answers it is noted where it
 * leaves for the pod (to_pod), what must not leave the node is stopped at its uplinks (uplink_guard), and what is
 * relayed finds the agent's listener (choose_listener). */
#include <linux/bpf.h>

#include "bpf/maps.h"
#include "bpf/parse.h"
#include "bpf/refuse.h"
#include "bpf/report.h"

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

SLUICE_INLINE bool agent_is_alive(void) {
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

/* What is registered for protocol, port and address. */
SLUICE_INLINE void look_up_port(const struct sluice_packet* packet, struct sluice_facts* facts) {
  const struct sluice_config* config = get_config();
  if (!config || config->generation == 0) return;
  facts->policy = true;
  struct sluice_destination_key key = {.prefix_length = 64 + 128, .address = packet->destination};
  key.port.generation = config->generation;
  key.port.port = packet->destination_port;
  key.port.protocol = packet->protocol;
  const __u8* port = bpf_map_lookup_elem(&ports, &key.port);
  if (!port) return;
  facts->port = *port;
  facts->address_registered = *port == SLUICE_PORT_ANY_ADDRESS || bpf_map_lookup_elem(&destinations, &key) != 0;
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
                          struct sluice_facts* facts) {
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
  look_up_port(packet, facts);
  if (!tcp) return;
  facts->alive = agent_is_alive();
  facts->listening = has_listener(packet->is_v6);
  if (!packet->tcp_syn && (!facts->listening || facts->audit)) facts->has_socket = has_socket(skb, packet);
}

/* The socket that sends a SYN belongs to a process of the pod; its cookie is found here, where no pod can forge it. */
SLUICE_INLINE void note_connection(struct __sk_buff* skb, const struct sluice_packet* packet) {
  const __u64 cookie = bpf_get_socket_cookie(skb);
  if (cookie == 0) return;
  struct sluice_tuple tuple;
  make_tuple(packet, &tuple);
  bpf_map_update_elem(&conns, &tuple, &cookie, BPF_ANY);
}

SEC("tc")
int from_pod(struct __sk_buff* skb) {
  skb->mark &= ~SLUICE_MARK_MASK;
  const __u32 ifindex = skb->ifindex;
  struct sluice_packet packet;
  struct sluice_facts facts;
  parse_packet(skb, &packet);
  const struct sluice_pod* pod = bpf_map_lookup_elem(&pods, &ifindex);
  gather(skb, pod, &packet, &facts);
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
    case SLUICE_RELAY:
      if (packet.tcp_syn) note_connection(skb, &packet);
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

/* Only what an uplink brought from outside opens a way back; a neighbouring pod cannot. */
SEC("tc")
int to_pod(struct __sk_buff* skb) {
  if (skb->ingress_ifindex == 0 || !is_uplink(skb->ingress_ifindex)) return tcx_next;
  struct sluice_packet packet;
  parse_packet(skb, &packet);
  if (!packet.is_ip || packet.truncated || packet.options || packet.fragment || packet.mapped) return tcx_next;
  if (packet.protocol != IPPROTO_UDP && !packet.tcp_syn) return tcx_next;
  if (is_internal(&packet.source)) return tcx_next;
  struct sluice_tuple tuple = {
      .source = packet.destination,
      .destination = packet.source,
      .source_port = packet.destination_port,
      .destination_port = packet.source_port,
      .protocol = packet.protocol,
  };
  const __u64 now_ns = bpf_ktime_get_ns();
  bpf_map_update_elem(&inbounds, &tuple, &now_ns, BPF_ANY);
  return tcx_next;
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
