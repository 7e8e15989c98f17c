/* What the BPF programs and the agent share: the only header that both sides include. Numbers only, never host names.
 * Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d; ports are in host byte order. */
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
#define SLUICE_ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#else
#define SLUICE_ASSERT_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
#endif

/* Goes up with every change of a map's key, value or meaning. Pinned in the config map. */
#define SLUICE_ABI_VERSION 6

/* Packet marks: two bits that kube-proxy (0xc000), Cilium (0x0f00), the AWS CNI (0x80), Tailscale (0xff0000) and
 * Calico's default (0xffff0000) leave alone. A pod cannot set them: its veth scrubs marks, and from_pod clears them. */
#define SLUICE_MARK_MASK 0x30
#define SLUICE_MARK_RELAY 0x10  /* deliver to the agent's listener; must never leave the node */
#define SLUICE_MARK_PASSED 0x20 /* decided: may leave through an uplink */
/* Both bits: made by the agent for a flow of the gate. On its way from the agent's socket to the flow's interface,
 * where it goes, the other bits hold the flow's id as far as they reach, so that no other flow can take the packet. */
#define SLUICE_MARK_INJECTED 0x30
#define SLUICE_INJECTION_MARK(flow_id) ((__u32)((flow_id) << 6) | SLUICE_MARK_INJECTED)

enum {
  SLUICE_POD_ADDRESSES = 8, /* of one pod interface */
  SLUICE_MAX_PODS = 4096,   /* pod interfaces of one node */
  SLUICE_MAX_LINKS = 4096,  /* interfaces of the node that are no pod's */
  SLUICE_MAX_INTERNALS = 16384,
  SLUICE_MAX_PORTS = 131072, /* both generations */
  SLUICE_MAX_DESTINATIONS = 262144,
  SLUICE_MAX_LISTENERS = 64, /* of one family */
  SLUICE_MAX_CONNS = 65536,
  SLUICE_MAX_PROCESSES = 65536,
  SLUICE_MAX_INBOUNDS = 65536,
  SLUICE_MAX_DENIALS = 32768,
  SLUICE_EVENT_BYTES = 512 * 1024,
  SLUICE_EVENTS_PER_SECOND = 100, /* of one pod interface, as many again at once */
  SLUICE_MAX_FLOWS = 262144,
  SLUICE_MAX_ENDS = 65536,
  SLUICE_MAX_HOSTS = 65536,
  SLUICE_MAX_PROMISES = 65536,
  SLUICE_MAX_PIECES = 262144,
  SLUICE_MAX_SYNS = 8192,
  SLUICE_MAX_GATEWAYS = 4096,    /* sets of addresses */
  SLUICE_GATEWAY_ADDRESSES = 16, /* of one set */
  SLUICE_MAX_UNDECIDED = 4096,   /* flows of one pod interface that nobody judged yet */
  SLUICE_MAX_LINGERING = 32768,  /* entries of one pod interface beyond its live flows, */
  SLUICE_FEW_LINGERING = 2048,   /* and while more than half of all are taken */
  SLUICE_VERDICTS = 256,         /* that are carried out at once */
  SLUICE_UPCALL_BYTES = 4 * 1024 * 1024,
  SLUICE_ENDING_BYTES = 1024 * 1024,
  SLUICE_UPCALLS_PER_SECOND =
      40000,                   /* of one pod interface, a twentieth of that at once; large ones count several times */
  SLUICE_FRAME_BYTES = 16640,  /* of a held frame, as far as it is shown: a whole ClientHello and its headers */
  SLUICE_FRAME_BYTES_S = 704,  /* places in the ring for smaller ones: what most are, */
  SLUICE_FRAME_BYTES_M = 2240, /* a post-quantum hello, */
  SLUICE_FRAME_BYTES_L = 4672, /* and one with a long ticket */
  SLUICE_SOURCE_PORTS = 16,    /* that are tried for one flow */
  SLUICE_FIRST_PORT = 32768,
  SLUICE_PORT_RANGE = 28232,
};

