/* The caller and the origin: how connections begin. A thread serves one connection at a time. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "transfer.h"

static struct tally tally;

/* The origin */

static int read_exactly(int fd, uint8_t* data, size_t size) {
  return recv(fd, data, size, MSG_WAITALL) == (ssize_t)size;
}

static void* serve_one(void* argument) {
  const int fd = (int)(intptr_t)argument;
  uint8_t hello[hello_max];
  struct order order;
  const struct timeval patience = {patience_s, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  const int well = read_exactly(fd, hello, order_offset + sizeof(order)) &&
                   (5 + (hello[3] << 8 | hello[4])) <= hello_max &&
                   read_exactly(fd, hello + order_offset + sizeof(order),
                                5UL + (size_t)(hello[3] << 8 | hello[4]) - order_offset - sizeof(order));
  if (!well) {
    atomic_fetch_add(&tally.outcomes[nothing], 1);
    close(fd);
    return NULL;
  }
  memcpy(&order, hello + order_offset, sizeof(order));
  prepare_socket(fd, order.behaviour[origin]);
  transfer(fd, &order, origin, &tally);
  return NULL;
}

static void* accept_all(void* argument) {
  const int listener = (int)(intptr_t)argument;
  for (;;) {
    const int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0) start_thread(serve_one, (void*)(intptr_t)fd);
  }
  return NULL;
}

int serve(const char* address, const char* port) {
  const struct sockaddr_storage here = endpoint(address, port);
  const int yes = 1, listener = socket(here.ss_family, SOCK_STREAM, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(listener, (const struct sockaddr*)&here, sizeof(here)) != 0 || listen(listener, 4096) != 0) die("listen");
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  start_thread(accept_all, (void*)(intptr_t)listener);
  int number;
  sigwait(&ends, &number);
  print_tally(&tally);
  return 0;
}

/* The caller */

static const struct call_options* options;
static uint8_t hello[hello_max];
static size_t hello_bytes;
static struct sockaddr_storage to;
static atomic_uint next_connection, begun, at_work;

/* Of all pairs in turn; one connection in six ends one of its halves at once. */
static struct order make_order(unsigned number) {
  static const uint8_t pairs[][2] = {{steady, steady},    {pausing, steady},    {steady, pausing},
                                     {stopping, steady},  {steady, stopping},   {resetting, steady},
                                     {steady, resetting}, {stopping, stopping}, {pausing, resetting}};
  struct order order = {.seed = options->seed << 32 | number, .last_ms = options->last_s * 1000};
  unsigned short state[3] = {(unsigned short)options->seed, (unsigned short)number, (unsigned short)(number >> 16)};
  order.bytes[caller] = (uint64_t)(erand48(state) * (double)options->most_bytes);
  order.bytes[origin] = (uint64_t)(erand48(state) * (double)options->most_bytes);
  if (number == 0 && options->first_bytes > 0) {
    order.bytes[caller] = order.bytes[origin] = options->first_bytes;
    return order;
  }
  if (options->last_s > 0) return order;
  memcpy(order.behaviour, pairs[number % (sizeof(pairs) / sizeof(pairs[0]))], sizeof(order.behaviour));
  if (number % 12 == 4) order.bytes[caller] = 0;
  if (number % 12 == 10) order.bytes[origin] = 0;
  return order;
}

static void call_one(unsigned number) {
  const struct order order = make_order(number);
  uint8_t mine[hello_max];
  memcpy(mine, hello, hello_bytes);
  memcpy(mine + order_offset, &order, sizeof(order));
  const int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) die("socket");
  prepare_socket(fd, order.behaviour[caller]);
  if (connect(fd, (const struct sockaddr*)&to, sizeof(to)) != 0 ||
      send(fd, mine, hello_bytes, MSG_NOSIGNAL) != (ssize_t)hello_bytes) {
    atomic_fetch_add(&tally.outcomes[refused], 1);
    atomic_fetch_add(&begun, 1);
    close(fd);
    return;
  }
  atomic_fetch_add(&begun, 1);
  transfer(fd, &order, caller, &tally);
}

static void* call_some(void* argument) {
  (void)argument;
  for (unsigned number; (number = atomic_fetch_add(&next_connection, 1)) < options->connections;) call_one(number);
  atomic_fetch_sub(&at_work, 1);
  return NULL;
}

static void read_hello(const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == NULL) die(path);
  hello_bytes = fread(hello, 1, sizeof(hello), file);
  fclose(file);
  if (hello_bytes < order_offset + sizeof(struct order)) die(path);
}

int call(const struct call_options* wanted) {
  options = wanted;
  read_hello(wanted->hello_path);
  to = endpoint(wanted->address, wanted->port);
  const unsigned threads = wanted->at_once < wanted->connections ? wanted->at_once : wanted->connections;
  atomic_store(&at_work, threads);
  for (unsigned i = 0; i < threads; ++i) start_thread(call_some, NULL);
  while (wanted->last_s > 0 && atomic_load(&begun) < threads) usleep(1000);
  if (wanted->last_s > 0) {
    printf("{\"begun\": %u}\n", threads);
    fflush(stdout);
  }
  while (atomic_load(&at_work) > 0) usleep(1000);
  print_tally(&tally);
  return 0;
}
