/* For tests of the dispatcher over real sockets: a server in its own process, a target for it, and maps. */
#ifndef LM_TESTS_WORLD_H
#define LM_TESTS_WORLD_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "maps.h"
#include "os/seams.h"

/* The maximum number of I/O threads, on any machine. */
static unsigned
four(void)
{
  return LM_MAX_IO_THREADS;
}

static void
use_four_io_threads(void)
{
  lm_seams.cores = four;
}

/* --- a server that replies to every POST, with a thread per connection. It has its own process: a fork while
 * another thread is inside pthread_create leaves the sanitizer's lock held in the child --- */

struct behaviour { /* in memory that both processes share */
  atomic_uint answered;
  atomic_uint close_every; /* close the connection after every n-th reply; 0: never */
  atomic_uint delay_us;
};
static struct behaviour *server;

static int
read_request(int fd)
{
  char text[65536];
  size_t have = 0;
  for (;;) {
    ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
    if (got <= 0)
      return -1;
    have += (size_t)got;
    text[have] = '\0';
    char *end = strstr(text, "\r\n\r\n");
    char *length = strstr(text, "Content-Length: ");
    if (end != NULL && length != NULL &&
        have >= (size_t)(end + 4 - text) + (size_t)atoi(length + 16))
      return 0;
  }
}

static void *
serve_connection(void *argument)
{
  static const char reply[] = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{\"ok\":1}";
  int fd = (int)(intptr_t)argument;
  while (read_request(fd) == 0) {
    unsigned n = atomic_fetch_add(&server->answered, 1) + 1;
    unsigned every = atomic_load(&server->close_every), wait = atomic_load(&server->delay_us);
    if (wait != 0)
      usleep(wait);
    if (send(fd, reply, sizeof reply - 1, MSG_NOSIGNAL) < 0)
      break;
    if (every != 0 && n % every == 0)
      break;
  }
  close(fd);
  return NULL;
}

static void *
serve(void *argument)
{
  int listener = (int)(intptr_t)argument;
  for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, serve_connection, (void *)(intptr_t)fd) == 0);
    pthread_detach(thread);
  }
  return NULL;
}

static uint16_t
start_server(pid_t *process)
{
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(bind(listener, (struct sockaddr *)&address, size) == 0 && listen(listener, 512) == 0);
  CHECK(getsockname(listener, (struct sockaddr *)&address, &size) == 0);
  server = mmap(NULL, sizeof *server, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(server != MAP_FAILED);
  *process = fork();
  CHECK(*process >= 0);
  if (*process == 0) {
    alarm(300); /* if the test dies first */
    serve((void *)(intptr_t)listener);
    _exit(0);
  }
  close(listener);
  return ntohs(address.sin_port);
}

#endif
