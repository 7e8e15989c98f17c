/* Refusing at once: the packet is turned into its own answer and sent back to the pod. The node's stack would not
 * answer for an address that is not its own, and the client would wait for a timeout. */
#pragma once

#include <linux/pkt_cls.h>

#include "bpf/parse.h"

/* The UAPI's ICMP headers pull in those of the C library. */
struct icmp_unreachable {
  __u8 type;
  __u8 code;
  __be16 checksum;
  __u32 unused;
};
enum { icmp_v4_unreachable = 3, icmp_v4_port = 3, icmp_v6_unreachable = 1, icmp_v6_port = 4 };

SLUICE_INLINE __u16 fold(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (__u16)sum;
}

/* The pseudo header of TCP, UDP and ICMPv6 (RFC 9293 section 3.1, RFC 8200 section 8.1), not folded. The mapping's
 * 0xffff adds nothing in one's complement, so one sum serves both families. */
SLUICE_INLINE __u64 pseudo_sum(const struct sluice_address* a, const struct sluice_address* b, __u8 protocol,
                               __u32 length) {
  __u32 words[2] = {bpf_htonl(length), bpf_htonl(protocol)};
  __u64 sum = bpf_csum_diff(0, 0, (__be32*)a, sizeof *a, 0);
  sum += (__u64)bpf_csum_diff(0, 0, (__be32*)b, sizeof *b, 0);
  return sum + (__u64)bpf_csum_diff(0, 0, words, sizeof words, 0);
}

SLUICE_INLINE int swap_macs(struct __sk_buff* skb) {
  struct ethhdr eth;
  __u8 mac[ETH_ALEN];
  if (bpf_skb_load_bytes(skb, 0, &eth, sizeof eth)) return -1;
  __builtin_memcpy(mac, eth.h_source, ETH_ALEN);
  __builtin_memcpy(eth.h_source, eth.h_dest, ETH_ALEN);
  __builtin_memcpy(eth.h_dest, mac, ETH_ALEN);
  return bpf_skb_store_bytes(skb, 0, &eth, sizeof eth, 0);
}

/* The IP header of an answer with `length` bytes behind it. */
SLUICE_INLINE int store_ip(struct __sk_buff* skb, const struct sluice_packet* packet, __u8 protocol, __u16 length) {
  if (packet->is_v6) {
    struct ipv6hdr ip = {.version = 6, .payload_len = bpf_htons(length), .nexthdr = protocol, .hop_limit = 64};
    __builtin_memcpy(&ip.saddr, &packet->destination, sizeof ip.saddr);
    __builtin_memcpy(&ip.daddr, &packet->source, sizeof ip.daddr);
    return bpf_skb_store_bytes(skb, ip_offset, &ip, sizeof ip, BPF_F_RECOMPUTE_CSUM);
  }
  struct iphdr ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = protocol};
  ip.tot_len = bpf_htons(sizeof ip + length);
  ip.frag_off = bpf_htons(0x4000);
  __builtin_memcpy(&ip.saddr, packet->destination.bytes + 12, 4);
  __builtin_memcpy(&ip.daddr, packet->source.bytes + 12, 4);
  ip.check = (__u16)~fold((__u64)bpf_csum_diff(0, 0, (__be32*)&ip, sizeof ip, 0));
  return bpf_skb_store_bytes(skb, ip_offset, &ip, sizeof ip, BPF_F_RECOMPUTE_CSUM);
}

/* The bytes behind the IP header. */
SLUICE_INLINE int load_length(struct __sk_buff* skb, bool is_v6, __u32* length) {
  if (is_v6) {
    struct ipv6hdr ip;
    if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof ip)) return -1;
    *length = bpf_ntohs(ip.payload_len);
  } else {
    struct iphdr ip;
    if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof ip)) return -1;
    *length = bpf_ntohs(ip.tot_len) - sizeof ip;
  }
  return 0;
}

/* The flags and numbers of an answer to a segment. RST is as RFC 9293 section 3.5.2 wants it: with the sequence number
 * that the peer expects, or acknowledging all it sent. */
SLUICE_INLINE struct tcphdr make_refusal(const struct tcphdr* tcp, __u32 length) {
  struct tcphdr answer = {.rst = 1};
  if (tcp->ack) {
    answer.seq = tcp->ack_seq;
  } else {
    answer.ack = 1;
    answer.ack_seq = bpf_htonl(bpf_ntohl(tcp->seq) + tcp->syn + tcp->fin + length - tcp->doff * 4U);
  }
  return answer;
}

struct sluice_question {
  __u32 sequence;
  __u32 acknowledgement;
};

