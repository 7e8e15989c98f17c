/* A long way between two network namespaces: a TUN device in each, and here what is on its way between them.
 *
 *   delay_line NETNS_A NETNS_B DEVICE ROUND_TRIP_MS LOSS_PERCENT SEED
 *
 * Each direction takes half of the round trip. What the kernel would have a network card segment comes in one piece and
 * stays in one, which is what makes this fast enough to be steady; each of its segments is lost by itself, though, the
 * same ones for the same seed. Prints a line when both devices are there, and what it did as JSON on SIGTERM; the
 * devices go with it. It sleeps until shortly before a packet is due and spins from there: timers alone are tens of
 * microseconds late, and in their own rhythm.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum {
  packet_max = 65536 + sizeof(struct virtio_net_hdr),
  ring_bytes = 256 * 1024 * 1024, /* of each direction: more than windows of 33 MB fill */
  batch = 8,
  spin_ns = 60000,
  late_ns = 500000,
};

/* One on its way, in the ring; what follows is a virtio_net_hdr and the packet. */
struct record {
  uint64_t due_ns;
  uint32_t size; /* 0: the rest of the ring is not used */
  uint32_t padding;
};

struct line {
  int from, to;
  uint8_t* ring;
  uint64_t head, tail; /* bytes; head: next to leave */
  uint64_t seed;
  uint64_t forwarded, lost, overrun, refused, late, latest_ns; /* lost: segments; the others: pieces */
};

static uint64_t delay_ns;
static uint64_t loss_below; /* of 2^64 */
static volatile sig_atomic_t over;

static void die(const char* what) {
  perror(what);
  exit(1);
}

static void end(int number) {
  (void)number;
  over = 1;
}

static uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int open_tun(const char* netns, const char* device) {
  char path[256];
  snprintf(path, sizeof(path), "/run/netns/%s", netns);
  const int space = open(path, O_RDONLY | O_CLOEXEC);
  if (space < 0 || setns(space, CLONE_NEWNET) != 0) die(path);
  close(space);
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR};
  snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", device);
  if (fd < 0 || ioctl(fd, TUNSETIFF, &request) != 0) die("TUNSETIFF");
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4) != 0) die("TUNSETOFFLOAD");
  return fd;
}

static size_t ip_bytes(const uint8_t* packet) {
  return (packet[0] & 15U) * 4U;
}

/* xorshift64*, which never is 0 */
static uint64_t next_random(uint64_t* state) {
  *state ^= *state >> 12;
  *state ^= *state << 25;
  *state ^= *state >> 27;
  return *state * 0x2545F4914F6CDD1DU;
}

static struct record* record_at(const struct line* line, uint64_t offset) {
  return (struct record*)(line->ring + offset % ring_bytes);
}

static uint64_t length_in_ring(uint32_t size) {
  return (sizeof(struct record) + size + 7) & ~7UL;
}

/* Room at the end of the queue, its due time set; NULL when there is none. */
static uint8_t* append(struct line* line, uint32_t size) {
  const uint64_t need = length_in_ring(size), rest = ring_bytes - line->tail % ring_bytes;
  const uint64_t skip = rest < need ? rest : 0;
  if (line->tail + skip + need - line->head > ring_bytes - sizeof(struct record)) {
    ++line->overrun;
    return NULL;
  }
  if (skip > 0) {
    if (skip >= sizeof(struct record)) record_at(line, line->tail)->size = 0;
    line->tail += skip;
  }
  struct record* const record = record_at(line, line->tail);
  record->due_ns = now_ns() + delay_ns;
  record->size = size;
  line->tail += need;
  return (uint8_t*)(record + 1);
}

static const struct record* first(struct line* line) {
  while (line->head != line->tail) {
    const uint64_t rest = ring_bytes - line->head % ring_bytes;
    if (rest >= sizeof(struct record) && record_at(line, line->head)->size != 0) return record_at(line, line->head);
    line->head += rest;
  }
  return NULL;
}

static uint32_t add_words(uint32_t sum, const void* data, size_t size) {
  const uint8_t* const bytes = data;
  for (size_t i = 0; i < size; i += 2) sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
  return sum;
}

static uint16_t folded(uint32_t sum) {
  sum = (sum & 0xFFFF) + (sum >> 16);
  return (uint16_t)(sum + (sum >> 16));
}

/* Some segments of a piece, as a piece of its own: lengths, sequence number, flags and checksums as the kernel would
 * have made them. `from` and `size`: of the payload. */
static void append_part(struct line* line, const struct virtio_net_hdr* head, const uint8_t* packet, size_t headers,
                        size_t from, size_t size, size_t whole) {
  uint8_t* const room = append(line, (uint32_t)(sizeof(*head) + headers + size));
  if (room == NULL) return;
  struct virtio_net_hdr* const out = (struct virtio_net_hdr*)room;
  struct iphdr* const ip = (struct iphdr*)(room + sizeof(*head));
  struct tcphdr* const tcp = (struct tcphdr*)((uint8_t*)ip + ip_bytes(packet));
  memcpy(out, head, sizeof(*head));
  memcpy(ip, packet, headers);
  memcpy((uint8_t*)ip + headers, packet + headers + from, size);
  if (size <= head->gso_size) {
    out->gso_type = VIRTIO_NET_HDR_GSO_NONE;
    out->gso_size = 0;
  }
  tcp->seq = htonl(ntohl(tcp->seq) + (uint32_t)from);
  if (from + size < whole) tcp->fin = tcp->psh = 0;
  const uint16_t length = (uint16_t)(headers + size), tcp_length = (uint16_t)(length - ip_bytes(packet));
  ip->tot_len = htons(length);
  ip->id = htons((uint16_t)(ntohs(ip->id) + from / head->gso_size));
  ip->check = 0;
  ip->check = htons((uint16_t)~folded(add_words(0, ip, ip_bytes(packet))));
  /* Partial: of the pseudo header alone, what follows is added by whoever completes it. */
  tcp->check = htons(folded(add_words(IPPROTO_TCP + tcp_length, &ip->saddr, 8)));
}

