/* From an skb to the facts of decide.h. Headers are copied out, so fragmented and shared buffers need no care. */
#pragma once

#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/decide.h"

enum { ip_offset = ETH_HLEN };

/* Where the transport header stands: extension headers are never walked, so the place is fixed. */
SLUICE_INLINE __u32 transport_offset(const struct sluice_packet* packet) {
  return ip_offset + (packet->is_v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
}

SLUICE_INLINE void set_v4(struct sluice_address* address, __be32 v4) {
  __u32* words = (__u32*)address->bytes;
  words[0] = 0;
  words[1] = 0;
  words[2] = bpf_htonl(0xffff);
  words[3] = v4;
}

SLUICE_INLINE bool is_mapped(const struct sluice_address* address) {
  const __u32* words = (const __u32*)address->bytes;
  return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

SLUICE_INLINE void parse_tcp(struct __sk_buff* skb, __u32 offset, __u32 length, struct sluice_packet* packet) {
  struct tcphdr tcp;
  if (length < sizeof tcp || bpf_skb_load_bytes(skb, offset, &tcp, sizeof tcp) || tcp.doff < 5 ||
      tcp.doff * 4U > length) {
    packet->truncated = true;
    return;
  }
  packet->source_port = bpf_ntohs(tcp.source);
  packet->destination_port = bpf_ntohs(tcp.dest);
  packet->tcp_syn = tcp.syn && !tcp.ack;
  packet->segment.sequence = bpf_ntohl(tcp.seq);
  packet->segment.acknowledgement = bpf_ntohl(tcp.ack_seq);
  packet->segment.header = tcp.doff * 4U;
  packet->segment.payload = length - tcp.doff * 4U;
  packet->segment.syn = tcp.syn;
  packet->segment.ack = tcp.ack;
  packet->segment.fin = tcp.fin;
  packet->segment.rst = tcp.rst;
  packet->segment.urg = tcp.urg || tcp.urg_ptr;
}

SLUICE_INLINE void parse_udp(struct __sk_buff* skb, __u32 offset, __u32 length, struct sluice_packet* packet) {
  struct udphdr udp;
  if (length < sizeof udp || bpf_skb_load_bytes(skb, offset, &udp, sizeof udp)) {
    packet->truncated = true;
    return;
  }
  packet->source_port = bpf_ntohs(udp.source);
  packet->destination_port = bpf_ntohs(udp.dest);
}

/* `length` is what the IP header says follows it. */
SLUICE_INLINE void parse_transport(struct __sk_buff* skb, __u32 length, struct sluice_packet* packet) {
  const __u32 offset = transport_offset(packet);
  if (packet->fragment) return; /* ports of a fragment are nobody's business: it is not decided by them */
  if (packet->protocol == IPPROTO_TCP) parse_tcp(skb, offset, length, packet);
  if (packet->protocol == IPPROTO_UDP) parse_udp(skb, offset, length, packet);
}

SLUICE_INLINE void parse_v4(struct __sk_buff* skb, struct sluice_packet* packet) {
  struct iphdr ip;
  if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof ip) || ip.version != 4) return;
  packet->is_ip = true;
  packet->protocol = ip.protocol;
  set_v4(&packet->source, ip.saddr);
  set_v4(&packet->destination, ip.daddr);
  packet->options = ip.ihl != 5;
  packet->fragment = (ip.frag_off & bpf_htons(0x3fff)) != 0; /* more-fragments, or an offset */
  const __u32 total = bpf_ntohs(ip.tot_len);
  if (total < sizeof ip || ip_offset + total > skb->len) {
    packet->truncated = true;
    return;
  }
  if (!packet->options) parse_transport(skb, total - sizeof ip, packet);
}

SLUICE_INLINE bool is_extension(__u8 next_header) {
  switch (next_header) {
    case 0:   /* hop-by-hop options */
    case 43:  /* routing */
    case 51:  /* authentication */
    case 60:  /* destination options */
    case 135: /* mobility */
    case 139: /* host identity */
    case 140: /* shim6 */
      return true;
    default:
      return false;
  }
}

SLUICE_INLINE void parse_v6(struct __sk_buff* skb, struct sluice_packet* packet) {
  struct ipv6hdr ip;
  if (bpf_skb_load_bytes(skb, ip_offset, &ip, sizeof ip) || ip.version != 6) return;
  packet->is_ip = true;
  packet->is_v6 = true;
  packet->protocol = ip.nexthdr;
  __builtin_memcpy(&packet->source, &ip.saddr, sizeof packet->source);
  __builtin_memcpy(&packet->destination, &ip.daddr, sizeof packet->destination);
  packet->mapped = is_mapped(&packet->source) || is_mapped(&packet->destination);
  packet->options = is_extension(ip.nexthdr);
  packet->fragment = ip.nexthdr == 44;
  const __u32 length = bpf_ntohs(ip.payload_len);
  if (ip_offset + sizeof ip + length > skb->len) {
    packet->truncated = true;
    return;
  }
  if (packet->protocol == SLUICE_ICMPV6 && ip.hop_limit == 255 && length >= 4) {
    __u8 type = 0;
    if (bpf_skb_load_bytes(skb, ip_offset + sizeof ip, &type, 1) == 0) {
      packet->neighbour = type >= 133 && type <= 137; /* router and neighbour solicitation to redirect */
    }
  }
  parse_transport(skb, length, packet);
}

/* Functions that are not inlined are checked by the verifier once, for any arguments. */
__noinline int parse_packet(struct __sk_buff* skb, struct sluice_packet* packet) {
  if (!packet) return -1;
  __builtin_memset(packet, 0, sizeof *packet);
  packet->protocol = 255; /* not IP */
  packet->vlan =
      skb->vlan_present || skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD);
  if (packet->vlan) return 0;
  if (skb->protocol == bpf_htons(ETH_P_ARP)) packet->is_arp = true;
  if (skb->protocol == bpf_htons(ETH_P_IP)) parse_v4(skb, packet);
  if (skb->protocol == bpf_htons(ETH_P_IPV6)) parse_v6(skb, packet);
  return 0;
}
