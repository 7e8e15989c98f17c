/* What happens to a packet: pure functions of facts, compiled for BPF and, in the unit tests, for the host. */
#pragma once

#include <linux/in.h>
#include <stdbool.h>

#include "bpf/abi.h"

#define SLUICE_INLINE static inline __attribute__((always_inline))

#define SLUICE_ICMPV6 58

/* What a TCP segment says. */
struct sluice_segment {
  __u32 sequence;
  __u32 acknowledgement;
  __u32 payload; /* bytes */
  __u32 header;  /* bytes, options included */
  bool syn;
  bool ack;
  bool fin;
  bool rst;
  bool urg; /* the flag or the pointer */
};

/* What a packet is. Everything that is not plain TCP, UDP or ICMP in plain IPv4 or IPv6 shows as one of the flags. */
struct sluice_packet {
  bool is_arp;
  bool is_ip; /* IPv4 or IPv6 with a whole header */
  bool is_v6;
  bool vlan;      /* carries a tag */
  bool truncated; /* headers are cut off, or lengths contradict each other */
  bool options;   /* IPv4 options, IPv6 extension headers (fragment headers excepted) */
  bool fragment;  /* any fragment, the first included */
  bool mapped;    /* an IPv6 packet with an IPv4-mapped address */
  bool tcp_syn;   /* SYN set and ACK not */
  bool neighbour; /* ICMPv6 neighbour discovery, hop limit 255 (RFC 4861 section 7.1) */
  __u8 protocol;
  __u16 source_port;
  __u16 destination_port;
  struct sluice_address source __attribute__((aligned(8))); /* read by words */
  struct sluice_address destination;
  struct sluice_segment segment; /* of TCP */
};

/* What the maps say about it. */
struct sluice_facts {
  bool released;     /* nothing is enforced any more; everything else is unknown then */
  bool pod_known;    /* the interface's pod has addresses */
  bool source_owned; /* the source is one of them */
  bool internal;
  bool inbound;    /* answers a connection or datagram that came from outside */
  bool policy;     /* a policy is in force */
  bool alive;      /* the agent's heart beats */
  bool listening;  /* a listener of this family is in place */
  bool audit;      /* the pod is in mode audit */
  bool has_socket; /* TCP other than SYN: the node has a socket for this connection. Looked up only where it counts:
                      without listeners, and in mode audit */
  bool gated;      /* its port's calls go through the gate */
  __u8 port;       /* SLUICE_PORT_* of protocol and port; 0: not registered */
  bool address_registered; /* the address is registered for the port */
};

enum sluice_action {
  SLUICE_PASS,     /* untouched: it does not leave the cluster */
  SLUICE_PASS_OUT, /* marked as decided */
  SLUICE_RELAY,    /* marked for local delivery to the agent */
  SLUICE_GATE,     /* a SYN: becomes a flow to the gateway */
  SLUICE_DROP,
  SLUICE_REFUSE_TCP, /* RST to the pod */
  SLUICE_REFUSE_UDP, /* port unreachable to the pod */
};

struct sluice_decision {
  enum sluice_action action;
  enum sluice_reason reason; /* NONE with PASS, PASS_OUT, RELAY and GATE */
};

SLUICE_INLINE struct sluice_decision sluice_decided(enum sluice_action action, enum sluice_reason reason) {
  struct sluice_decision decision = {action, reason};
  return decision;
}

/* fe80::/10, ff02::/16: never forwarded, so never outside. */
SLUICE_INLINE bool sluice_link_scope(const struct sluice_address* address) {
  const __u8* bytes = address->bytes;
  return (bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80) || (bytes[0] == 0xff && (bytes[1] & 0x0f) == 0x02);
}

SLUICE_INLINE bool sluice_unspecified(const struct sluice_address* address) {
  const __u64* halves = (const __u64*)address->bytes;
  return halves[0] == 0 && halves[1] == 0;
}

/* A source that no pod has to own: a link-local or, while an address is being tested, the unspecified one, towards this
 * link only. */
SLUICE_INLINE bool sluice_link_source(const struct sluice_packet* packet) {
  if (!packet->is_v6) return false;
  if (packet->neighbour) return sluice_link_scope(&packet->source) || sluice_unspecified(&packet->source);
  return packet->source.bytes[0] == 0xfe && sluice_link_scope(&packet->source) &&
         sluice_link_scope(&packet->destination);
}

SLUICE_INLINE struct sluice_decision sluice_refuse(const struct sluice_packet* packet, enum sluice_reason reason) {
  if (packet->protocol == IPPROTO_TCP) {
    return sluice_decided(packet->segment.rst ? SLUICE_DROP : SLUICE_REFUSE_TCP, reason);
  }
  return sluice_decided(packet->protocol == IPPROTO_UDP ? SLUICE_REFUSE_UDP : SLUICE_DROP, reason);
}

