/* Translation between what a pod and what its gateway see: addresses, ports, sequence numbers, and the TCP options that
 * hold any of them. Both families by the same code. */
#pragma once

#include "bpf/flow.h"
#include "bpf/maps.h"
#include "bpf/refuse.h"

enum { tcp_checksum_offset = 16, ip_checksum_offset = 10, tcp_max_options = 40 };
enum {
  option_end = 0,
  option_nop = 1,
  option_mss = 2,
  option_sack = 5,
  option_mptcp = 30,
  option_fast_open = 34,
  option_experiment1 = 253,
  option_experiment2 = 254,
};

/* What a segment becomes. */
struct sluice_rewrite {
  struct sluice_address address; /* first: it is read by words */
  bool source;                   /* its source becomes that, or else its destination */
  __u16 source_port;
  __u16 destination_port;
  __u32 sequence;
  __u32 acknowledgement;
};

SLUICE_INLINE __u32 address_offset(bool is_v6, bool source) {
  if (is_v6) return ip_offset + (source ? 8 : 24);
  return ip_offset + (source ? 12 : 16);
}

/* Puts `address` in the IP header; the difference that makes to a pseudo header goes to `difference`. */
SLUICE_INLINE int rewrite_address(struct __sk_buff* skb, bool is_v6, bool source, const struct sluice_address* before,
                                  const struct sluice_address* address, __s64* difference) {
  const __u32 offset = address_offset(is_v6, source);
  *difference = bpf_csum_diff((__be32*)before, sizeof *before, (__be32*)address, sizeof *address, 0);
  if (is_v6) return bpf_skb_store_bytes(skb, offset, address->bytes, 16, 0);
  const __u32* old_words = (const __u32*)before->bytes;
  const __u32* new_words = (const __u32*)address->bytes;
  if (bpf_skb_store_bytes(skb, offset, &new_words[3], 4, 0)) return -1;
  return bpf_l3_csum_replace(skb, ip_offset + ip_checksum_offset, old_words[3], new_words[3], 4);
}

/* The urgent flag and pointer go: with them two ends can be made to read different bytes. */
__noinline int rewrite_tcp(struct __sk_buff* skb, const struct sluice_packet* packet,
                           const struct sluice_rewrite* rewrite) {
  if (!packet || !rewrite) return -1;
  const __u32 offset = transport_offset(packet);
  struct tcphdr before;
  if (bpf_skb_load_bytes(skb, offset, &before, sizeof before)) return -1;
  struct tcphdr after = before;
  after.source = bpf_htons(rewrite->source_port);
  after.dest = bpf_htons(rewrite->destination_port);
  after.seq = bpf_htonl(rewrite->sequence);
  after.ack_seq = bpf_htonl(rewrite->acknowledgement);
  after.urg = 0;
  after.urg_ptr = 0;
  const __s64 difference = bpf_csum_diff((__be32*)&before, sizeof before, (__be32*)&after, sizeof after, 0);
  __s64 pseudo = 0;
  const struct sluice_address* old_address = rewrite->source ? &packet->source : &packet->destination;
  if (bpf_skb_store_bytes(skb, offset, &after, sizeof after, 0) ||
      rewrite_address(skb, packet->is_v6, rewrite->source, old_address, &rewrite->address, &pseudo)) {
    return -1;
  }
  const __u32 checksum = offset + tcp_checksum_offset;
  return bpf_l4_csum_replace(skb, checksum, 0, (__u64)pseudo, BPF_F_PSEUDO_HDR) ||
                 bpf_l4_csum_replace(skb, checksum, 0, (__u64)difference, 0)
             ? -1
             : 0;
}

SLUICE_INLINE struct sluice_scratch* get_scratch(void) {
  const __u32 zero = 0;
  return bpf_map_lookup_elem(&scratches, &zero);
}

SLUICE_INLINE __u32 load_word(const __u8* options, __u32 at) {
  return (__u32)options[at & 63] << 24 | (__u32)options[(at + 1) & 63] << 16 | (__u32)options[(at + 2) & 63] << 8 |
         options[(at + 3) & 63];
}

SLUICE_INLINE void store_word(__u8* options, __u32 at, __u32 word) {
  options[at & 63] = (__u8)(word >> 24);
  options[(at + 1) & 63] = (__u8)(word >> 16);
  options[(at + 2) & 63] = (__u8)(word >> 8);
  options[(at + 3) & 63] = (__u8)word;
}

SLUICE_INLINE void blank(__u8* options, __u32 at, __u32 size) {
  for (__u32 index = 0; index < tcp_max_options; index++) {
    if (index >= size) break;
    options[(at + index) & 63] = option_nop;
  }
}

/* The edges of selective acknowledgements (RFC 2018) in the pod's numbers. A block that has nothing of the pod's own
 * bytes makes the whole option void: it says nothing that the acknowledgement does not. */
SLUICE_INLINE void shift_blocks(__u8* options, __u32 at, __u32 size, const struct sluice_flow* flow, __u32 state) {
  for (__u32 block = 0; block < 4; block++) {
    const __u32 place = at + 2 + 8 * block;
    if (10 + 8 * block > size) return;
    const __u32 left = sluice_to_pod_number(flow, state, load_word(options, place));
    const __u32 right = sluice_to_pod_number(flow, state, load_word(options, place + 4));
    if (left == right) {
      blank(options, at, size);
      return;
    }
    store_word(options, place, left);
    store_word(options, place + 4, right);
  }
}

/* Options of a SYN that let bytes pass where the gate does not look: MPTCP (RFC 8684), TCP Fast Open (RFC 7413) and
 * what experiments put there. */
SLUICE_INLINE bool is_forbidden_in_syn(__u8 kind) {
  return kind == option_mptcp || kind == option_fast_open || kind == option_experiment1 || kind == option_experiment2;
}

