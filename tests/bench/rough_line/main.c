/* A rough way between two network namespaces: a TUN or TAP device in each, and here what becomes of packets between
 * them.
 *
 *   rough_line tun|tap NETNS_A DEVICE_A NETNS_B DEVICE_B PERCENT SEED
 *
 * Of all packets, each way, so many percent are lost, as many come twice, and as many come late: after up to LATEST
 * others, or a while, have passed them. The kernel segments and sums up what it sends here, so that each segment meets
 * its own fate. Prints a line when both devices are there, and what it did as JSON on SIGTERM; the devices go with it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
  packet_max = 2048, /* of devices with an MTU of 1500 */
  late_max = 64,     /* that are held back at once; more go on at once */
  latest = 8,        /* packets that pass one that is held back */
  longest_ms = 5,    /* that it is held back when none pass */
  batch = 32,
};

struct held {
  size_t size;
  unsigned after; /* so many others */
  uint64_t due_ms;
  uint8_t packet[packet_max];
};

struct line {
  int from, to;
  uint64_t random;
  unsigned late;
  struct held held[late_max];
  uint64_t forwarded, lost, twice, delayed, refused;
};

static uint64_t below; /* of 2^64: each fate's part */
static volatile sig_atomic_t over;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void end(int number) {
  (void)number;
  over = 1;
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int open_device(int kind, const char* netns, const char* device) {
  char path[256];
  snprintf(path, sizeof(path), "/run/netns/%s", netns);
  const int space = open(path, O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) die(path);
  close(space);
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request = {.ifr_flags = (short)(kind | IFF_NO_PI)};
  snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) die("TUNSETIFF");
  return fd;
}

/* xorshift64*, which never is 0 */
static uint64_t next_random(uint64_t* state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1DU;
}

static void let_go(struct line* line, const uint8_t* packet, size_t size) {
  if (write(line->to, packet, size) == (ssize_t)size) {
    ++line->forwarded;
  } else {
    ++line->refused;
  }
}

static void hold_back(struct line* line, const uint8_t* packet, size_t size) {
  struct held* const held = &line->held[line->late++];
  held->size = size;
  held->after = 1 + (unsigned)(next_random(&line->random) >> 32) % latest;
  held->due_ms = now_ms() + longest_ms;
  memcpy(held->packet, packet, size);
  ++line->delayed;
}

/* Those whose time has come; `passed` others went before them just now. */
static void let_late_go(struct line* line, unsigned passed) {
  const uint64_t now = line->late > 0 ? now_ms() : 0;
  for (unsigned i = 0; i < line->late;) {
    struct held* const held = &line->held[i];
    held->after -= passed < held->after ? passed : held->after;
    if (held->after > 0 && held->due_ms > now) {
      ++i;
      continue;
    }
    let_go(line, held->packet, held->size);
    if (i != --line->late) *held = line->held[line->late];
  }
}

static void meet_fate(struct line* line, const uint8_t* packet, size_t size) {
  const uint64_t dice = next_random(&line->random);
  if (dice < below) {
    ++line->lost;
    return;
  }
  if (dice < 2 * below && line->late < late_max) return hold_back(line, packet, size);
  let_go(line, packet, size);
  if (dice >= 2 * below && dice < 3 * below) {
    let_go(line, packet, size);
    ++line->twice;
  }
  let_late_go(line, 1);
}

static int carry_some(struct line* line) {
  uint8_t packet[packet_max];
  int count = 0;
  for (; count < batch; ++count) {
    const ssize_t size = read(line->from, packet, sizeof(packet));
    if (size <= 0) break;
    meet_fate(line, packet, (size_t)size);
  }
  let_late_go(line, 0);
  return count;
}

static void carry(struct line* lines) {
  struct pollfd ready[2] = {{.fd = lines[0].from, .events = POLLIN}, {.fd = lines[1].from, .events = POLLIN}};
  while (!over) {
    if (carry_some(&lines[0]) + carry_some(&lines[1]) > 0) continue;
    poll(ready, 2, lines[0].late + lines[1].late > 0 ? 1 : 100);
  }
}

static void tell(const char* name, const struct line* line, const char* after) {
  printf("\"%s\": {\"forwarded\": %lu, \"lost\": %lu, \"twice\": %lu, \"late\": %lu, \"refused\": %lu}%s", name,
         line->forwarded, line->lost, line->twice, line->delayed, line->refused, after);
}

int main(int argc, char** argv) {
  if (argc != 8 || (strcmp(argv[1], "tun") != 0 && strcmp(argv[1], "tap") != 0)) {
    fprintf(stderr, "usage: rough_line tun|tap NETNS_A DEVICE_A NETNS_B DEVICE_B PERCENT SEED\n");
    return 2;
  }
  static struct line lines[2];
  const int kind = strcmp(argv[1], "tun") == 0 ? IFF_TUN : IFF_TAP;
  const int a = open_device(kind, argv[2], argv[3]), b = open_device(kind, argv[4], argv[5]);
  below = (uint64_t)(atof(argv[6]) / 100 * 18446744073709551615.0);
  const uint64_t seed = strtoul(argv[7], NULL, 10) * 2 + 1;
  lines[0] = (struct line){.from = a, .to = b, .random = seed};
  lines[1] = (struct line){.from = b, .to = a, .random = ~seed};
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  printf("{\"ready\": true}\n");
  fflush(stdout);
  carry(lines);
  printf("{");
  tell("a_to_b", &lines[0], ", ");
  tell("b_to_a", &lines[1], "}\n");
  return 0;
}