#define SLUICE_HEARTBEAT_LIMIT_NS 3000000000ULL

/* Why a packet was refused by number. */
enum sluice_reason {
  SLUICE_REASON_NONE = 0,
  SLUICE_REASON_PORT_NOT_REGISTERED,
  SLUICE_REASON_ADDRESS_NOT_REGISTERED,
  SLUICE_REASON_UDP_NOT_ALLOWED,
  SLUICE_REASON_PROTOCOL_NOT_ALLOWED,
  SLUICE_REASON_SOURCE_SPOOFED,
  SLUICE_REASON_POD_UNKNOWN,
  SLUICE_REASON_POLICY_NOT_READY,
  SLUICE_REASON_OVERLOADED,
  SLUICE_REASONS,
};

struct sluice_address {
  __u8 bytes[16];
};
SLUICE_ASSERT_SIZE(struct sluice_address, 16);

/* internals: longest prefix decides. */
struct sluice_internal_key {
  __u32 prefix_length; /* of the 128 bits: 96 + n for IPv4 */
  struct sluice_address address;
};
SLUICE_ASSERT_SIZE(struct sluice_internal_key, 20);
enum { SLUICE_INTERNAL = 1, SLUICE_NOT_INTERNAL = 2 };

/* ports: what is registered on a port, of one generation. */
struct sluice_port_key {
  __u32 generation;
  __u16 port;
  __u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
  __u8 zero;
};
SLUICE_ASSERT_SIZE(struct sluice_port_key, 8);
enum { SLUICE_PORT_ANY_ADDRESS = 1, SLUICE_PORT_BY_ADDRESS = 2 };
enum { SLUICE_WAY_RELAY = 0, SLUICE_WAY_GATE = 1 };
struct sluice_port {
  __u8 kind;
  __u8 way;    /* of calls that are registered */
  __u8 opaque; /* way gate: there are calls here whose server may speak first, so the agent is asked at the handshake */
  __u8 zero;
  __u32 gateway; /* way gate: which of the gateways */
};
SLUICE_ASSERT_SIZE(struct sluice_port, 8);

/* gateways: where the flows of a gateway go. An entry is replaced as a whole. */
struct sluice_gateway {
  __u32 count;
  __u32 next; /* counts flows, so that each address gets as many */
  struct sluice_address addresses[SLUICE_GATEWAY_ADDRESSES];
  __u16 ports[SLUICE_GATEWAY_ADDRESSES];
};
SLUICE_ASSERT_SIZE(struct sluice_gateway, 8 + 18 * SLUICE_GATEWAY_ADDRESSES);

/* destinations: the addresses of ports that are not open to any address. */
struct sluice_destination_key {
  __u32 prefix_length; /* 64 + that of the address */
  struct sluice_port_key port;
  struct sluice_address address;
};
SLUICE_ASSERT_SIZE(struct sluice_destination_key, 28);

/* pods: by ifindex of the node's end of the veth. */
enum { SLUICE_POD_AUDIT = 1 };
struct sluice_pod {
  __u32 flags;
  __u32 address_count; /* 0: not known yet */
  struct sluice_address addresses[SLUICE_POD_ADDRESSES];
};
SLUICE_ASSERT_SIZE(struct sluice_pod, 8 + 16 * SLUICE_POD_ADDRESSES);

/* links: the node's interfaces that are no pod's, by ifindex. What an interface brings that stands in neither map is
 * believed nothing: it may be the one of a pod that nobody looked at yet. */
enum { SLUICE_LINK_OTHER = 1, SLUICE_LINK_UPLINK = 2 };

