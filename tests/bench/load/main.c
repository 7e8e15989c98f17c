/* The ends of the benchmark's connections, cheap enough to measure what lies between them on the same machine.
 *
 *   load origin ADDRESS PORT [-t THREADS]
 *     serves until SIGTERM, then prints what it saw as JSON
 *   load short|up|down|echo|idle ADDRESS PORT HELLO [-t THREADS] [-c CONNECTIONS] [-w WARM_UP_S] [-s SECONDS]
 *        [-p PATIENCE_S] [-r RATE] [-n CALLS]
 *     calls with the ClientHello in the file HELLO and prints how that went as JSON. idle prints a line once all are
 *     open and ends them when its standard input ends.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static int usage(void) {
  fprintf(stderr,
          "usage: load origin ADDRESS PORT [-t THREADS]\n"
          "       load short|up|down|echo|idle ADDRESS PORT HELLO [-t THREADS] [-c CONNECTIONS] [-w WARM_UP_S]\n"
          "            [-s SECONDS] [-p PATIENCE_S] [-r RATE] [-n CALLS]\n");
  return 2;
}

int main(int argc, char** argv) {
  struct call_options options = {.threads = 1, .connections = 1, .seconds = 1, .patience_s = 10};
  int option;
  while ((option = getopt(argc, argv, "t:c:w:s:p:r:n:")) != -1) {
    switch (option) {
      case 't':
        options.threads = (unsigned)atoi(optarg);
        break;
      case 'c':
        options.connections = (unsigned)atoi(optarg);
        break;
      case 'w':
        options.warm_up_s = atof(optarg);
        break;
      case 's':
        options.seconds = atof(optarg);
        break;
      case 'p':
        options.patience_s = atof(optarg);
        break;
      case 'n':
        options.calls = strtoul(optarg, NULL, 10);
        break;
      case 'r':
        options.rate = atof(optarg);
        break;
      default:
        return usage();
    }
  }
  char** const words = argv + optind;
  const int count = argc - optind;
  if (options.threads < 1 || options.connections < 1) return usage();
  if (count == 4 && options.threads > options.connections) options.threads = options.connections;
  if (count == 3 && strcmp(words[0], "origin") == 0) return serve_origin(words[1], words[2], options.threads);
  if (count != 4 || strchr("sudei", words[0][0]) == NULL) return usage();
  options.mode = words[0];
  options.address = words[1];
  options.port = words[2];
  options.hello_path = words[3];
  return call_origin(&options);
}
