/* The ends of many short TLS-like connections, cheap enough to measure what lies between them on the same machine.
 *
 *   tls_load origin ADDRESS PORT
 *     answers the first record of each connection with a ServerHello's worth of bytes, ends its side and waits for the
 *     caller's end. On SIGTERM it prints what it saw as JSON.
 *   tls_load call ADDRESS PORT RATE SECONDS < HELLO
 *     begins RATE connections a second, each when it is due, whatever became of the others; sends HELLO, reads the
 * answer and the end, ends too. Prints how they went as JSON.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { max_fds = 20000, max_events = 256, answer_bytes = 127, patience_ms = 10000 };

/* One handshake record that holds a ServerHello. */
static const uint8_t answer[answer_bytes] = {22, 3, 3, 0, answer_bytes - 5, 2, 0, 0, answer_bytes - 9, 3, 3};

static void die(const char* what) {
  perror(what);
  exit(1);
}

static uint64_t now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static struct sockaddr_in endpoint(const char* address, const char* port) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
  if (inet_pton(AF_INET, address, &to.sin_addr) != 1) die(address);
  return to;
}

static void watch(int poller, int op, int fd, uint32_t events) {
  struct epoll_event event = {.events = events, .data.fd = fd};
  if (epoll_ctl(poller, op, fd, &event) != 0) die("epoll_ctl");
}

/* The origin */

static struct {
  uint32_t got; /* bytes of the hello */
  uint32_t want;
  int answered;
} served[max_fds];
static uint64_t accepted, answered, ended, broken;

static void drop(int fd, uint64_t* counter) {
  ++*counter;
  close(fd);
}

static void accept_all(int poller, int listener) {
  int fd;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    ++accepted;
    if (fd >= max_fds) die("too many connections");
    memset(&served[fd], 0, sizeof(served[fd]));
    watch(poller, EPOLL_CTL_ADD, fd, EPOLLIN);
  }
}

static void serve(int fd) {
  uint8_t data[4096];
  const ssize_t size = read(fd, data, sizeof(data));
  if (size < 0 && errno == EAGAIN) return;
  if (size <= 0) return drop(fd, size == 0 && served[fd].answered ? &ended : &broken);
  if (served[fd].got == 0 && size >= 5) served[fd].want = 5U + (uint32_t)(data[3] << 8 | data[4]);
  served[fd].got += (uint32_t)size;
  if (served[fd].answered || served[fd].got != served[fd].want) return;
  served[fd].answered = 1;
  if (write(fd, answer, sizeof(answer)) != answer_bytes || shutdown(fd, SHUT_WR) != 0) return drop(fd, &broken);
  ++answered;
}

static int origin(const char* address, const char* port) {
  const struct sockaddr_in here = endpoint(address, port);
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poller = epoll_create1(0);
  const int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(listener, (const struct sockaddr*)&here, sizeof(here)) != 0 || listen(listener, 4096) != 0) die("listen");
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigprocmask(SIG_BLOCK, &ends, NULL);
  const int end = signalfd(-1, &ends, 0);
  watch(poller, EPOLL_CTL_ADD, listener, EPOLLIN);
  watch(poller, EPOLL_CTL_ADD, end, EPOLLIN);
  struct epoll_event events[max_events];
  for (;;) {
    const int count = epoll_wait(poller, events, max_events, -1);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == end) {
        printf("{\"accepted\": %lu, \"answered\": %lu, \"ended\": %lu, \"broken\": %lu}\n", accepted, answered, ended,
               broken);
        return 0;
      }
      if (fd == listener) {
        accept_all(poller, listener);
      } else {
        serve(fd);
      }
    }
  }
}

/* The caller */

static struct {
  uint64_t begun_us; /* 0: not in use */
  uint32_t answer_us;
  uint32_t got;
  int sent;
} calls[max_fds];
enum outcome { finished, connect_failed, send_failed, reset, ended_early, other_answer, unfinished, outcomes };
static const char* const outcome_names[outcomes] = {"finished",    "connect_failed", "send_failed", "reset",
                                                    "ended_early", "other_answer",   "unfinished"};
static uint64_t counts[outcomes];
static uint32_t* latencies_us; /* of those that finished */
static uint64_t open_calls;

static void finish(int fd, enum outcome outcome) {
  if (outcome == finished) latencies_us[counts[finished]] = calls[fd].answer_us;
  ++counts[outcome];
  --open_calls;
  calls[fd].begun_us = 0;
  close(fd);
}

static void begin(int poller, const struct sockaddr_in* to) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0 || fd >= max_fds) die("socket");
  memset(&calls[fd], 0, sizeof(calls[fd]));
  calls[fd].begun_us = now_us();
  ++open_calls;
  if (connect(fd, (const struct sockaddr*)to, sizeof(*to)) != 0 && errno != EINPROGRESS) {
    return finish(fd, connect_failed);
  }
  watch(poller, EPOLL_CTL_ADD, fd, EPOLLOUT);
}

