/* The caller. Each thread has its share of the connections; a connection stays with its slot. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

enum { connecting_at_once = 64, alert_record = 21 };
enum stage { unused, connecting, answering, payload, ending };
enum outcome {
  finished,
  connect_failed,
  send_failed,
  reset,
  denied, /* an alert instead of the answer */
  ended_early,
  other_answer,
  other_total,
  other_message,
  unfinished,
  outcomes
};
static const char* const outcome_names[outcomes] = {"finished",      "connect_failed", "send_failed",  "reset",
                                                    "denied",        "ended_early",    "other_answer", "other_total",
                                                    "other_message", "unfinished"};

struct call {
  int fd;
  enum stage stage;
  uint64_t begun_ns;                  /* the call; echo: the message */
  uint32_t got;                       /* of the answer, of the message, of the total */
  uint64_t moved;                     /* up: sent, down: received */
  uint64_t sequence;                  /* echo */
  int last;                           /* up and echo: the last block or message is begun; down: told to stop */
  uint8_t tail[sizeof(struct total)]; /* down: the newest bytes; up: the total */
  uint8_t message[message_bytes];
};

struct caller {
  pthread_t thread;
  int poller;
  struct call* calls;
  unsigned size, open, connecting, held; /* held: idle ones that were answered */
  unsigned first_unused;                 /* no slot before it is free */
  uint64_t most, begun, bytes;           /* most: to begin; bytes: measured */
  uint64_t counts[outcomes];
  uint32_t* times_ns; /* of calls (short) or messages (echo) that ended in the window, at most 4 s each */
  size_t times, times_size;
  uint64_t late_ns;
  unsigned most_open;
  uint8_t hello[hello_max];
  uint8_t data[read_bytes];
};

static struct sockaddr_storage to;
static struct order order;
static size_t hello_bytes;
static uint64_t give_up_ns;
static unsigned hold_total;
static atomic_uint held_total, at_work /* threads */;
static atomic_int let_go; /* idle: the ends of the connections have come */

static int in_window(uint64_t now) {
  return now >= order.from_ns && now < order.to_ns;
}

static void note_time(struct caller* c, uint64_t begun_ns) {
  const uint64_t now = now_ns();
  if (!in_window(now)) return;
  if (c->times == c->times_size) {
    c->times_size = c->times_size ? c->times_size * 2 : 4096;
    c->times_ns = realloc(c->times_ns, c->times_size * sizeof(*c->times_ns));
    if (c->times_ns == NULL) die("realloc");
  }
  const uint64_t took = now - begun_ns;
  c->times_ns[c->times++] = took > UINT32_MAX ? UINT32_MAX : (uint32_t)took;
}

static void finish(struct caller* c, struct call* call, enum outcome outcome) {
  close(call->fd);
  if (call->stage == connecting || call->stage == answering) --c->connecting;
  if (outcome == finished && order.mode == mode_short) note_time(c, call->begun_ns);
  ++c->counts[outcome];
  --c->open;
  call->stage = unused;
  const unsigned slot = (unsigned)(call - c->calls);
  if (slot < c->first_unused) c->first_unused = slot;
}

