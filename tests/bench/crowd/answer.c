/* Every answer is made of the segment that it answers. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "crowd.h"

static void answer(const struct link* link, const struct segment* came) {
  struct segment out = {.source = came->destination,
                        .destination = came->source,
                        .source_port = came->destination_port,
                        .destination_port = came->source_port,
                        .sequence = came->acknowledgement,
                        .acknowledgement = came->sequence + (uint32_t)came->size,
                        .flags = TH_ACK};
  if (came->flags & TH_SYN) {
    out.sequence = came->sequence ^ 0x5a5a5a5a;
    ++out.acknowledgement;
    out.flags |= TH_SYN;
  } else {
    if (came->flags & TH_RST || came->size < message_bytes) return;
    out.flags |= TH_PUSH;
    out.payload = came->payload;
    out.size = message_bytes;
  }
  send_segment(link, came->from, &out);
}

void answer_all(const char* interface, const char* address, const char* port) {
  const struct link link = open_link(interface);
  const uint32_t here = inet_addr(address);
  const uint16_t mine = (uint16_t)atoi(port);
  for (;;) {
    struct segment came;
    while (receive_segment(&link, &came)) {
      if (came.destination == here && came.destination_port == mine) answer(&link, &came);
    }
    wait_for_segment(&link, 1000);
  }
}
