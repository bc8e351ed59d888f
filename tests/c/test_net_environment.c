/* Native threads never read the environment: the host program may change it at any time, and no lock of ours
 * could prevent a race of getenv with setenv. This replaces getenv for libcurl, OpenSSL and the core, while
 * maps connect, also over TLS, and another thread changes the environment. (The C library itself reads it in
 * getaddrinfo, in every program.) */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "world.h"

extern char **environ;
static atomic_bool armed, stop;
static atomic_uint calls;
static _Thread_local bool allowed; /* the test's own threads */

static char *
look_up(const char *name)
{
  size_t len = strlen(name);
  if (atomic_load(&armed)) {
    if (!allowed) {
      fprintf(stderr, "a native thread asks for %s\n", name);
      atomic_fetch_add(&calls, 1);
    }
    return NULL;
  }
  for (char **at = environ; at != NULL && *at != NULL; at++)
    if (strncmp(*at, name, len) == 0 && (*at)[len] == '=')
      return *at + len + 1;
  return NULL;
}

char *
getenv(const char *name)
{
  return look_up(name);
}

char *
secure_getenv(const char *name)
{
  return look_up(name);
}

static void *
change(void *unused)
{
  char value[4000];
  allowed = true;
  memset(value, 'x', sizeof value - 1);
  for (unsigned n = 0; !atomic_load(&stop); n++) {
    value[sizeof value - 1 - n % 3000] = '\0';
    setenv("https_proxy", value, 1);
    setenv("SSLKEYLOGFILE", value, 1);
    unsetenv("https_proxy");
    unsetenv("SSLKEYLOGFILE");
    value[sizeof value - 1 - n % 3000] = 'x';
    usleep(100);
  }
  return unused;
}

static unsigned
threads(void)
{
  char line[256];
  unsigned n = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && n == 0 && fgets(line, sizeof line, file) != NULL)
    (void)sscanf(line, "Threads: %u", &n);
  if (file != NULL)
    fclose(file);
  return n;
}

static void
run_maps(uint16_t port, bool tls, unsigned chunks)
{
  struct lm_error err;
  struct lm_dispatch *dispatch = NULL;
  CHECK(lm_dispatch_acquire(64 << 20, &dispatch, &err) == 0);
  struct lm_target *target = open_target_at(dispatch, "127.0.0.1", port, tls);
  CHECK(target != NULL);
  struct lm_map *map = open_map(dispatch, target);
  CHECK(map != NULL);
  for (unsigned i = 0; i < chunks; i++) {
    struct lm_buf frame;
    lm_buf_init(&frame, 1 << 20);
    lm_buf_str(&frame, "{\"n\":1}");
    CHECK(lm_map_submit(map, &frame, i, 1, NULL, &err) == 0);
  }
  for (unsigned taken = 0; taken < chunks;) {
    struct pollfd ask = {.fd = lm_map_fd(map), .events = POLLIN};
    CHECK(poll(&ask, 1, 30000) == 1);
    for (struct lm_job *job; (job = lm_map_take(map)) != NULL; taken++) {
      CHECK((job->outcome.failure == LM_FAIL_NONE) == !tls);
      lm_deliver_release(job);
    }
  }
  lm_map_close(map);
  lm_map_unref(map);
  lm_target_unref(target);
  lm_dispatch_release(dispatch, 10000);
}

int
main(void)
{
  pid_t process;
  pthread_t changer;
  uint16_t port = start_server(&process);
  use_four_io_threads();
  allowed = true;
  run_maps(port, false, 1); /* libcurl and OpenSSL are initialized by the calling thread */
  run_maps(port, true, 1);
  atomic_store(&server->close_every, 1); /* each request has a connection of its own */
  CHECK(pthread_create(&changer, NULL, change, NULL) == 0);
  atomic_store(&armed, true);
  for (int i = 0; i < 5; i++) {
    run_maps(port, false, 40);
    run_maps(port, true, 4);
  }
  atomic_store(&stop, true);
  pthread_join(changer, NULL);
  CHECK(atomic_load(&calls) == 0);
  kill(process, SIGKILL);
  waitpid(process, NULL, 0);
  /* OpenSSL frees what it has of a thread at its end, which is a moment after it has left its gate. */
  for (int i = 0; i < 10000 && threads() > 1; i++)
    usleep(1000);
  return 0;
}