static void begin(struct caller* c) {
  while (c->calls[c->first_unused].stage != unused) ++c->first_unused;
  struct call* const call = &c->calls[c->first_unused];
  memset(call, 0, offsetof(struct call, tail));
  call->stage = connecting;
  call->begun_ns = now_ns();
  ++c->begun;
  ++c->connecting;
  if (++c->open > c->most_open) c->most_open = c->open;
  call->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (call->fd < 0) die("socket");
  if (connect(call->fd, (const struct sockaddr*)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
    return finish(c, call, connect_failed);
  }
  watch(c->poller, EPOLL_CTL_ADD, call->fd, EPOLLOUT, (uint64_t)(call - c->calls));
}

static void want(struct caller* c, struct call* call, uint32_t events) {
  watch(c->poller, EPOLL_CTL_MOD, call->fd, events, (uint64_t)(call - c->calls));
}

static void send_hello(struct caller* c, struct call* call) {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(call->fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return finish(c, call, connect_failed);
  if (send(call->fd, c->hello, hello_bytes, MSG_NOSIGNAL) != (ssize_t)hello_bytes) return finish(c, call, send_failed);
  call->stage = answering;
  want(c, call, EPOLLIN);
}

static void send_message(struct caller* c, struct call* call) {
  const uint64_t now = now_ns();
  call->last = now >= order.to_ns;
  call->got = 0;
  ++call->sequence;
  memcpy(call->message + 8, &call->sequence, sizeof(call->sequence));
  memcpy(call->message + 16, &call->fd, sizeof(call->fd));
  call->message[0] = !call->last;
  call->begun_ns = now;
  if (send(call->fd, call->message, message_bytes, MSG_NOSIGNAL) != message_bytes) finish(c, call, send_failed);
}

static void send_blocks(struct caller* c, struct call* call) {
  static const uint8_t last_block[block_bytes];
  const uint64_t in_block = call->moved % block_bytes;
  const int over = now_ns() >= order.to_ns;
  if (over && in_block == 0) call->last = 1;
  const uint8_t* const data = call->last ? last_block + in_block : stream + call->moved % stream_bytes;
  const size_t room = over ? block_bytes - in_block : stream_bytes - call->moved % stream_bytes;
  const ssize_t size = send(call->fd, data, room, MSG_NOSIGNAL);
  if (size < 0 && errno != EAGAIN) return finish(c, call, errno == ECONNRESET ? reset : send_failed);
  if (size > 0) call->moved += (uint64_t)size;
  if (!call->last || call->moved % block_bytes != 0 || size <= 0) return;
  call->stage = ending;
  want(c, call, EPOLLIN);
}

/* down: the caller says when it has enough. */
static void stop_when_over(struct caller* c, struct call* call) {
  if (call->last || now_ns() < order.to_ns) return;
  call->last = 1;
  if (send(call->fd, "", 1, MSG_NOSIGNAL) != 1) finish(c, call, send_failed);
}

static void begin_payload(struct caller* c, struct call* call) {
  const int yes = 1;
  --c->connecting;
  call->stage = payload;
  call->got = 0;
  switch (order.mode) {
    case mode_short:
      call->stage = ending;
      break;
    case mode_up:
      want(c, call, EPOLLIN | EPOLLOUT);
      break;
    case mode_echo:
      setsockopt(call->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
      send_message(c, call);
      break;
    case mode_idle:
      ++c->held;
      atomic_fetch_add(&held_total, 1);
      break;
    default:
      break;
  }
}

static int take_answer(struct caller* c, struct call* call, const uint8_t* data, size_t size) {
  const size_t part = size < answer_bytes - call->got ? size : answer_bytes - call->got;
  if (call->got == 0 && data[0] == alert_record) {
    finish(c, call, denied);
    return -1;
  }
  if (memcmp(data, answer + call->got, part) != 0) {
    finish(c, call, other_answer);
    return -1;
  }
  call->got += (uint32_t)part;
  if (call->got == answer_bytes) begin_payload(c, call);
  return (int)part;
}

static void take_total(struct caller* c, struct call* call, const uint8_t* data, size_t size) {
  if (call->got + size > sizeof(call->tail)) return finish(c, call, other_total);
  memcpy(call->tail + call->got, data, size);
  call->got += (uint32_t)size;
}

static void take_message(struct caller* c, struct call* call, const uint8_t* data, size_t size) {
  if (call->got + size > message_bytes || memcmp(data, call->message + call->got, size) != 0) {
    return finish(c, call, other_message);
  }
  call->got += (uint32_t)size;
  if (call->got < message_bytes) return;
  note_time(c, call->begun_ns);
  if (call->last) {
    call->stage = ending;
  } else {
    send_message(c, call);
  }
}

static void take_stream(struct caller* c, struct call* call, const uint8_t* data, size_t size) {
  const size_t kept = sizeof(call->tail);
  if (in_window(now_ns())) c->bytes += size;
  call->moved += size;
  if (size >= kept) {
    memcpy(call->tail, data + size - kept, kept);
  } else {
    memmove(call->tail, call->tail + size, kept - size);
    memcpy(call->tail + kept - size, data, size);
  }
  stop_when_over(c, call);
}

static void take_payload(struct caller* c, struct call* call, const uint8_t* data, size_t size) {
  if (size == 0 || call->stage == unused) return;
  switch (order.mode) {
    case mode_up:
      return call->stage == ending ? take_total(c, call, data, size) : finish(c, call, other_total);
    case mode_echo:
      return call->stage == payload ? take_message(c, call, data, size) : finish(c, call, other_message);
    case mode_down:
      return take_stream(c, call, data, size);
    default:
      return finish(c, call, other_answer);
  }
}

static enum outcome outcome_of_end(struct caller* c, const struct call* call) {
  struct total total;
  memcpy(&total, call->tail, sizeof(total));
  switch (order.mode) {
    case mode_up:
      if (call->stage != ending || call->got != sizeof(total)) return ended_early;
      c->bytes += total.measured;
      return total.bytes == call->moved ? finished : other_total;
    case mode_down:
      if (call->stage != payload || !call->last || call->moved < sizeof(total)) return ended_early;
      return total.bytes == call->moved - sizeof(total) ? finished : other_total;
    default:
      return call->stage == ending ? finished : ended_early;
  }
}

static void receive(struct caller* c, struct call* call) {
  const ssize_t size = read(call->fd, c->data, sizeof(c->data));
  if (size < 0 && errno == EAGAIN) return;
  if (size < 0) return finish(c, call, reset);
  if (size == 0) return finish(c, call, outcome_of_end(c, call));
  int taken = 0;
  if (call->stage == answering) taken = take_answer(c, call, c->data, (size_t)size);
  if (taken >= 0) take_payload(c, call, c->data + taken, (size_t)(size - taken));
}

static void handle(struct caller* c, const struct epoll_event* event) {
  struct call* const call = &c->calls[event->data.u64];
  if (call->stage == connecting) {
    send_hello(c, call);
  } else if (event->events & ~(uint32_t)EPOLLOUT) {
    receive(c, call);
  } else {
    send_blocks(c, call);
  }
}

static void let_all_go(struct caller* c) {
  for (unsigned i = 0; i < c->size; ++i) {
    if (c->calls[i].stage == payload) finish(c, &c->calls[i], finished);
  }
}

static void set_order(struct caller* c) {
  memcpy(c->hello + order_offset, &order, sizeof(order));
}

/* Each slot has its call; short ones follow each other until time is over. */
static void keep_calling(struct caller* c) {
  struct epoll_event events[max_events];
  set_order(c);
  for (;;) {
    const uint64_t now = now_ns();
    while (c->open < c->size && c->connecting < connecting_at_once &&
           (order.mode == mode_short ? now_ns() < order.to_ns && c->begun < c->most : c->begun < c->size)) {
      begin(c);
    }
    if (order.mode == mode_idle && atomic_load(&let_go)) let_all_go(c);
    if (c->open == 0 && (c->begun == c->most || now >= order.to_ns)) return;
    if (now > give_up_ns) return;
    const int count = epoll_wait(c->poller, events, max_events, 20);
    for (int i = 0; i < count; ++i) handle(c, &events[i]);
  }
}

static void* work(void* argument) {
  keep_calling(argument);
  atomic_fetch_sub(&at_work, 1);
  return NULL;
}

/* Calls begin when they are due, whatever became of the others. */
static void call_at_rate(struct caller* c, double rate, uint64_t total) {
  struct epoll_event events[max_events];
  const uint64_t start_ns = now_ns();
  set_order(c);
  while (c->begun < total || c->open > 0) {
    const uint64_t now = now_ns();
    uint64_t due_ns = start_ns + (uint64_t)((double)c->begun * 1e9 / rate);
    while (c->begun < total && due_ns <= now) {
      if (now - due_ns > c->late_ns) c->late_ns = now - due_ns;
      if (c->open == c->size) die("too many connections are open");
      begin(c);
      due_ns = start_ns + (uint64_t)((double)c->begun * 1e9 / rate);
    }
    if (now > give_up_ns) break;
    const uint64_t wait_ns = c->begun < total ? due_ns - now : 100000000;
    const struct timespec patience = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};
    const int count = epoll_pwait2(c->poller, events, max_events, &patience, NULL);
    for (int i = 0; i < count; ++i) handle(c, &events[i]);
  }
}

static int by_size(const void* left, const void* right) {
  const uint32_t a = *(const uint32_t*)left, b = *(const uint32_t*)right;
  return a < b ? -1 : a > b;
}

static void merge(struct caller* all, struct caller* c) {
  for (unsigned i = 0; i < c->size; ++i) {
    if (c->calls[i].stage != unused) finish(c, &c->calls[i], unfinished);
  }
  for (int i = 0; i < outcomes; ++i) all->counts[i] += c->counts[i];
  all->begun += c->begun;
  all->bytes += c->bytes;
  all->most_open += c->most_open;
  if (c->late_ns > all->late_ns) all->late_ns = c->late_ns;
  all->times_ns = realloc(all->times_ns, (all->times + c->times + 1) * sizeof(*all->times_ns));
  if (all->times_ns == NULL) die("realloc");
  if (c->times > 0) memcpy(all->times_ns + all->times, c->times_ns, c->times * sizeof(*all->times_ns));
  all->times += c->times;
}

static double percentile_us(const struct caller* all, double part) {
  return all->times == 0 ? 0 : all->times_ns[(size_t)((double)(all->times - 1) * part)] / 1000.0;
}

static void report(struct caller* all, double elapsed_s) {
  const double window_s = (double)(order.to_ns - order.from_ns) / 1e9;
  qsort(all->times_ns, all->times, sizeof(*all->times_ns), by_size);
  printf("{\"begun\": %lu, \"elapsed_s\": %.3f, \"most_open\": %u, \"most_late_ms\": %.1f", all->begun, elapsed_s,
         all->most_open, (double)all->late_ns / 1e6);
  for (int i = 0; i < outcomes; ++i) printf(", \"%s\": %lu", outcome_names[i], all->counts[i]);
  printf(", \"gbit_s\": %.6f, \"per_s\": %.1f", (double)all->bytes * 8 / 1e9 / window_s, (double)all->times / window_s);
  printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n", percentile_us(all, 0.5),
         percentile_us(all, 0.99), percentile_us(all, 0.999), percentile_us(all, 1));
}

static void read_hello(struct caller* c, const char* path) {
  FILE* const file = fopen(path, "rb");
  if (file == NULL) die(path);
  hello_bytes = fread(c->hello, 1, sizeof(c->hello), file);
  fclose(file);
  if (hello_bytes < order_offset + sizeof(struct order)) die(path);
}

/* idle: until the caller of this program has seen enough. */
static void hold(void) {
  while (atomic_load(&held_total) < hold_total && atomic_load(&at_work) > 0) usleep(1000);
  printf("{\"held\": %u}\n", atomic_load(&held_total));
  fflush(stdout);
  struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
  char byte;
  while (atomic_load(&at_work) > 0) {
    if (poll(&input, 1, 100) > 0 && read(STDIN_FILENO, &byte, 1) <= 0) break;
  }
  atomic_store(&let_go, 1);
}

int call_origin(const struct call_options* options) {
  const unsigned threads = options->rate > 0 ? 1 : options->threads;
  struct caller* const callers = zeroed(threads, sizeof(*callers));
  struct caller* const all = zeroed(1, sizeof(*all));
  to = endpoint(options->address, options->port);
  const uint64_t start_ns = now_ns();
  order.mode = (uint8_t)options->mode[0];
  order.from_ns = start_ns + (uint64_t)(options->warm_up_s * 1e9);
  order.to_ns = order.from_ns + (uint64_t)(options->seconds * 1e9);
  give_up_ns = order.to_ns + (uint64_t)(options->patience_s * 1e9);
  hold_total = options->connections;
  const uint64_t most = options->calls > 0 ? options->calls : UINT64_MAX;
  for (unsigned i = 0; i < threads; ++i) {
    struct caller* const c = &callers[i];
    c->poller = epoll_create1(0);
    c->size = options->connections / threads + (i < options->connections % threads);
    c->most = order.mode == mode_short ? most / threads + (i < most % threads) : c->size;
    c->calls = zeroed(c->size, sizeof(*c->calls));
    read_hello(c, options->hello_path);
  }
  if (options->rate > 0) {
    call_at_rate(callers, options->rate, (uint64_t)(options->rate * (options->warm_up_s + options->seconds) + 0.5));
  } else {
    atomic_store(&at_work, threads);
    for (unsigned i = 0; i < threads; ++i) {
      if (pthread_create(&callers[i].thread, NULL, work, &callers[i]) != 0) die("pthread_create");
    }
    if (order.mode == mode_idle) hold();
    for (unsigned i = 0; i < threads; ++i) pthread_join(callers[i].thread, NULL);
  }
  const double elapsed_s = (double)(now_ns() - start_ns) / 1e9;
  for (unsigned i = 0; i < threads; ++i) merge(all, &callers[i]);
  report(all, elapsed_s);
  return 0;
}
