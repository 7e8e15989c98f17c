/* One end of a connection: a thread that sends and one that receives. */
#define _GNU_SOURCE
#include "transfer.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  buffer_bytes = 256 * 1024,
  small_window = 32 * 1024,
  stops = 3,
  stop_ms = 400, /* each: enough for a sender to run against the window and probe it */
  pause_ms = 20,
};

struct end {
  int fd;
  const struct order* order;
  enum side side;
  atomic_int over;       /* nothing more comes: sending is in vain */
  atomic_int reset_seen; /* by the sender: the receiver then sees an end, and no error */
  atomic_int resets;     /* it has ended the connection itself */
  uint64_t sent, received;
};

static uint64_t mix(uint64_t x) {
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9U;
  x = (x ^ x >> 27) * 0x94d049bb133111ebU;
  return x ^ x >> 31;
}

/* xorshift64*, which never is 0 */
static uint64_t next_random(uint64_t* state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545f4914f6cdd1dU;
}

/* What a side sends from a place on. */
static void fill(const struct order* order, enum side side, uint64_t at, uint8_t* out, size_t size) {
  const uint64_t key = mix(order->seed * 2 + side);
  while (size > 0) {
    const uint64_t word = mix(key + at / 8 * 0x9e3779b97f4a7c15U);
    const size_t offset = at % 8, part = size < 8 - offset ? size : 8 - offset;
    memcpy(out, (const uint8_t*)&word + offset, part);
    out += part;
    at += part;
    size -= part;
  }
}

static EVP_MD_CTX* begin_digest(void) {
  EVP_MD_CTX* const context = EVP_MD_CTX_new();
  if (context == NULL || EVP_DigestInit_ex(context, EVP_sha256(), NULL) != 1) die("EVP_DigestInit_ex");
  return context;
}

static void sleep_ms(uint64_t ms) {
  usleep((useconds_t)ms * 1000);
}

static int send_all(struct end* end, const uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t sent = send(end->fd, data, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno == ECONNRESET || errno == EPIPE) atomic_store(&end->reset_seen, 1);
      return -1;
    }
    data += sent;
    size -= (size_t)sent;
  }
  return 0;
}

static size_t write_size(uint64_t* random) {
  static const uint32_t sizes[] = {1, 7, 500, 1448, 1449, 9000, 65536, buffer_bytes};
  const uint64_t dice = next_random(random) >> 8;
  return 1 + dice % sizes[dice % (sizeof(sizes) / sizeof(sizes[0]))];
}

/* Until what was sent may have been, or the connection is over. */
static void keep_pace(const struct end* end, uint64_t begun_ms, uint64_t bytes) {
  const uint64_t due_ms = begun_ms + (uint64_t)((double)end->sent / (double)bytes * end->order->last_ms);
  for (uint64_t now; (now = now_ms()) < due_ms && !atomic_load(&end->over);) {
    sleep_ms(due_ms - now < 100 ? due_ms - now : 100);
  }
}

static void reset(struct end* end) {
  const struct linger at_once = {1, 0};
  setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  atomic_store(&end->resets, 1);
  shutdown(end->fd, SHUT_RD); /* wakes the receiver; RST is sent by close() */
}

static void* send_side(void* argument) {
  struct end* const end = argument;
  const struct order* const order = end->order;
  const uint64_t bytes = order->bytes[end->side], begun_ms = now_ms();
  const enum behaviour mine = order->behaviour[end->side];
  uint64_t random = mix(order->seed ^ (end->side + 1)) | 1;
  const uint64_t last = mine == resetting ? next_random(&random) % (bytes + 1) : bytes;
  uint8_t* const data = zeroed(buffer_bytes);
  uint8_t digest[digest_bytes];
  EVP_MD_CTX* const context = begin_digest();
  int well = 1;
  while (well && end->sent < last && !atomic_load(&end->over)) {
    size_t size = write_size(&random);
    if (size > last - end->sent) size = last - end->sent;
    if (order->last_ms > 0) keep_pace(end, begun_ms, bytes);
    if (mine == pausing && next_random(&random) >> 60 == 0) sleep_ms(pause_ms);
    fill(order, end->side, end->sent, data, size);
    EVP_DigestUpdate(context, data, size);
    well = send_all(end, data, size) == 0;
    if (well) end->sent += size;
  }
  if (mine == resetting) {
    reset(end);
  } else if (well && end->sent == bytes) {
    EVP_DigestFinal_ex(context, digest, NULL);
    if (send_all(end, digest, sizeof(digest)) == 0) shutdown(end->fd, SHUT_WR);
  }
  EVP_MD_CTX_free(context);
  free(data);
  return NULL;
}