/* configs[0] */
enum {
  SLUICE_INBOUND_REPLIES = 1,
  SLUICE_RELEASED = 2, /* nothing is enforced any more: what is no segment of a flow passes */
};
struct sluice_config {
  __u32 abi_version;
  __u32 generation; /* of ports and destinations in force; 0: no policy yet */
  __u32 flags;
  __u32 listener_count; /* of each family; 0: no new connections */
  __u32 flows;          /* at once, of the node */
  __u32 flows_per_pod;
  __u32 flows_per_second;
  __u32 flows_per_second_per_pod;
  __u64 audit_prefix; /* of the ids of flows' records: chosen once, with the maps */
};
SLUICE_ASSERT_SIZE(struct sluice_config, 40);

/* conns (which socket sent the SYN), inbounds (what was opened from outside) and flows (what goes through the gate), as
 * the pod sends. */
struct sluice_tuple {
  struct sluice_address source;
  struct sluice_address destination;
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 zero[3];
} __attribute__((aligned(8)));
SLUICE_ASSERT_SIZE(struct sluice_tuple, 40);

/* processes: by socket cookie. */
struct sluice_process {
  __u64 cgroup_id;
  __u32 pid; /* thread group id in the initial pid namespace */
  __u32 uid;
  char comm[16];
};
SLUICE_ASSERT_SIZE(struct sluice_process, 32);

/* denials and denials_taken: packets refused without an event, and how many of them were recorded. Both only grow. */
struct sluice_denial_key {
  __u32 ifindex;
  __u32 reason;
};
SLUICE_ASSERT_SIZE(struct sluice_denial_key, 8);

/* flows: one TCP connection of a pod that the gate steers to a gateway. Sequence numbers are those that the pod sees;
 * towards the gateway the pod's are `header` more once it was judged. */
enum sluice_flow_state {
  SLUICE_FLOW_OPENING = 1, /* the gateway has not answered the SYN */
  SLUICE_FLOW_HELD,        /* open, and no payload passes */
  SLUICE_FLOW_JUDGING,     /* for the moment in which the verdict is written */
  SLUICE_FLOW_ALLOWED,     /* what is before `approved` comes from the agent, who has read it */
  SLUICE_FLOW_OPEN,        /* the gateway has all that was approved */
  SLUICE_FLOW_DENIED,
  SLUICE_FLOW_ENDED,     /* and its record is to be written */
  SLUICE_FLOW_COLLECTED, /* and was; it stays a little for late packets */
  SLUICE_FLOW_GONE,      /* its entry is being removed */
};
enum sluice_flow_end {
  SLUICE_END_NONE = 0,
  SLUICE_END_FINISHED,
  SLUICE_END_CLIENT_RESET,
  SLUICE_END_UPSTREAM_RESET,
  SLUICE_END_REPLACED, /* the pod began another connection on the same ports */
  SLUICE_END_CUT,      /* nobody was there to judge it */
};
enum {
  SLUICE_FLOW_V6 = 1,
  SLUICE_FLOW_ASK = 2,   /* the agent is asked at the handshake */
  SLUICE_FLOW_ASKED = 4, /* and was */
  SLUICE_FLOW_POD_FIN = 8,
  SLUICE_FLOW_GATEWAY_FIN = 16,
  SLUICE_FLOW_POD_FIN_ACKED = 32,
  SLUICE_FLOW_GATEWAY_FIN_ACKED = 64,
  SLUICE_FLOW_REFUSED = 128,  /* by the address that was tried: the next SYN goes to another one */
  SLUICE_FLOW_SHOWN = 256,    /* some packet of it, to the agent */
  SLUICE_FLOW_RECORDED = 512, /* denied, and its record is written */
  SLUICE_FLOW_WAS_ALLOWED = 1024,
  SLUICE_FLOW_REOPENING = 2048,   /* another address is being chosen: one does that at a time */
  SLUICE_FLOW_RESET_AGAIN = 4096, /* ended by the pod, at a number at which the gateway may have ignored that */
};
enum { SLUICE_SNIFFED_TLS = 1 };
struct sluice_flow {
  __u64 state; /* id << 8 | SLUICE_FLOW_*: changed by compare-and-swap alone, so nothing meets another flow's entry */
  __u64 cookie;
  __u64 audit[2]; /* the id of its records: the prefix, and its own */
  __u64 host;     /* number in hosts; 0: none */
  __u64 began_ns;
  __u64 seen_ns; /* some packet, to about a second */
  __u64 bytes_sent;
  __u64 bytes_received;
  struct sluice_address gateway;
  __u32 ifindex; /* of the pod's interface */
  __u16 gateway_port;
  __u16 source_port; /* towards the gateway */
  __u32 pod_isn;
  __u32 pod_next;      /* after the last byte that passed */
  __u32 pod_acked;     /* by the gateway */
  __u32 pod_fin;       /* after it */
  __u32 gateway_next;  /* after the last byte that passed */
  __u32 gateway_acked; /* by the pod */
  __u32 gateway_fin;   /* after it */
  __u32 approved;      /* after the last byte that the agent approved */
  __u32 flags;
  __u32 gateway_number; /* in gateways */
  __u16 header;         /* bytes before the pod's own */
  __u16 mss;            /* that the gateway takes */
  __u8 ethernet[12];    /* destination and source, as the pod sends */
  __u8 sniffed;         /* what the first bytes were, SLUICE_SNIFFED_TLS or another of the agent's numbers */
  __u8 end;             /* SLUICE_END_* */
  __u8 why;             /* denied: one of the agent's numbers */
  __u8 judged;          /* allowed: tenths of a second after it began, at most so many as fit */
};
SLUICE_ASSERT_SIZE(struct sluice_flow, 160);

