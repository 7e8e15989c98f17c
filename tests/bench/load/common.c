#define _GNU_SOURCE
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

#include "load.h"

const uint8_t answer[answer_bytes] = {22, 3, 3, 0, answer_bytes - 5, 2, 0, 0, answer_bytes - 9, 3, 3};
const uint8_t stream[stream_bytes] = {[0] = 1, [block_bytes] = 1};

void die(const char* what) {
  perror(what);
  exit(1);
}

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct sockaddr_storage endpoint(const char* address, const char* port) {
  const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM};
  struct sockaddr_storage to = {0};
  struct addrinfo* found;
  if (getaddrinfo(address, port, &hints, &found) != 0) die(address);
  memcpy(&to, found->ai_addr, found->ai_addrlen);
  freeaddrinfo(found);
  return to;
}

void watch(int poller, int op, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  if (epoll_ctl(poller, op, fd, &event) != 0) die("epoll_ctl");
}

size_t max_files(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) die("getrlimit");
  return (size_t)limit.rlim_cur;
}

void* zeroed(size_t count, size_t size) {
  void* found = calloc(count, size);
  if (found == NULL) die("calloc");
  return found;
}