/* Sends a refusal to where the packet came from or, when there is one, the question. */
__noinline int answer_tcp(struct __sk_buff* skb, const struct sluice_packet* packet,
                          const struct sluice_question* question) {
  if (!packet) return TC_ACT_SHOT;
  const __u32 offset = transport_offset(packet);
  struct tcphdr tcp;
  __u32 length = 0;
  if (bpf_skb_load_bytes(skb, offset, &tcp, sizeof tcp) || load_length(skb, packet->is_v6, &length)) return TC_ACT_SHOT;
  struct tcphdr answer = make_refusal(&tcp, length);
  if (question) {
    answer.rst = 0;
    answer.ack = 1;
    answer.seq = bpf_htonl(question->sequence);
    answer.ack_seq = bpf_htonl(question->acknowledgement);
  }
  answer.source = tcp.dest;
  answer.dest = tcp.source;
  answer.doff = 5;
  /* A checksum that is only the pseudo header's sum is one that the kernel still has to complete (CHECKSUM_PARTIAL),
   * and the answer's will be completed, or not looked at, in the same way. */
  const bool partial = tcp.check == fold(pseudo_sum(&packet->source, &packet->destination, IPPROTO_TCP, length));
  const __u64 pseudo = pseudo_sum(&packet->destination, &packet->source, IPPROTO_TCP, sizeof answer);
  if (partial) {
    answer.check = fold(pseudo);
  } else {
    answer.check = (__u16)~fold(pseudo + (__u64)bpf_csum_diff(0, 0, (__be32*)&answer, sizeof answer, 0));
  }
  if (bpf_skb_change_tail(skb, offset + sizeof answer, 0) || swap_macs(skb) ||
      store_ip(skb, packet, IPPROTO_TCP, sizeof answer) ||
      bpf_skb_store_bytes(skb, offset, &answer, sizeof answer, BPF_F_RECOMPUTE_CSUM)) {
    return TC_ACT_SHOT;
  }
  return (int)bpf_redirect(skb->ifindex, 0);
}

SLUICE_INLINE int refuse_tcp(struct __sk_buff* skb, const struct sluice_packet* packet) {
  return answer_tcp(skb, packet, 0);
}

/* Asks whether the connection is there (RFC 5961 section 3.2): who has forgotten it answers with the RST that belongs
 * at `acknowledgement`. Who has not sees a number that is known, and takes nothing else from it. */
SLUICE_INLINE int ask_back(struct __sk_buff* skb, const struct sluice_packet* packet, __u32 next,
                           __u32 acknowledgement) {
  const struct sluice_question question = {next - 1, acknowledgement};
  return answer_tcp(skb, packet, &question);
}

/* Port unreachable around the datagram's IP and UDP headers: ICMP (RFC 792) or ICMPv6 (RFC 4443 section 3.1). */
SLUICE_INLINE int refuse_udp_v4(struct __sk_buff* skb, const struct sluice_packet* packet) {
  struct {
    struct icmp_unreachable icmp;
    __u8 quoted[sizeof(struct iphdr) + sizeof(struct udphdr)];
  } answer = {.icmp = {.type = icmp_v4_unreachable, .code = icmp_v4_port}};
  if (bpf_skb_load_bytes(skb, ip_offset, answer.quoted, sizeof answer.quoted)) return TC_ACT_SHOT;
  answer.icmp.checksum = (__u16)~fold((__u64)bpf_csum_diff(0, 0, (__be32*)&answer, sizeof answer, 0));
  if (bpf_skb_change_tail(skb, ip_offset + sizeof answer.quoted, 0) ||
      bpf_skb_adjust_room(skb, sizeof(struct iphdr) + sizeof(struct icmp_unreachable), BPF_ADJ_ROOM_MAC, 0) ||
      swap_macs(skb) || store_ip(skb, packet, IPPROTO_ICMP, sizeof answer) ||
      bpf_skb_store_bytes(skb, ip_offset + sizeof(struct iphdr), &answer, sizeof answer, BPF_F_RECOMPUTE_CSUM)) {
    return TC_ACT_SHOT;
  }
  return (int)bpf_redirect(skb->ifindex, 0);
}

SLUICE_INLINE int refuse_udp_v6(struct __sk_buff* skb, const struct sluice_packet* packet) {
  struct {
    struct icmp_unreachable icmp;
    __u8 quoted[sizeof(struct ipv6hdr) + sizeof(struct udphdr)];
  } answer = {.icmp = {.type = icmp_v6_unreachable, .code = icmp_v6_port}};
  if (bpf_skb_load_bytes(skb, ip_offset, answer.quoted, sizeof answer.quoted)) return TC_ACT_SHOT;
  const __u64 pseudo = pseudo_sum(&packet->destination, &packet->source, SLUICE_ICMPV6, sizeof answer);
  answer.icmp.checksum = (__u16)~fold(pseudo + (__u64)bpf_csum_diff(0, 0, (__be32*)&answer, sizeof answer, 0));
  if (bpf_skb_change_tail(skb, ip_offset + sizeof answer.quoted, 0) ||
      bpf_skb_adjust_room(skb, sizeof(struct ipv6hdr) + sizeof(struct icmp_unreachable), BPF_ADJ_ROOM_MAC, 0) ||
      swap_macs(skb) || store_ip(skb, packet, SLUICE_ICMPV6, sizeof answer) ||
      bpf_skb_store_bytes(skb, ip_offset + sizeof(struct ipv6hdr), &answer, sizeof answer, BPF_F_RECOMPUTE_CSUM)) {
    return TC_ACT_SHOT;
  }
  return (int)bpf_redirect(skb->ifindex, 0);
}

__noinline int refuse_udp(struct __sk_buff* skb, const struct sluice_packet* packet) {
  if (!packet) return TC_ACT_SHOT;
  return packet->is_v6 ? refuse_udp_v6(skb, packet) : refuse_udp_v4(skb, packet);
}
