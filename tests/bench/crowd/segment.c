#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>

#include "crowd.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

enum { option_bytes = 4, receive_buffer = 32 << 20 };

struct frame {
  struct ethhdr ethernet;
  struct iphdr ip;
  struct tcphdr tcp;
  uint8_t rest[option_bytes + payload_max];
} __attribute__((packed));

void die(const char* what) {
  perror(what);
  exit(1);
}

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

struct link open_link(const char* interface) {
  struct link link = {.fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0)};
  struct ifreq request = {0};
  const int yes = 1, size = receive_buffer;
  snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", interface);
  if (link.fd < 0 || ioctl(link.fd, SIOCGIFHWADDR, &request) != 0) die(interface);
  memcpy(link.mine, request.ifr_hwaddr.sa_data, ETH_ALEN);
  setsockopt(link.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
  setsockopt(link.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes));
  setsockopt(link.fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes));
  const struct sockaddr_ll here = {
      .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP), .sll_ifindex = (int)if_nametoindex(interface)};
  if (bind(link.fd, (const struct sockaddr*)&here, sizeof(here)) != 0) die("bind");
  return link;
}

static uint32_t add_words(uint32_t sum, const void* data, size_t size) {
  const uint8_t* const bytes = data;
  for (size_t i = 0; i + 1 < size; i += 2) sum += (uint32_t)(bytes[i] << 8 | bytes[i + 1]);
  return size % 2 ? sum + (uint32_t)(bytes[size - 1] << 8) : sum;
}

static uint16_t checksum(uint32_t sum) {
  sum = (sum & 0xFFFF) + (sum >> 16);
  return htons((uint16_t)~(sum + (sum >> 16)));
}

void send_segment(const struct link* link, const uint8_t* to, const struct segment* s) {
  struct frame frame = {.ethernet = {.h_proto = htons(ETH_P_IP)}};
  const size_t options = s->flags & TH_SYN ? option_bytes : 0;
  const size_t tcp_bytes = sizeof(frame.tcp) + options + s->size, bytes = sizeof(frame.ip) + tcp_bytes;
  const uint8_t mss_option[option_bytes] = {TCPOPT_MAXSEG, option_bytes, mss >> 8, mss & 0xff};
  memcpy(frame.ethernet.h_dest, to, ETH_ALEN);
  memcpy(frame.ethernet.h_source, link->mine, ETH_ALEN);
  frame.ip = (struct iphdr){.version = 4,
                            .ihl = 5,
                            .tot_len = htons((uint16_t)bytes),
                            .frag_off = htons(IP_DF),
                            .ttl = 64,
                            .protocol = IPPROTO_TCP,
                            .saddr = s->source,
                            .daddr = s->destination};
  frame.ip.check = checksum(add_words(0, &frame.ip, sizeof(frame.ip)));
  frame.tcp.th_sport = htons(s->source_port);
  frame.tcp.th_dport = htons(s->destination_port);
  frame.tcp.th_seq = htonl(s->sequence);
  frame.tcp.th_ack = htonl(s->acknowledgement);
  frame.tcp.th_off = (uint8_t)((sizeof(frame.tcp) + options) / 4) & 15;
  frame.tcp.th_flags = s->flags;
  frame.tcp.th_win = htons(64240);
  memcpy(frame.rest, mss_option, options);
  if (s->size > 0) memcpy(frame.rest + options, s->payload, s->size);
  const uint32_t pseudo = add_words(IPPROTO_TCP + (uint32_t)tcp_bytes, &frame.ip.saddr, 8);
  frame.tcp.th_sum = checksum(add_words(pseudo, &frame.tcp, tcp_bytes));
  /* What finds no room is sent again like what gets lost. */
  if (send(link->fd, &frame, sizeof(frame.ethernet) + bytes, 0) < 0 && errno != EAGAIN && errno != ENOBUFS) die("send");
}

int receive_segment(const struct link* link, struct segment* s) {
  static struct frame frame;
  for (;;) {
    const ssize_t got = recv(link->fd, &frame, sizeof(frame), 0);
    if (got < 0 && errno == EAGAIN) return 0;
    if (got < 0) die("recv");
    if ((size_t)got < offsetof(struct frame, rest) || frame.ip.ihl != 5 || frame.ip.protocol != IPPROTO_TCP) continue;
    const size_t bytes = ntohs(frame.ip.tot_len), headers = sizeof(frame.ip) + frame.tcp.th_off * 4U;
    if (bytes < headers || sizeof(frame.ethernet) + bytes > (size_t)got) continue;
    *s = (struct segment){.source = frame.ip.saddr,
                          .destination = frame.ip.daddr,
                          .source_port = ntohs(frame.tcp.th_sport),
                          .destination_port = ntohs(frame.tcp.th_dport),
                          .sequence = ntohl(frame.tcp.th_seq),
                          .acknowledgement = ntohl(frame.tcp.th_ack),
                          .flags = frame.tcp.th_flags,
                          .payload = (const uint8_t*)&frame.ip + headers,
                          .size = bytes - headers};
    memcpy(s->from, frame.ethernet.h_source, ETH_ALEN);
    return 1;
  }
}

void wait_for_segment(const struct link* link, int ms) {
  struct pollfd ready = {.fd = link->fd, .events = POLLIN};
  poll(&ready, 1, ms);
}
