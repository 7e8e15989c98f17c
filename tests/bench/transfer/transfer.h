/* What both ends of a transfer agree on, and the way that each of them goes.
 *
 * A connection begins with a ClientHello whose 32 random bytes are an order to the origin. Both ends then send at once,
 * each as it is told to behave: bytes that depend on the order's seed and their place, then their SHA-256, then the end
 * of its half. Each compares what it receives with what should stand there, so that whatever ends early was right as
 * far as it came, and what is whole has the digest that its sender computed.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
  order_offset = 11, /* of the random bytes in a hello: record header, handshake header, version */
  hello_max = 16 * 1024,
  digest_bytes = 32,
};

enum behaviour {
  steady,   /* writes of random sizes */
  pausing,  /* rests between writes, now and then */
  stopping, /* does not read for a while, with a receive buffer that fills: its window becomes zero */
  resetting /* ends with RST before all is sent */
};

/* The random bytes. */
struct order {
  uint64_t seed;
  uint64_t bytes[2]; /* to send: the caller, the origin */
  uint32_t last_ms;  /* spread over so long; 0: as fast as it goes */
  uint8_t behaviour[2];
  uint8_t padding[2];
};
_Static_assert(sizeof(struct order) == 32, "the random bytes of a ClientHello");

enum side { caller = 0, origin = 1 };

/* How one end saw it. The first two are as ordered. */
enum outcome {
  whole,
  was_reset, /* it, or by it; right until then */
  refused,   /* the caller: no connection */
  nothing,   /* the origin: no hello came */
  wrong_byte,
  wrong_digest,
  cut,    /* the end came before the last byte */
  broken, /* RST, and nobody was to send one */
  stuck,  /* nothing moved for too long */
  outcomes
};

struct tally {
  atomic_ulong outcomes[outcomes];
  atomic_ulong sent, received; /* bytes, digests aside */
};

/* Waits of a connection end after so long. */
extern unsigned patience_s;

_Noreturn void die(const char* what);
uint64_t now_ms(void);
void* zeroed(size_t size);
struct sockaddr_storage endpoint(const char* address, const char* port);
void start_thread(void* (*work)(void*), void* argument);

/* Before the connection is there: whoever stops reading needs a small buffer. */
void prepare_socket(int fd, enum behaviour mine);
/* Both directions of a connection after its hello, until both are over; closes it. */
void transfer(int fd, const struct order* order, enum side side, struct tally* tally);
void print_tally(const struct tally* tally);

int serve(const char* address, const char* port);

struct call_options {
  const char *address, *port, *hello_path;
  unsigned connections, at_once, last_s;
  uint64_t most_bytes, first_bytes; /* each way: at most, and of the first connection exactly */
  uint64_t seed;
};
int call(const struct call_options* options);
