/* What caller and origin agree on, and what both need. Both run on one machine and read one clock.
 *
 * A connection begins with a ClientHello whose 32 random bytes are an order to the origin, which answers each with one
 * ServerHello's worth of bytes. What follows depends on the mode:
 *   short  nothing: the origin ends its side
 *   up     the caller sends blocks of block_bytes, whose first byte is 0 in the last one; the origin tells a total
 *   down   the origin sends until the caller sends a byte, then tells a total
 *   echo   the caller sends messages of message_bytes, the origin sends them back; the first byte of the last one is 0
 *   idle   nothing until the caller ends
 * But for idle the origin ends first: what is between need not carry a half-closed connection, and the caller keeps no
 * port in TIME_WAIT.
 */
#pragma once

#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
  answer_bytes = 127,
  block_bytes = 64 * 1024,
  stream_bytes = 2 * block_bytes, /* written at once */
  read_bytes = 256 * 1024,
  message_bytes = 256,
  hello_max = 16 * 1024,
  order_offset = 11, /* of the random bytes: record header, handshake header, version */
  max_events = 256,
};

enum mode { mode_short = 's', mode_up = 'u', mode_down = 'd', mode_echo = 'e', mode_idle = 'i' };

/* The random bytes. Only what arrives from `from_ns` until `to_ns` is measured; up counts it at the origin. */
struct order {
  uint8_t mode;
  uint8_t padding[7];
  uint64_t from_ns, to_ns;
  uint8_t more_padding[8];
};
_Static_assert(sizeof(struct order) == 32, "the random bytes of a ClientHello");

struct total {
  uint64_t bytes;    /* all that was sent (down) or had arrived (up), this aside */
  uint64_t measured; /* up: what of it arrived in time */
};

/* One handshake record that holds a ServerHello. */
extern const uint8_t answer[answer_bytes];
/* Two blocks, not the last ones. */
extern const uint8_t stream[stream_bytes];

_Noreturn void die(const char* what);
uint64_t now_ns(void);
struct sockaddr_storage endpoint(const char* address, const char* port);
void watch(int poller, int op, int fd, uint32_t events, uint64_t data);
/* The most files that this process may open. */
size_t max_files(void);
void* zeroed(size_t count, size_t size);

int serve_origin(const char* address, const char* port, unsigned threads);

struct call_options {
  const char *mode, *address, *port, *hello_path;
  unsigned threads, connections;
  double warm_up_s, seconds, patience_s;
  double
      rate; /* short: so many connections begin a second whatever becomes of the others; 0: the next after the last */
  uint64_t calls; /* short: end after so many, or when time is over; 0: when time is over */
};
int call_origin(const struct call_options* options);