static int is_lost(struct line* line) {
  const int lost = loss_below != 0 && next_random(&line->seed) < loss_below;
  line->lost += (uint64_t)lost;
  return lost;
}

static void take_segments(struct line* line, const struct virtio_net_hdr* head, const uint8_t* packet, size_t size) {
  const struct tcphdr* const tcp = (const struct tcphdr*)(packet + ip_bytes(packet));
  const size_t headers = ip_bytes(packet) + tcp->doff * 4U;
  if (headers >= size) return;
  const size_t whole = size - headers;
  size_t begin = 0, at = 0; /* the run of segments that arrive */
  for (; at < whole; at += head->gso_size) {
    if (!is_lost(line)) continue;
    if (at > begin) append_part(line, head, packet, headers, begin, at - begin, whole);
    begin = at + head->gso_size;
  }
  if (begin < whole) append_part(line, head, packet, headers, begin, whole - begin, whole);
}

static int take_in(struct line* line) {
  static uint8_t piece[packet_max];
  const struct virtio_net_hdr* const head = (const struct virtio_net_hdr*)piece;
  int taken = 0;
  for (; taken < batch; ++taken) {
    const ssize_t size = read(line->from, piece, sizeof(piece));
    if (size <= (ssize_t)sizeof(*head)) break;
    if (loss_below != 0 && (head->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV4) {
      take_segments(line, head, piece + sizeof(*head), (size_t)size - sizeof(*head));
    } else if (!is_lost(line)) {
      uint8_t* const room = append(line, (uint32_t)size);
      if (room != NULL) memcpy(room, piece, (size_t)size);
    }
  }
  return taken;
}

static int let_out(struct line* line) {
  int left = 0;
  for (const struct record* record; left < batch && (record = first(line)) != NULL; ++left) {
    const uint64_t now = now_ns();
    if (record->due_ns > now) break;
    const uint64_t late = now - record->due_ns;
    if (late > line->latest_ns) line->latest_ns = late;
    line->late += late > late_ns;
    if (write(line->to, record + 1, record->size) == (ssize_t)record->size) {
      ++line->forwarded;
    } else {
      ++line->refused;
    }
    line->head += length_in_ring(record->size);
  }
  return left;
}

static uint64_t next_due(struct line* lines) {
  uint64_t due = UINT64_MAX;
  for (int i = 0; i < 2; ++i) {
    const struct record* const record = first(&lines[i]);
    if (record != NULL && record->due_ns < due) due = record->due_ns;
  }
  return due;
}

static void carry(struct line* lines, int poller) {
  while (!over) {
    int done = 0;
    for (int i = 0; i < 2; ++i) done += take_in(&lines[i]) + let_out(&lines[i]);
    if (done > 0) continue;
    const uint64_t due = next_due(lines), now = now_ns();
    if (due < now + spin_ns) continue;
    const uint64_t wait_ns = due == UINT64_MAX ? 100000000 : due - now - spin_ns;
    const struct timespec patience = {(time_t)(wait_ns / 1000000000), (long)(wait_ns % 1000000000)};
    struct epoll_event events[2];
    epoll_pwait2(poller, events, 2, &patience, NULL);
  }
}

static void tell(const char* name, const struct line* line, const char* after) {
  printf(
      "\"%s\": {\"forwarded\": %lu, \"lost\": %lu, \"overrun\": %lu, \"refused\": %lu, \"late\": %lu, "
      "\"latest_us\": %lu}%s",
      name, line->forwarded, line->lost, line->overrun, line->refused, line->late, line->latest_ns / 1000, after);
}

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: delay_line NETNS_A NETNS_B DEVICE ROUND_TRIP_MS LOSS_PERCENT SEED\n");
    return 2;
  }
  delay_ns = (uint64_t)(atof(argv[4]) * 1e6 / 2);
  loss_below = (uint64_t)(atof(argv[5]) / 100 * 18446744073709551615.0);
  const uint64_t seed = strtoul(argv[6], NULL, 10) * 2 + 1;
  const int a = open_tun(argv[1], argv[3]), b = open_tun(argv[2], argv[3]);
  struct line lines[2] = {{.from = a, .to = b, .seed = seed}, {.from = b, .to = a, .seed = ~seed}};
  const int poller = epoll_create1(0);
  for (int i = 0; i < 2; ++i) {
    lines[i].ring = aligned_alloc(64, ring_bytes);
    if (lines[i].ring == NULL) die("aligned_alloc");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = lines[i].from};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, lines[i].from, &event) != 0) die("epoll_ctl");
  }
  struct sigaction action = {.sa_handler = end};
  sigaction(SIGTERM, &action, NULL);
  prctl(PR_SET_TIMERSLACK, 1);
  const struct sched_param first_of_all = {.sched_priority = 1};
  if (sched_setscheduler(0, SCHED_FIFO, &first_of_all) != 0) die("sched_setscheduler");
  printf("{\"ready\": true}\n");
  fflush(stdout);
  carry(lines, poller);
  printf("{");
  tell("a_to_b", &lines[0], ", ");
  tell("b_to_a", &lines[1], "}\n");
  return 0;
}