/* ends: of flows whose ports another connection took, until the agent has their totals. */
struct sluice_end_of_flow {
  struct sluice_tuple tuple;
  struct sluice_flow flow;
};
SLUICE_ASSERT_SIZE(struct sluice_end_of_flow, 200);

/* backs: from what a gateway sends to the flow, as the gateway's packets leave for the pod. */
struct sluice_back {
  __u64 flow_id;
  struct sluice_address destination; /* as the pod dialled it, like the ports; its own address is the same */
  __u16 source_port;
  __u16 destination_port;
  __u32 zero;
};
SLUICE_ASSERT_SIZE(struct sluice_back, 32);

/* syns: the SYN of a flow that may still go to another address, as the pod sent it. */
struct sluice_syn {
  __u32 bytes;
  __u8 frame[124];
};
SLUICE_ASSERT_SIZE(struct sluice_syn, 128);

/* hosts: the names that flows were judged by, once each. */
struct sluice_host {
  char name[256];
};
SLUICE_ASSERT_SIZE(struct sluice_host, 256);

/* loads: what one pod interface has in flows; by SLUICE_NODE, what all have. */
enum { SLUICE_NODE = 0 };
struct sluice_load {
  __u32 entries;
  __u32 live; /* of them: neither denied nor ended */
  __u32 undecided;
  __u32 zero;
  __u64 shown_ns;  /* virtual time of the next upcall, of an interface */
  __u64 opened_ns; /* and of the next flow */
};
SLUICE_ASSERT_SIZE(struct sluice_load, 32);

/* counters: what the gate let fall. */
enum sluice_counter {
  SLUICE_COUNT_UPCALLS_LOST, /* the ring was full, or the pod's share of it: TCP sends again */
  SLUICE_COUNT_RESETS_IGNORED,
  SLUICE_COUNT_ENDS_LOST, /* no room for a flow that was replaced: the SYN was dropped */
  SLUICE_COUNTERS,
};

/* scratches: what does not fit on a program's stack. */
struct sluice_scratch {
  struct sluice_end_of_flow end;
  __u8 options[2][64]; /* of a TCP header: as they came, and as they go */
};
SLUICE_ASSERT_SIZE(struct sluice_scratch, 328);

/* promises: what the agent sends for a flow, from its verdict, before the first of it, until the gateway has all. */
struct sluice_promise {
  __u32 header; /* bytes, in pieces */
  __u32 approved;
  __u8 digest[32]; /* SHA-256 of the approved bytes */
};
SLUICE_ASSERT_SIZE(struct sluice_promise, 40);

