/* ICMP errors about packets of a flow. */
#pragma once

#include "bpf/facts.h"
#include "bpf/flow.h"
#include "bpf/translate.h"

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
  struct sluice_tuple tuple = key;
  follow_back(back, &tuple);
  const struct sluice_flow* flow = bpf_map_lookup_elem(&flows, &tuple);
  if (!flow || flow->ifindex != skb->ifindex || sluice_id_of(flow->state) != back->flow_id) return TC_ACT_SHOT;
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