static void send_hello(int poller, int fd, const uint8_t* hello, size_t size) {
  int error = 0;
  socklen_t length = sizeof(error);
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) return finish(fd, connect_failed);
  if (send(fd, hello, size, MSG_NOSIGNAL) != (ssize_t)size) return finish(fd, send_failed);
  calls[fd].sent = 1;
  watch(poller, EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void receive(int fd) {
  uint8_t data[4096];
  const ssize_t size = read(fd, data, sizeof(data));
  if (size < 0 && errno == EAGAIN) return;
  if (size < 0) return finish(fd, reset);
  if (size == 0) return finish(fd, calls[fd].got == answer_bytes ? finished : ended_early);
  if (calls[fd].got + (size_t)size > answer_bytes || memcmp(data, answer + calls[fd].got, (size_t)size) != 0) {
    return finish(fd, other_answer);
  }
  calls[fd].got += (uint32_t)size;
  if (calls[fd].got == answer_bytes) calls[fd].answer_us = (uint32_t)(now_us() - calls[fd].begun_us);
}

static int by_size(const void* left, const void* right) {
  const uint32_t a = *(const uint32_t*)left, b = *(const uint32_t*)right;
  return a < b ? -1 : a > b;
}

static double percentile_ms(double part) {
  const uint64_t size = counts[finished];
  return size == 0 ? 0 : latencies_us[(uint64_t)((double)(size - 1) * part)] / 1000.0;
}

static void report(uint64_t begun, uint64_t elapsed_us, uint64_t late_us, uint64_t most_open) {
  qsort(latencies_us, counts[finished], sizeof(*latencies_us), by_size);
  printf("{\"begun\": %lu, \"elapsed_s\": %.3f, \"most_late_ms\": %.1f, \"most_open\": %lu", begun,
         (double)elapsed_us / 1e6, (double)late_us / 1000.0, most_open);
  for (int i = 0; i < outcomes; ++i) printf(", \"%s\": %lu", outcome_names[i], counts[i]);
  printf(", \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"p999_ms\": %.2f, \"max_ms\": %.2f}\n", percentile_ms(0.5),
         percentile_ms(0.99), percentile_ms(0.999), percentile_ms(1));
}

static int call(const char* address, const char* port, double rate, double seconds) {
  uint8_t hello[4096];
  const size_t hello_bytes = fread(hello, 1, sizeof(hello), stdin);
  const struct sockaddr_in to = endpoint(address, port);
  const uint64_t total = (uint64_t)(rate * seconds + 0.5);
  const int poller = epoll_create1(0);
  latencies_us = calloc(total + 1, sizeof(*latencies_us));
  struct epoll_event events[max_events];
  uint64_t begun = 0, late_us = 0, most_open = 0, elapsed_us = 0;
  const uint64_t start_us = now_us();
  uint64_t give_up_us = 0; /* once all have begun */
  while (begun < total || open_calls > 0) {
    uint64_t now = now_us();
    uint64_t due_us = start_us + (uint64_t)((double)begun * 1e6 / rate);
    while (begun < total && due_us <= now) {
      if (now - due_us > late_us) late_us = now - due_us;
      begin(poller, &to);
      if (++begun == total) {
        elapsed_us = now - start_us;
        give_up_us = now + patience_ms * 1000UL;
      }
      due_us = start_us + (uint64_t)((double)begun * 1e6 / rate);
    }
    if (open_calls > most_open) most_open = open_calls;
    if (begun == total && now > give_up_us) break;
    const uint64_t wait_us = begun < total ? due_us - now : 100000;
    const struct timespec patience = {.tv_sec = (time_t)(wait_us / 1000000),
                                      .tv_nsec = (long)(wait_us % 1000000) * 1000};
    const int count = epoll_pwait2(poller, events, max_events, &patience, NULL);
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (calls[fd].sent) {
        receive(fd);
      } else {
        send_hello(poller, fd, hello, hello_bytes);
      }
    }
  }
  for (int fd = 0; fd < max_fds; ++fd) {
    if (calls[fd].begun_us != 0) finish(fd, unfinished);
  }
  report(begun, elapsed_us, late_us, most_open);
  return 0;
}

int main(int argc, char** argv) {
  if (argc == 4 && strcmp(argv[1], "origin") == 0) return origin(argv[2], argv[3]);
  if (argc == 6 && strcmp(argv[1], "call") == 0) return call(argv[2], argv[3], atof(argv[4]), atof(argv[5]));
  fprintf(stderr, "usage: tls_load origin ADDRESS PORT | tls_load call ADDRESS PORT RATE SECONDS < HELLO\n");
  return 2;
}