SLUICE_INLINE struct sluice_decision sluice_decide_tcp(const struct sluice_packet* packet,
                                                       const struct sluice_facts* facts) {
  if (!packet->tcp_syn) {
    /* Of a flow it is not: those were looked up before. Relayed connections go on without the agent; a segment of none
     * gets its RST from the listener, or from here when there is no listener or none would be asked. In mode audit it
     * belongs to a connection that was let pass. */
    const bool ours = facts->has_socket || (facts->listening && !facts->audit && !facts->gated);
    if (ours) return sluice_decided(SLUICE_RELAY, SLUICE_REASON_NONE);
    /* Late, of a connection through the gate that is over: that is no call. */
    if (facts->gated && packet->segment.payload == 0) {
      return sluice_decided(packet->segment.rst ? SLUICE_DROP : SLUICE_REFUSE_TCP, SLUICE_REASON_NONE);
    }
    return sluice_refuse(packet, SLUICE_REASON_POLICY_NOT_READY);
  }
  /* The gate needs no listener: what it holds waits for an agent as long as the heart's last beat counts. */
  if (!facts->policy || !facts->alive || (!facts->listening && !facts->gated)) {
    return sluice_refuse(packet, SLUICE_REASON_POLICY_NOT_READY);
  }
  if (facts->port == 0) return sluice_refuse(packet, SLUICE_REASON_PORT_NOT_REGISTERED);
  if (!facts->address_registered) return sluice_refuse(packet, SLUICE_REASON_ADDRESS_NOT_REGISTERED);
  return sluice_decided(facts->gated ? SLUICE_GATE : SLUICE_RELAY, SLUICE_REASON_NONE);
}

/* A packet that a pod sent. */
SLUICE_INLINE struct sluice_decision sluice_decide(const struct sluice_packet* packet,
                                                   const struct sluice_facts* facts) {
  if (facts->released) return sluice_decided(SLUICE_PASS_OUT, SLUICE_REASON_NONE);
  if (packet->vlan) return sluice_decided(SLUICE_DROP, SLUICE_REASON_PROTOCOL_NOT_ALLOWED);
  if (packet->is_arp) return sluice_decided(SLUICE_PASS, SLUICE_REASON_NONE);
  if (!packet->is_ip || packet->truncated || packet->options) {
    return sluice_decided(SLUICE_DROP, SLUICE_REASON_PROTOCOL_NOT_ALLOWED);
  }
  if (packet->mapped) return sluice_decided(SLUICE_DROP, SLUICE_REASON_SOURCE_SPOOFED);
  if (facts->pod_known && !facts->source_owned && !sluice_link_source(packet)) {
    return sluice_decided(SLUICE_DROP, SLUICE_REASON_SOURCE_SPOOFED);
  }
  if (facts->internal || (packet->is_v6 && sluice_link_scope(&packet->destination))) {
    return sluice_decided(SLUICE_PASS, SLUICE_REASON_NONE);
  }
  if (packet->fragment) return sluice_decided(SLUICE_DROP, SLUICE_REASON_PROTOCOL_NOT_ALLOWED);
  if (!facts->pod_known) return sluice_refuse(packet, SLUICE_REASON_POD_UNKNOWN);
  if (facts->inbound) return sluice_decided(SLUICE_PASS_OUT, SLUICE_REASON_NONE);
  if (packet->protocol == IPPROTO_TCP) return sluice_decide_tcp(packet, facts);
  if (packet->protocol == IPPROTO_UDP) {
    if (facts->port != 0 && facts->address_registered) return sluice_decided(SLUICE_PASS_OUT, SLUICE_REASON_NONE);
    return sluice_refuse(packet, SLUICE_REASON_UDP_NOT_ALLOWED);
  }
  return sluice_decided(SLUICE_DROP, SLUICE_REASON_PROTOCOL_NOT_ALLOWED);
}

/* A packet that is about to leave through an uplink. */
struct sluice_leaving {
  bool released;
  bool is_arp;
  bool is_ip;
  bool internal;  /* its destination */
  bool forwarded; /* it came in by an interface that is no uplink */
  __u32 mark;
};

SLUICE_INLINE struct sluice_decision sluice_decide_leaving(const struct sluice_leaving* leaving) {
  /* First, because the mark of the node's own packets may be anything: in MLD and IGMP reports the kernel keeps another
   * number in its place (reserved_tailroom). */
  if (!leaving->forwarded || leaving->is_arp || leaving->released)
    return sluice_decided(SLUICE_PASS, SLUICE_REASON_NONE);
  /* A relayed packet here means that the routing rule is missing. */
  if (leaving->mark & SLUICE_MARK_RELAY) return sluice_decided(SLUICE_DROP, SLUICE_REASON_POLICY_NOT_READY);
  if (leaving->is_ip && (leaving->internal || (leaving->mark & SLUICE_MARK_PASSED))) {
    return sluice_decided(SLUICE_PASS, SLUICE_REASON_NONE);
  }
  return sluice_decided(SLUICE_DROP, SLUICE_REASON_ADDRESS_NOT_REGISTERED);
}