/* The walk over a segment's options. */
struct sluice_walk {
  __u8* options;
  const struct sluice_flow* flow; /* of a SYN: null */
  __u32 state;
  __u32 length;
  __u32 at;
  __u16 mss; /* of a SYN: the maximum segment size that it says, or as it was */
  bool syn;
  bool changed;
};

static long take_option(__u32 index, struct sluice_walk* walk) {
  const __u32 at = walk->at & 63;
  const __u32 length = walk->length;
  if (index >= tcp_max_options || at >= length) return 1;
  const __u8 kind = walk->options[at];
  if (kind == option_end) return 1;
  if (kind == option_nop) {
    walk->at = at + 1;
    return 0;
  }
  const __u32 size = walk->options[(at + 1) & 63];
  if (size < 2 || at + size > length) return 1;
  if (walk->syn && kind == option_mss && size == 4) {
    walk->mss = (__u16)(load_word(walk->options, at) & 0xffff);
  } else if (walk->syn && is_forbidden_in_syn(kind)) {
    blank(walk->options, at, size);
    walk->changed = true;
  } else if (!walk->syn && kind == option_sack && walk->flow) {
    shift_blocks(walk->options, at, size, walk->flow, walk->state);
    walk->changed = true;
  }
  walk->at = at + size;
  return 0;
}

/* Edits the options of a segment: in a SYN or SYN-ACK what is forbidden is blanked, and the maximum segment size goes
 * to `mss`; in others the blocks of `flow` are shifted. A list that contradicts itself stays as it is from there on,
 * for its receiver to refuse. */
__noinline int edit_options(struct __sk_buff* skb, const struct sluice_packet* packet, const struct sluice_flow* flow,
                            __u32 state, __u16* mss) {
  struct sluice_scratch* scratch = get_scratch();
  if (!scratch || !packet || !mss) return -1;
  __u32 length = packet->segment.header - sizeof(struct tcphdr);
  if (length == 0) return 0;
  barrier_var(length);
  if (length == 0 || length > tcp_max_options) return -1;
  const __u32 offset = transport_offset(packet) + sizeof(struct tcphdr);
  __u8* before = scratch->options[0];
  __u8* after = scratch->options[1];
  __builtin_memset(before, 0, 64);
  if (bpf_skb_load_bytes(skb, offset, before, length)) return -1;
  __builtin_memcpy(after, before, 64);
  struct sluice_walk walk = {
      .options = after, .flow = flow, .state = state, .length = length, .mss = *mss, .syn = packet->segment.syn};
  bpf_loop(tcp_max_options, take_option, &walk, 0);
  *mss = walk.mss;
  if (!walk.changed) return 0;
  const __s64 difference = bpf_csum_diff((__be32*)before, tcp_max_options, (__be32*)after, tcp_max_options, 0);
  if (bpf_skb_store_bytes(skb, offset, after, length, 0)) return -1;
  const __u32 checksum = transport_offset(packet) + tcp_checksum_offset;
  return bpf_l4_csum_replace(skb, checksum, 0, (__u64)difference, 0) ? -1 : 0;
}

/* The flags of a segment become RST alone. */
SLUICE_INLINE int turn_into_reset(struct __sk_buff* skb, const struct sluice_packet* packet) {
  const __u32 offset = transport_offset(packet);
  const __u32 place = offset + 12; /* data offset and flags */
  __u16 before = 0;
  if (bpf_skb_load_bytes(skb, place, &before, sizeof before)) return -1;
  const __u16 after = bpf_htons((bpf_ntohs(before) & 0xf000) | 0x0004);
  if (bpf_skb_store_bytes(skb, place, &after, sizeof after, 0)) return -1;
  return bpf_l4_csum_replace(skb, offset + tcp_checksum_offset, before, after, sizeof after) ? -1 : 0;
}

/* A SYN goes without its payload (TCP Fast Open): those bytes were not held. The pod sends them again. */
__noinline int cut_syn_payload(struct __sk_buff* skb, struct sluice_packet* packet) {
  if (!packet) return -1;
  const __u32 offset = transport_offset(packet);
  __u32 header = packet->segment.header;
  struct {
    struct tcphdr tcp;
    __u8 options[tcp_max_options];
  } whole = {};
  barrier_var(header);
  if (header < sizeof(struct tcphdr) || header > sizeof whole) return -1;
  const __u32 old_length = header + packet->segment.payload;
  if (bpf_skb_load_bytes(skb, offset, &whole, header)) return -1;
  const bool partial =
      whole.tcp.check == fold(pseudo_sum(&packet->source, &packet->destination, IPPROTO_TCP, old_length));
  const __u64 pseudo = pseudo_sum(&packet->source, &packet->destination, IPPROTO_TCP, header);
  whole.tcp.check = 0;
  __u16 check = fold(pseudo);
  if (!partial) check = (__u16)~fold(pseudo + (__u64)bpf_csum_diff(0, 0, (__be32*)&whole, sizeof whole, 0));
  if (bpf_skb_change_tail(skb, offset + header, 0) ||
      bpf_skb_store_bytes(skb, offset + tcp_checksum_offset, &check, sizeof check, 0)) {
    return -1;
  }
  packet->segment.payload = 0;
  if (packet->is_v6) {
    const __be16 length = bpf_htons(header);
    return bpf_skb_store_bytes(skb, ip_offset + 4, &length, sizeof length, 0);
  }
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof ip)) return -1;
  const __be16 total = bpf_htons(sizeof ip + header);
  if (bpf_l3_csum_replace(skb, ip_offset + ip_checksum_offset, ip.tot_len, total, 2)) return -1;
  return bpf_skb_store_bytes(skb, ip_offset + 2, &total, sizeof total, 0);
}
