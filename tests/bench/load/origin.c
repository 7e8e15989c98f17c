/* The origin. A connection belongs to one thread; connections go to the threads in turn, whoever accepts them. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum stage { hello, payload, stopped /* down: to tell the total */, ending };

struct served {
  enum stage stage;
  struct order order; /* from the hello */
  uint32_t hello_bytes, hello_wanted;
  uint64_t moved; /* up: received, down: sent; echo: received, at most one message */
  uint64_t measured;
  uint64_t last_at; /* up: where the last block ends, once known */
  uint8_t head[order_offset + sizeof(struct order)];
  uint8_t* message; /* echo */
};

struct counts {
  uint64_t accepted, answered, ended, broken;
};

struct worker {
  pthread_t thread;
  int poller;
  struct counts counts;
  uint8_t data[read_bytes];
};

static struct served* connections; /* by file descriptor */
static size_t connection_limit;
static struct worker* workers;
static unsigned worker_count;
static atomic_uint next_worker;
static int listener;

static void leave(int fd, uint64_t* counter) {
  ++*counter;
  free(connections[fd].message);
  connections[fd].message = NULL;
  close(fd);
}

static int send_whole(int fd, const void* data, size_t size) {
  return send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

static int end(int fd, struct served* c) {
  c->stage = ending;
  return shutdown(fd, SHUT_WR) == 0;
}

static int tell_total(int fd, struct served* c) {
  const struct total total = {c->moved, c->measured};
  return send_whole(fd, &total, sizeof(total)) && end(fd, c);
}

/* The handlers return 0 for a connection that is broken. */

static int begin_payload(struct worker* w, int fd, struct served* c) {
  memcpy(&c->order, c->head + order_offset, sizeof(c->order));
  c->stage = payload;
  if (!send_whole(fd, answer, answer_bytes)) return 0;
  ++w->counts.answered;
  const int yes = 1;
  switch (c->order.mode) {
    case mode_short:
      return end(fd, c);
    case mode_down:
      watch(w->poller, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT, (uint64_t)fd);
      return 1;
    case mode_echo:
      c->message = zeroed(1, message_bytes);
      return setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) == 0;
    default:
      return c->order.mode == mode_up || c->order.mode == mode_idle;
  }
}

static int take_hello(struct worker* w, int fd, struct served* c, const uint8_t* data, size_t size) {
  for (size_t i = 0; i < size && c->hello_bytes + i < sizeof(c->head); ++i) c->head[c->hello_bytes + i] = data[i];
  c->hello_bytes += (uint32_t)size;
  if (c->hello_bytes < sizeof(c->head)) return 1;
  c->hello_wanted = 5U + (uint32_t)(c->head[3] << 8 | c->head[4]);
  if (c->hello_bytes > c->hello_wanted) return 0;
  return c->hello_bytes < c->hello_wanted || begin_payload(w, fd, c);
}

static int take_blocks(int fd, struct served* c, const uint8_t* data, size_t size) {
  const uint64_t now = now_ns();
  if (now >= c->order.from_ns && now < c->order.to_ns) c->measured += size;
  for (uint64_t at = (block_bytes - c->moved % block_bytes) % block_bytes; at < size; at += block_bytes) {
    if (data[at] == 0 && c->last_at == 0) c->last_at = c->moved + at + block_bytes;
  }
  c->moved += size;
  if (c->last_at == 0 || c->moved < c->last_at) return 1;
  return c->moved == c->last_at && tell_total(fd, c);
}

static int take_message(int fd, struct served* c, const uint8_t* data, size_t size) {
  if (c->moved + size > message_bytes) return 0; /* one is under way at a time */
  memcpy(c->message + c->moved, data, size);
  c->moved += size;
  if (c->moved < message_bytes) return 1;
  c->moved = 0;
  return send_whole(fd, c->message, message_bytes) && (c->message[0] != 0 || end(fd, c));
}

