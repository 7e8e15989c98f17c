#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crowd.h"

enum {
  ports_each = 50000, /* of a source address */
  first_port = 10000,
  flows_max = 400000,
  opening_at_once = 256,
  messages_at_once = 64,
  again_ms = 200,     /* after which what was not answered is sent again */
  resets_per_ms = 10, /* at most: each end has its record */
  alert_record = 21,
};
enum stage { unused, opening, greeting /* the hello is sent */, idle, talking, over };

struct flow {
  enum stage stage;
  uint32_t next, received;    /* sequence number of the next byte; of the peer's */
  uint64_t begun_ns, sent_ns; /* the message or, until it was answered, the connection; what was sent last */
  uint64_t message;           /* its number */
};

static struct flow flows[flows_max];
static struct link wire;
static uint8_t next_hop[ETH_ALEN], hello[hello_max];
static size_t hello_bytes;
static uint32_t first_source, destination; /* host order, network order */
static uint16_t destination_port;
static uint64_t again, wrong, denied, was_reset;
static uint32_t times_ns[flows_max]; /* that answers took */
static size_t times;

static uint64_t next_random(void) {
  static uint64_t state = 1;
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dU;
}

static void say(uint32_t number, uint32_t sequence, uint8_t flags, const uint8_t* payload, size_t size) {
  const struct segment out = {.source = htonl(first_source + number / ports_each),
                              .destination = destination,
                              .source_port = (uint16_t)(first_port + number % ports_each),
                              .destination_port = destination_port,
                              .sequence = sequence,
                              .acknowledgement = flags & TH_ACK ? flows[number].received : 0,
                              .flags = flags,
                              .payload = payload,
                              .size = size};
  send_segment(&wire, next_hop, &out);
}

static void make_message(uint32_t number, uint8_t* out) {
  memset(out, (int)number, message_bytes);
  memcpy(out, &number, sizeof(number));
  memcpy(out + sizeof(number), &flows[number].message, sizeof(flows[number].message));
}

/* What the flow has said last and waits for an answer to. */
static void say_last(uint32_t number) {
  struct flow* const flow = &flows[number];
  uint8_t message[message_bytes];
  switch (flow->stage) {
    case opening:
      return say(number, flow->next - 1, TH_SYN, NULL, 0);
    case greeting:
      return say(number, flow->next, TH_ACK | TH_PUSH, hello, hello_bytes);
    case talking:
      make_message(number, message);
      return say(number, flow->next, TH_ACK | TH_PUSH, message, sizeof(message));
    default:
      return;
  }
}

static void begin(uint32_t number, enum stage stage) {
  flows[number].stage = stage;
  flows[number].sent_ns = now_ns();
  if (stage != greeting) flows[number].begun_ns = flows[number].sent_ns;
  say_last(number);
}

static void say_again(uint32_t number, uint64_t now) {
  struct flow* const flow = &flows[number];
  const int waits = flow->stage == opening || flow->stage == greeting || flow->stage == talking;
  if (!waits || now < flow->sent_ns + again_ms * 1000000UL) return;
  flow->sent_ns = now;
  ++again;
  say_last(number);
}

static int end(struct flow* flow, uint64_t* counter) {
  flow->stage = over;
  ++*counter;
  return 1;
}

/* Whether it was what the flow waited for. */
static int take_answer(struct flow* flow, uint32_t number, const struct segment* came) {
  const size_t said = flow->stage == greeting ? hello_bytes : message_bytes;
  uint8_t wanted[message_bytes];
  if (flow->stage != greeting && flow->stage != talking) return 0;
  if (flow->stage == greeting && came->size > 0 && came->payload[0] == alert_record) return end(flow, &denied);
  if (came->size != message_bytes || came->acknowledgement != flow->next + said) return 0;
  if (flow->stage == greeting) {
    memcpy(wanted, hello, sizeof(wanted));
  } else {
    make_message(number, wanted);
  }
  if (memcmp(wanted, came->payload, sizeof(wanted)) != 0 || came->sequence != flow->received) {
    ++wrong;
    return 0;
  }
  flow->next += (uint32_t)said;
  flow->received += (uint32_t)came->size;
  if (flow->stage == greeting) say(number, flow->next, TH_ACK, NULL, 0);
  flow->stage = idle;
  if (times < flows_max) times_ns[times++] = (uint32_t)(now_ns() - flow->begun_ns);
  return 1;
}

/* The flow that got by it what it waited for, or -1. */
static int64_t take(const struct segment* came) {
  const uint32_t address = ntohl(came->destination) - first_source, port = came->destination_port - first_port;
  const uint32_t number = address * ports_each + port;
  if (came->source != destination || came->source_port != destination_port) return -1;
  if (port >= ports_each || number >= flows_max) return -1;
  struct flow* const flow = &flows[number];
  if (flow->stage == unused || flow->stage == over) return -1;
  if (came->flags & TH_RST) {
    const int waited = flow->stage != idle;
    end(flow, &was_reset);
    return waited ? (int64_t)number : -1;
  }
  if (came->flags & TH_SYN) {
    if (flow->stage != opening) return -1;
    flow->received = came->sequence + 1;
    begin(number, greeting);
    return -1;
  }
  return take_answer(flow, number, came) ? (int64_t)number : -1;
}