/* pieces: of the promised headers, by SLUICE_PIECE_KEY. Small ones: the kernel is slow with large entries. */
enum { SLUICE_PIECE_BYTES = 192, SLUICE_MAX_PIECES_OF_ONE = 14 };
#define SLUICE_PIECE_KEY(flow_id, index) ((__u64)(flow_id) << 4 | (index))
struct sluice_piece {
  __u8 bytes[SLUICE_PIECE_BYTES];
};
SLUICE_ASSERT_SIZE(struct sluice_piece, SLUICE_PIECE_BYTES);

/* upcalls: what the agent has to look at, at once; and endings: soon, which wakes nobody. A frame follows, cut off at
 * SLUICE_FRAME_BYTES. */
enum sluice_upcall_kind {
  SLUICE_UPCALL_HELD = 1, /* a segment with payload or FIN that did not pass */
  SLUICE_UPCALL_ASK,      /* the handshake of a flow with SLUICE_FLOW_ASK is complete */
  SLUICE_UPCALL_REFUSED,  /* no frame: the gateway answered the SYN with RST */
  SLUICE_UPCALL_ENDED,    /* no frame; in endings */
  SLUICE_UPCALL_LATE,     /* no frame: found by sweep; in endings */
};
struct sluice_upcall {
  struct sluice_tuple tuple;
  struct sluice_flow flow;
  struct sluice_process process; /* that opened it; zero: unknown */
  __u16 frame_bytes;
  __u8 kind;
  __u8 first; /* nothing was shown of this flow before */
  __u8 zero[4];
};
SLUICE_ASSERT_SIZE(struct sluice_upcall, 240);

/* verdicts: what is to become of flows, each by its id. `judge` carries out the first of them, as many as it is told.
 */
struct sluice_verdict {
  __u64 flow_id;
  struct sluice_tuple tuple;
  __u64 host;
  struct sluice_promise promise; /* of SLUICE_FLOW_ALLOWED */
  __u8 sniffed;
  __u8 why;
  __u8 state;  /* SLUICE_FLOW_ALLOWED, _DENIED, _OPENING: to another address, _COLLECTED: its last record is written */
  __u8 result; /* out: SLUICE_JUDGED_* */
  __u8 zero[4];
};
SLUICE_ASSERT_SIZE(struct sluice_verdict, 104);
enum { SLUICE_JUDGED_DONE = 1, SLUICE_JUDGED_NO_FLOW, SLUICE_JUDGED_TOO_LATE, SLUICE_JUDGED_NO_ROOM };

/* Arguments of the programs that the agent runs itself. */
struct sluice_judge_args {
  __u32 count;
  __u32 zero;
};
SLUICE_ASSERT_SIZE(struct sluice_judge_args, 8);
struct sluice_sweep_args {
  __u64 now_ns;
  __u64 opening_ns; /* how long a flow may be in each state before it is late */
  __u64 held_ns;
  __u64 allowed_ns;
  __u64 idle_ns;
  __u64 answer_ns; /* of TLS, until the first byte of the answer */
  __u64 ended_ns;
  __u32 late; /* out */
  __u32 undecided;
  __u32 flows;
  __u32 zero;
};
SLUICE_ASSERT_SIZE(struct sluice_sweep_args, 72);

/* events: one refused (or, in mode audit, passed) packet. */
enum { SLUICE_EVENT_AUDIT = 1, SLUICE_EVENT_GUARD = 2 };
struct sluice_event {
  __u64 time_ns;
  __u64 cookie;  /* of the pod's socket; 0: unknown */
  __u32 ifindex; /* the pod's interface */
  __u8 protocol; /* IP protocol number; 255: not IP */
  __u8 reason;
  __u8 flags;
  __u8 zero;
  __u16 source_port;
  __u16 destination_port;
  struct sluice_address source;
  struct sluice_address destination;
  __u8 zero_end[4];
};
SLUICE_ASSERT_SIZE(struct sluice_event, 64);
