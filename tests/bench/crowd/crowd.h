/* TCP connections that take no files: both ends are made of raw segments over AF_PACKET. Each says a ClientHello, then
 * messages, and gets the first message_bytes of what it said back. IPv4, no options but the MSS.
 */
#pragma once

#include <linux/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>

enum {
  message_bytes = 64,
  hello_max = 1024,
  payload_max = hello_max,
  mss = 1400,
};

struct link {
  int fd;
  uint8_t mine[ETH_ALEN];
};

/* A segment as it goes or came; addresses in network order, the rest in host order. */
struct segment {
  uint32_t source, destination;
  uint16_t source_port, destination_port;
  uint32_t sequence, acknowledgement;
  uint8_t flags; /* TH_* */
  const uint8_t* payload;
  size_t size;
  uint8_t from[ETH_ALEN]; /* received: the sender */
};

_Noreturn void die(const char* what);
uint64_t now_ns(void);
/* All that comes in by the interface, and nothing that leaves. Nonblocking. */
struct link open_link(const char* interface);
void send_segment(const struct link* link, const uint8_t* to, const struct segment* segment);
/* The next TCP segment over IPv4; 0 when there is none now. What it points to lives until the next call. */
int receive_segment(const struct link* link, struct segment* segment);
/* Until something comes, at most so long. */
void wait_for_segment(const struct link* link, int ms);

/* Answers every connection to the address and port, and remembers none. */
_Noreturn void answer_all(const char* interface, const char* address, const char* port);

struct call_options {
  const char *interface, *next_hop; /* a MAC address */
  const char* first_address;        /* the source of the first ports_each connections; then the next one's */
  const char *address, *port, *hello_path;
};
int call(const struct call_options* options);
