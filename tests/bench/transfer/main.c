/* Transfers of every behaviour, both ways at once, each byte of which is checked.
 *
 *   transfer origin ADDRESS PORT [-p PATIENCE_S]
 *     serves until SIGTERM, then prints how its ends saw it as JSON; IPv4 as well when ADDRESS is "::"
 *   transfer call ADDRESS PORT HELLO [-n CONNECTIONS] [-c AT_ONCE] [-b MOST_BYTES] [-B FIRST_BYTES] [-l LAST_S]
 *        [-s SEED] [-p PATIENCE_S]
 *     makes the connections with the ClientHello in the file HELLO and prints how its ends saw it. The first one takes
 *     FIRST_BYTES each way, the others of all behaviours in turn at most MOST_BYTES. With LAST_S each is steady and
 * takes so long, and a line is printed once all are under way.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "transfer.h"

unsigned patience_s = 30;

void die(const char* what) {
  perror(what);
  exit(1);
}

uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void* zeroed(size_t size) {
  void* found = calloc(1, size);
  if (found == NULL) die("calloc");
  return found;
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

void start_thread(void* (*work)(void*), void* argument) {
  pthread_attr_t small;
  pthread_t thread;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 128UL * 1024);
  pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
  if (pthread_create(&thread, &small, work, argument) != 0) die("pthread_create");
  pthread_attr_destroy(&small);
}

static int usage(void) {
  fprintf(stderr,
          "usage: transfer origin ADDRESS PORT [-p PATIENCE_S]\n"
          "       transfer call ADDRESS PORT HELLO [-n CONNECTIONS] [-c AT_ONCE] [-b MOST_BYTES] [-B FIRST_BYTES]\n"
          "                [-l LAST_S] [-s SEED] [-p PATIENCE_S]\n");
  return 2;
}

int main(int argc, char** argv) {
  struct call_options options = {.connections = 1, .at_once = 64, .most_bytes = 1 << 20, .seed = 1};
  int option;
  while ((option = getopt(argc, argv, "n:c:b:B:l:s:p:")) != -1) {
    const uint64_t value = optarg == NULL ? 0 : strtoul(optarg, NULL, 10);
    switch (option) {
      case 'n':
        options.connections = (unsigned)value;
        break;
      case 'c':
        options.at_once = (unsigned)value;
        break;
      case 'b':
        options.most_bytes = value;
        break;
      case 'B':
        options.first_bytes = value;
        break;
      case 'l':
        options.last_s = (unsigned)value;
        break;
      case 's':
        options.seed = value;
        break;
      case 'p':
        patience_s = (unsigned)value;
        break;
      default:
        return usage();
    }
  }
  char** const words = argv + optind;
  const int count = argc - optind;
  if (count == 3 && strcmp(words[0], "origin") == 0) return serve(words[1], words[2]);
  if (count != 4 || strcmp(words[0], "call") != 0 || options.connections < 1 || options.at_once < 1) return usage();
  options.address = words[1];
  options.port = words[2];
  options.hello_path = words[3];
  return call(&options);
}
