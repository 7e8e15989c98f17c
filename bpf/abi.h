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
#define SLUICE_ABI_VERSION 1

/* Packet marks: two bits that kube-proxy (0xc000), Cilium (0x0f00), the AWS CNI (0x80), Tailscale (0xff0000) and
 * Calico's default (0xffff0000) leave alone. A pod cannot set them: its veth scrubs marks, and from_pod clears them. */
#define SLUICE_MARK_MASK 0x30
#define SLUICE_MARK_RELAY 0x10  /* deliver to the agent's listener; must never leave the node */
#define SLUICE_MARK_PASSED 0x20 /* decided: may leave through an uplink */

enum {
  SLUICE_POD_ADDRESSES = 8, /* of one pod interface */
  SLUICE_MAX_PODS = 4096,   /* pod interfaces of one node */
  SLUICE_MAX_UPLINKS = 64,
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

/* configs[0] */
enum { SLUICE_INBOUND_REPLIES = 1 };
struct sluice_config {
  __u32 abi_version;
  __u32 generation; /* of ports and destinations in force; 0: no policy yet */
  __u32 flags;
  __u32 listener_count; /* of each family */
};
SLUICE_ASSERT_SIZE(struct sluice_config, 16);

/* conns (which socket sent the SYN) and inbounds (what was opened from outside), as the pod sends. */
struct sluice_tuple {
  struct sluice_address source;
  struct sluice_address destination;
  __u16 source_port;
  __u16 destination_port;
  __u8 protocol;
  __u8 zero[3];
};
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