static void receive(struct worker* w, int fd) {
  struct served* const c = &connections[fd];
  const ssize_t size = read(fd, w->data, sizeof(w->data));
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) {
    const int in_order = c->stage == ending || (c->stage == payload && c->order.mode == mode_idle);
    return leave(fd, size == 0 && in_order ? &w->counts.ended : &w->counts.broken);
  }
  int well = 0;
  if (c->stage == hello) {
    well = take_hello(w, fd, c, w->data, (size_t)size);
  } else if (c->stage == payload && c->order.mode == mode_up) {
    well = take_blocks(fd, c, w->data, (size_t)size);
  } else if (c->stage == payload && c->order.mode == mode_echo) {
    well = take_message(fd, c, w->data, (size_t)size);
  } else if (c->stage == payload && c->order.mode == mode_down) {
    well = size == 1;
    c->stage = stopped; /* once the buffer has room: the total must not be cut */
  }
  if (!well) leave(fd, &w->counts.broken);
}

static void send_more(struct worker* w, int fd) {
  struct served* const c = &connections[fd];
  if (c->stage == stopped) {
    watch(w->poller, EPOLL_CTL_MOD, fd, EPOLLIN, (uint64_t)fd);
    if (!tell_total(fd, c)) leave(fd, &w->counts.broken);
    return;
  }
  const size_t at = c->moved % stream_bytes;
  const ssize_t size = send(fd, stream + at, stream_bytes - at, MSG_NOSIGNAL);
  if (size >= 0) c->moved += (uint64_t)size;
  if (size < 0 && errno != EAGAIN) leave(fd, &w->counts.broken);
}

static void accept_some(struct worker* w) {
  enum { at_once = 16 };
  for (int i = 0; i < at_once; ++i) {
    const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (fd < 0) return;
    ++w->counts.accepted;
    if ((size_t)fd >= connection_limit) die("too many connections");
    memset(&connections[fd], 0, sizeof(connections[fd]));
    watch(workers[atomic_fetch_add(&next_worker, 1) % worker_count].poller, EPOLL_CTL_ADD, fd, EPOLLIN, (uint64_t)fd);
  }
}

static void* work(void* argument) {
  struct worker* const w = argument;
  struct epoll_event events[max_events];
  for (;;) {
    const int count = epoll_wait(w->poller, events, max_events, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = (int)events[i].data.u64;
      if (fd == listener) {
        accept_some(w);
      } else if (events[i].events & ~(uint32_t)EPOLLOUT) {
        receive(w, fd);
      } else {
        send_more(w, fd);
      }
    }
  }
  return NULL;
}

static void listen_at(const char* address, const char* port) {
  const struct sockaddr_storage here = endpoint(address, port);
  const int yes = 1;
  listener = socket(here.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(listener, (const struct sockaddr*)&here, sizeof(here)) != 0 || listen(listener, 4096) != 0) die("listen");
}

int serve_origin(const char* address, const char* port, unsigned threads) {
  connection_limit = max_files();
  connections = zeroed(connection_limit, sizeof(*connections));
  workers = zeroed(threads, sizeof(*workers));
  worker_count = threads;
  listen_at(address, port);
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  for (unsigned i = 0; i < threads; ++i) {
    workers[i].poller = epoll_create1(0);
    watch(workers[i].poller, EPOLL_CTL_ADD, listener, EPOLLIN | EPOLLEXCLUSIVE, (uint64_t)listener);
  }
  for (unsigned i = 0; i < threads; ++i) {
    if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) die("pthread_create");
  }
  int signal_number;
  sigwait(&ends, &signal_number);
  struct counts all = {0};
  for (unsigned i = 0; i < threads; ++i) {
    all.accepted += workers[i].counts.accepted;
    all.answered += workers[i].counts.answered;
    all.ended += workers[i].counts.ended;
    all.broken += workers[i].counts.broken;
  }
  printf("{\"accepted\": %lu, \"answered\": %lu, \"ended\": %lu, \"broken\": %lu}\n", all.accepted, all.answered,
         all.ended, all.broken);
  return 0;
}