/* Stops reading at some places of what comes. */
static void stop_now_and_then(const struct end* end, unsigned* stopped) {
  const uint64_t step = end->order->bytes[!end->side] / (stops + 1);
  if (end->order->behaviour[end->side] != stopping || *stopped == stops || step == 0) return;
  if (end->received < step * (*stopped + 1)) return;
  ++*stopped;
  sleep_ms(stop_ms);
}

static enum outcome outcome_of_error(void) {
  if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ETIMEDOUT) return stuck;
  return broken;
}

/* `broken` for every RST: who knows the order says whether it was meant to be. */
static enum outcome receive(struct end* end, uint8_t* data, uint8_t* wanted, EVP_MD_CTX* context) {
  const uint64_t bytes = end->order->bytes[!end->side];
  uint8_t digest[digest_bytes], told[digest_bytes];
  size_t told_bytes = 0;
  unsigned stopped = 0;
  for (;;) {
    stop_now_and_then(end, &stopped);
    const uint64_t left = bytes - end->received;
    const ssize_t size = left > 0 ? recv(end->fd, data, left < buffer_bytes ? left : buffer_bytes, 0)
                                  : recv(end->fd, data, digest_bytes + 1, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return outcome_of_error();
    if (size == 0) break;
    if (left > 0) {
      fill(end->order, !end->side, end->received, wanted, (size_t)size);
      if (memcmp(data, wanted, (size_t)size) != 0) return wrong_byte;
      EVP_DigestUpdate(context, data, (size_t)size);
      end->received += (uint64_t)size;
    } else {
      if (told_bytes + (size_t)size > digest_bytes) return wrong_byte;
      memcpy(told + told_bytes, data, (size_t)size);
      told_bytes += (size_t)size;
    }
  }
  if (told_bytes < digest_bytes) return atomic_load(&end->reset_seen) ? broken : cut;
  EVP_DigestFinal_ex(context, digest, NULL);
  return memcmp(digest, told, digest_bytes) == 0 ? whole : wrong_digest;
}

static int is_to_be_reset(const struct order* order) {
  return order->behaviour[caller] == resetting || order->behaviour[origin] == resetting;
}

void prepare_socket(int fd, enum behaviour mine) {
  const int size = small_window;
  if (mine == stopping) setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

void transfer(int fd, const struct order* order, enum side side, struct tally* tally) {
  struct end end = {.fd = fd, .order = order, .side = side};
  const struct timeval patience = {patience_s, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  pthread_t sender;
  if (pthread_create(&sender, NULL, send_side, &end) != 0) die("pthread_create");
  uint8_t* const data = zeroed(buffer_bytes);
  uint8_t* const wanted = zeroed(buffer_bytes);
  EVP_MD_CTX* const context = begin_digest();
  enum outcome found = receive(&end, data, wanted, context);
  if (found != whole) atomic_store(&end.over, 1);
  pthread_join(sender, NULL);
  /* The sender may be the one who met the RST, after the receiver had seen no more than an end. */
  if (found == cut && atomic_load(&end.reset_seen)) found = broken;
  if ((found == broken || found == cut) && atomic_load(&end.resets)) found = was_reset;
  if (found == broken && is_to_be_reset(order)) found = was_reset;
  if (found == whole && end.sent < order->bytes[side]) found = atomic_load(&end.resets) ? was_reset : broken;
  EVP_MD_CTX_free(context);
  free(data);
  free(wanted);
  close(fd);
  atomic_fetch_add(&tally->outcomes[found], 1);
  atomic_fetch_add(&tally->sent, end.sent);
  atomic_fetch_add(&tally->received, end.received);
}

void print_tally(const struct tally* tally) {
  static const char* const names[outcomes] = {"whole",        "reset", "refused", "nothing", "wrong_byte",
                                              "wrong_digest", "cut",   "broken",  "stuck"};
  printf("{");
  for (int i = 0; i < outcomes; ++i) printf("\"%s\": %lu, ", names[i], atomic_load(&tally->outcomes[i]));
  printf("\"bytes_sent\": %lu, \"bytes_received\": %lu}\n", atomic_load(&tally->sent), atomic_load(&tally->received));
}
