/* What the maps know about a packet: the facts by which it is decided. */
#pragma once

#include "bpf/decide.h"
#include "bpf/hold.h"
#include "bpf/maps.h"
#include "bpf/parse.h"

enum { tcx_next = -1 }; /* go on with what others attached to the same hook */

SLUICE_INLINE bool is_internal(const struct sluice_address* address) {
  const struct sluice_internal_key key = {128, *address};
  const __u8* kind = bpf_map_lookup_elem(&internals, &key);
  return kind && *kind == SLUICE_INTERNAL;
}

SLUICE_INLINE bool is_uplink(__u32 ifindex) {
  const __u8* kind = bpf_map_lookup_elem(&links, &ifindex);
  return kind && *kind == SLUICE_LINK_UPLINK;
}

SLUICE_INLINE bool is_released(void) {
  const struct sluice_config* config = get_config();
  return config && (config->flags & SLUICE_RELEASED);
}

/* An agent that ends takes its listeners away first; one that was killed leaves the heart's last beat. */
SLUICE_INLINE bool agent_is_alive(void) {
  const struct sluice_config* config = get_config();
  if (!config || config->listener_count == 0 || (config->flags & SLUICE_RELEASED)) return false;
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

/* The flow's key, from that of the way back. */
SLUICE_INLINE void follow_back(const struct sluice_back* back, struct sluice_tuple* key) {
  key->source = key->destination;
  key->destination = back->destination;
  key->source_port = back->source_port;
  key->destination_port = back->destination_port;
}

SLUICE_INLINE bool owns_source(const struct sluice_pod* pod, const struct sluice_packet* packet) {
#pragma unroll
  for (__u32 index = 0; index < SLUICE_POD_ADDRESSES; index++) {
    if (index < pod->address_count && sluice_same_address(&pod->addresses[index], &packet->source)) return true;
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
  facts->released = is_released();
  if (facts->released) return;
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

/* A gateway's address: not internal though it may stand in an internal network. */
SLUICE_INLINE bool is_gateway(const struct sluice_address* address) {
  const struct sluice_internal_key key = {128, *address};
  const __u8* kind = bpf_map_lookup_elem(&internals, &key);
  return kind && *kind == SLUICE_NOT_INTERNAL;
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