static int by_size(const void* left, const void* right) {
  const uint32_t a = *(const uint32_t*)left, b = *(const uint32_t*)right;
  return a < b ? -1 : a > b;
}

/* What a command did since `start`, and to how many. */
static void tell(const char* what, uint64_t count, uint64_t start) {
  const double elapsed_s = (double)(now_ns() - start) / 1e9;
  qsort(times_ns, times, sizeof(*times_ns), by_size);
  printf("{\"%s\": %lu, \"again\": %lu, \"wrong\": %lu, \"denied\": %lu, \"reset\": %lu, \"per_s\": %.0f", what, count,
         again, wrong, denied, was_reset, (double)count / elapsed_s);
  printf(", \"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f}\n", times ? times_ns[times / 2] / 1e3 : 0,
         times ? times_ns[times * 99 / 100] / 1e3 : 0, times ? times_ns[times - 1] / 1e3 : 0);
  again = wrong = denied = was_reset = times = 0;
}

/* rate: a second; 0: as fast as they are answered. */
static void open_flows(uint32_t from, uint32_t to, double rate) {
  const uint64_t start = now_ns();
  uint32_t begun = from, first_waiting = from, done = from;
  while (done < to) {
    const double due = rate > 0 ? (double)(now_ns() - start) / 1e9 * rate : done - from + opening_at_once;
    for (; begun < to && begun - from < due; ++begun) {
      flows[begun].next = begun * 7919 + 1;
      begin(begun, opening);
    }
    struct segment came;
    while (receive_segment(&wire, &came)) done += take(&came) >= 0;
    while (first_waiting < begun && flows[first_waiting].stage >= idle) ++first_waiting;
    const uint64_t now = now_ns();
    for (uint32_t i = first_waiting; i < begun; ++i) say_again(i, now);
    wait_for_segment(&wire, 1);
  }
  tell("open", to - from, start);
}

static uint32_t say_something(uint32_t among, uint64_t message) {
  uint32_t number = 0;
  do {
    number = (uint32_t)((next_random() >> 16) % among);
  } while (flows[number].stage != idle);
  flows[number].message = message;
  begin(number, talking);
  return number;
}

/* So many messages of flows chosen by chance among the first ones. */
static void talk(uint64_t count, uint32_t among) {
  uint32_t waiting[messages_at_once];
  const uint64_t start = now_ns();
  uint64_t begun = 0, done = 0;
  for (; begun < messages_at_once && begun < count; ++begun) waiting[begun] = say_something(among, begun);
  const unsigned slots = (unsigned)begun;
  while (done < count) {
    struct segment came;
    int some = 0;
    while (done < count && receive_segment(&wire, &came)) {
      const int64_t number = take(&came);
      if (number < 0) continue;
      some = 1;
      ++done;
      for (unsigned i = 0; begun < count && i < slots; ++i) {
        if (waiting[i] != number) continue;
        waiting[i] = say_something(among, begun++);
        break;
      }
    }
    if (some) continue;
    const uint64_t now = now_ns();
    for (unsigned i = 0; i < slots; ++i) say_again(waiting[i], now);
    wait_for_segment(&wire, 1);
  }
  tell("messages", count, start);
}

static void reset_all(uint32_t open) {
  for (uint32_t i = 0; i < open; ++i) {
    if (flows[i].stage != over) say(i, flows[i].next, TH_RST | TH_ACK, NULL, 0);
    flows[i].stage = unused;
    if (i % resets_per_ms == 0) usleep(1000);
  }
  printf("{\"reset\": %u}\n", open);
}

static void prepare(const struct call_options* options) {
  FILE* const file = fopen(options->hello_path, "rb");
  if (file == NULL) die(options->hello_path);
  hello_bytes = fread(hello, 1, sizeof(hello), file);
  fclose(file);
  uint8_t* const m = next_hop;
  if (hello_bytes < message_bytes || hello_bytes == sizeof(hello)) die("this hello");
  if (sscanf(options->next_hop, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", m, m + 1, m + 2, m + 3, m + 4, m + 5) != 6) die("MAC");
  wire = open_link(options->interface);
  first_source = ntohl(inet_addr(options->first_address));
  destination = inet_addr(options->address);
  destination_port = (uint16_t)atoi(options->port);
}

int call(const struct call_options* options) {
  char line[64];
  uint32_t open = 0, among = 0;
  uint64_t count = 0;
  double rate = 0;
  prepare(options);
  setvbuf(stdout, NULL, _IOLBF, 0);
  while (fgets(line, sizeof(line), stdin) != NULL) {
    if (sscanf(line, "open %u %lf", &among, &rate) == 2 && among > open && among <= flows_max) {
      open_flows(open, among, rate);
      open = among;
    } else if (sscanf(line, "talk %lu %u", &count, &among) == 2 && among > messages_at_once && among <= open) {
      talk(count, among);
    } else if (strcmp(line, "reset\n") == 0) {
      reset_all(open);
      open = 0;
    } else {
      fprintf(stderr, "not understood: %s", line);
      return 2;
    }
  }
  return 0;
}
