/* Very many connections, each a few numbers and no file.
 *
 *   crowd answer INTERFACE ADDRESS PORT
 *     answers everything until SIGTERM
 *   crowd call INTERFACE NEXT_HOP_MAC FIRST_SOURCE ADDRESS PORT HELLO
 *     does what its input says, a line each, and answers each with a line of JSON:
 *       open COUNT RATE       until there are so many connections, which each said the ClientHello in HELLO; so many a
 *                             second, whatever becomes of the others, or 0: as fast as they are answered
 *       talk MESSAGES AMONG   messages of connections chosen by chance among the first ones, 64 on their way at once
 *       reset                 ends all
 *     What is not answered in time is sent again, and counted. The sources are FIRST_SOURCE and the addresses after it,
 *     50,000 ports each. No kernel may have any of the addresses.
 */
#include <stdio.h>
#include <string.h>

#include "crowd.h"

int main(int argc, char** argv) {
  if (argc == 5 && strcmp(argv[1], "answer") == 0) answer_all(argv[2], argv[3], argv[4]);
  if (argc == 8 && strcmp(argv[1], "call") == 0) {
    const struct call_options options = {argv[2], argv[3], argv[4], argv[5], argv[6], argv[7]};
    return call(&options);
  }
  fprintf(stderr,
          "usage: crowd answer INTERFACE ADDRESS PORT\n"
          "       crowd call INTERFACE NEXT_HOP_MAC FIRST_SOURCE ADDRESS PORT HELLO\n");
  return 2;
}
