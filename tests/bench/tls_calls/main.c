// Calls of TLS 1.3 that h2load does not make:
//
//   tls_calls handshakes PORT NAME SECONDS CALLERS   each caller begins and ends connections, one after the other, none
//   of
//                                                    them resumed; tells {"per_s", "failed"}
//   tls_calls idle PORT NAME COUNT                   opens as many connections, asks each for /1k once, tells {"held"}
//   and
//                                                    holds them until its standard input ends
//
// PORT is 127.0.0.1's. Certificates are not verified: that would be the caller's work.
#include <arpa/inet.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CALLERS 64

static SSL_CTX* context;
static const char* server_name;
static struct sockaddr_in address = {.sin_family = AF_INET};
static atomic_long finished, failed;
static atomic_bool over;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// NULL: it failed.
static SSL* open_connection(void) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  SSL_set_tlsext_host_name(ssl, server_name);
  if (connect(fd, (struct sockaddr*)&address, sizeof address) == 0 && SSL_connect(ssl) == 1) return ssl;
  SSL_free(ssl);
  close(fd);
  return NULL;
}

// When the server has read to the end it has done its part of the handshake.
static void close_connection(SSL* ssl) {
  char byte[4096];
  const int fd = SSL_get_fd(ssl);
  SSL_shutdown(ssl);
  shutdown(fd, SHUT_WR);
  while (read(fd, byte, sizeof byte) > 0) continue;
  SSL_free(ssl);
  close(fd);
}

static void* shake_hands(void* unused) {
  while (!over) {
    SSL* ssl = open_connection();
    atomic_fetch_add(ssl ? &finished : &failed, 1);
    if (ssl) close_connection(ssl);
  }
  return unused;
}

static int tell_handshakes(double seconds, int callers) {
  pthread_t threads[MAX_CALLERS];
  for (int i = 0; i < callers; ++i) pthread_create(&threads[i], NULL, shake_hands, NULL);
  const double started = now_s();
  while (now_s() - started < seconds) usleep(1000);
  const long count = finished;
  const double took = now_s() - started;
  over = true;
  for (int i = 0; i < callers; ++i) pthread_join(threads[i], NULL);
  printf("{\"per_s\": %.1f, \"failed\": %ld}\n", (double)count / took, (long)failed);
  return 0;
}

static int ask(SSL* ssl) {
  char text[4096];
  const int size = snprintf(text, sizeof text, "GET /1k HTTP/1.1\r\nHost: %s\r\n\r\n", server_name);
  if (SSL_write(ssl, text, size) != size) return 0;
  for (int got = 0; got < 1024;) {
    const int more = SSL_read(ssl, text, sizeof text);
    if (more <= 0) return 0;
    got += more;
  }
  return 1;
}

static int hold(int count) {
  const struct rlimit files = {(rlim_t)count + 64, (rlim_t)count + 64};
  setrlimit(RLIMIT_NOFILE, &files);
  int held = 0;
  for (int i = 0; i < count; ++i) {
    SSL* ssl = open_connection();
    held += ssl && ask(ssl);
  }
  printf("{\"held\": %d, \"failed\": %d}\n", held, count - held);
  fflush(stdout);
  while (getchar() != EOF) continue;
  printf("{\"failed\": %d}\n", count - held);
  return 0;
}

int main(int argc, char** argv) {
  if (argc < 5) return 2;
  context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  address.sin_port = htons((unsigned short)atoi(argv[2]));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  server_name = argv[3];
  if (strcmp(argv[1], "idle") == 0) return hold(atoi(argv[4]));
  const int callers = argc > 5 ? atoi(argv[5]) : 0;
  return callers < 1 || callers > MAX_CALLERS ? 2 : tell_handshakes(atof(argv[4]), callers);
}
