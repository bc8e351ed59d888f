/* The dispatcher over real sockets, without Python: maps that end, maps that are cancelled, shut
 * downs and forks in the middle. Meant to run under ASan and, above all, TSan. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "net/dispatch.h"
#include "net/map.h"

/* --- a server that answers every POST; each connection is a thread. It is a process of its own: a
 * fork while another thread is inside pthread_create leaves the sanitizer's own lock held in the
 * child --- */

struct behaviour { /* in memory that both processes share */
  atomic_uint answered;
  atomic_uint close_every; /* close the connection after every n-th answer, 0: never */
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
    alarm(300); /* should the test die first */
    serve((void *)(intptr_t)listener);
    _exit(0);
  }
  close(listener);
  return ntohs(address.sin_port);
}

/* --- maps --- */

static struct lm_target *
open_target(struct lm_dispatch *dispatch, uint16_t port)
{
  static const char *const no_headers[] = {NULL};
  struct lm_error err;
  struct lm_endpoint_spec where = {.host = "127.0.0.1", .port = port};
  struct lm_target_spec how = {.path = "/2015-03-31/functions/f/invocations",
                               .query = "",
                               .region = "us-east-1",
                               .access_key = "AKID",
                               .secret_key = "secret",
                               .expires_s = INT64_MAX,
                               .headers = no_headers,
                               .max_attempts = 3,
                               .connect_timeout_ms = 5000};
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(dispatch, &where, &err);
  CHECK(endpoint != NULL);
  struct lm_function *function = lm_sched_function(&dispatch->sched, "f", 32, 0, &err);
  CHECK(function != NULL);
  struct lm_target *target = lm_target_new(endpoint, function, &how, &err);
  CHECK(target != NULL);
  lm_endpoint_unref(endpoint);
  return target;
}

static struct lm_map *
open_map(struct lm_dispatch *dispatch, struct lm_target *target)
{
  struct lm_error err;
  struct lm_map *map = NULL;
  struct lm_map_opts opts = {.invocation_timeout_ms = 10000,
                             .timeout_ms = -1,
                             .idempotent = true,
                             .max_result_bytes = 1 << 20,
                             .max_reply_bytes = 1 << 20};
  memset(opts.map_id, 'a', LM_MAP_ID_LEN);
  CHECK(lm_map_open(dispatch, target, &opts, &map, &err) == 0);
  return map;
}

static void
submit(struct lm_map *map, uint64_t at)
{
  struct lm_buf frame;
  struct lm_error err;
  lm_buf_init(&frame, 1 << 20);
  lm_buf_str(&frame, "{\"n\":1}");
  CHECK(lm_map_submit(map, &frame, at, 1, &err) == 0);
}

/* Take n completions; returns how many of them succeeded. */
static unsigned
take_all(struct lm_map *map, unsigned n)
{
  unsigned good = 0;
  while (n > 0) {
    struct pollfd ask = {.fd = lm_map_fd(map), .events = POLLIN};
    CHECK(poll(&ask, 1, 30000) == 1);
    for (struct lm_job *job; (job = lm_map_take(map)) != NULL; n--) {
      good += job->outcome.failure == LM_FAIL_NONE && job->reply.len == 8;
      lm_job_release(job);
    }
  }
  return good;
}

struct caller {
  struct lm_dispatch *dispatch;
  struct lm_target *target;
  unsigned chunks;
  bool cancel;
};

static void *
run_map(void *argument)
{
  const struct caller *caller = argument;
  struct lm_map *map = open_map(caller->dispatch, caller->target);
  for (unsigned i = 0; i < caller->chunks; i++)
    submit(map, i);
  if (caller->cancel) {
    usleep((useconds_t)(rand() % 3000));
    lm_map_cancel(map);
    CHECK(lm_map_quiesce(map, 10000));
    take_all(map, caller->chunks);
  } else {
    unsigned good = take_all(map, caller->chunks);
    /* A server that closes after an answer may close on the next request: MAYBE, three times over
     * in a few cases of a thousand. */
    CHECK(atomic_load(&server->close_every) == 0 ? good == caller->chunks
                                                 : good > caller->chunks / 2);
  }
  lm_map_close(map);
  lm_map_unref(map);
  return NULL;
}

static void
storm(uint16_t port, unsigned chunks, bool with_cancels)
{
  struct lm_error err;
  struct lm_dispatch *dispatch = NULL;
  CHECK(lm_dispatch_acquire(64 << 20, &dispatch, &err) == 0);
  struct lm_target *target = open_target(dispatch, port);
  struct caller callers[4];
  pthread_t threads[4];
  for (unsigned i = 0; i < 4; i++) {
    callers[i] = (struct caller){dispatch, target, chunks, with_cancels && i % 2 == 1};
    CHECK(pthread_create(&threads[i], NULL, run_map, &callers[i]) == 0);
  }
  for (unsigned i = 0; i < 4; i++)
    pthread_join(threads[i], NULL);
  CHECK(dispatch->sched.used_bytes == 0);
  lm_target_unref(target);
  lm_dispatch_release(dispatch, 10000);
}

static void
shut_down_in_the_middle(uint16_t port)
{
  struct lm_error err;
  struct lm_dispatch *dispatch = NULL;
  CHECK(lm_dispatch_acquire(64 << 20, &dispatch, &err) == 0);
  struct lm_target *target = open_target(dispatch, port);
  struct lm_map *map = open_map(dispatch, target);
  for (unsigned i = 0; i < 200; i++)
    submit(map, i);
  usleep((useconds_t)(rand() % 3000));
  lm_dispatch_ref(dispatch);
  lm_dispatch_release(dispatch, 10000);
  take_all(map, 200);
  lm_map_close(map);
  lm_map_unref(map);
  lm_target_unref(target);
  lm_dispatch_unref(dispatch);
}

#if !defined(__SANITIZE_THREAD__) /* TSan cannot follow a threaded process into a fork's child */
static void
fork_in_the_middle(uint16_t port)
{
  struct lm_error err;
  struct lm_dispatch *dispatch = NULL;
  CHECK(lm_dispatch_acquire(64 << 20, &dispatch, &err) == 0);
  struct lm_target *target = open_target(dispatch, port);
  struct lm_map *map = open_map(dispatch, target);
  for (unsigned i = 0; i < 200; i++)
    submit(map, i);
  pid_t child = fork();
  CHECK(child >= 0);
  if (child == 0) {
    struct lm_dispatch *own = NULL;
    alarm(60);
    CHECK(lm_dispatch_acquire(64 << 20, &own, &err) == 0 && own != dispatch);
    CHECK(map->target == target); /* the parent's memory is left alone */
    struct lm_target *own_target = open_target(own, port);
    struct caller caller = {own, own_target, 50, false};
    run_map(&caller);
    lm_target_unref(own_target);
    lm_dispatch_release(own, 10000);
    _exit(0);
  }
  CHECK(take_all(map, 200) == 200);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  lm_map_close(map);
  lm_map_unref(map);
  lm_target_unref(target);
  lm_dispatch_release(dispatch, 10000);
}
#endif

int
main(void)
{
  pid_t process;
  uint16_t port = start_server(&process);
  storm(port, 500, false);
  atomic_store(&server->close_every, 7);
  storm(port, 200, false);
  atomic_store(&server->delay_us, 500);
  for (int i = 0; i < 5; i++)
    storm(port, 200, true);
  for (int i = 0; i < 10; i++)
    shut_down_in_the_middle(port);
#if !defined(__SANITIZE_THREAD__)
  atomic_store(&server->close_every, 0);
  for (int i = 0; i < 5; i++)
    fork_in_the_middle(port);
#endif
  kill(process, SIGKILL);
  waitpid(process, NULL, 0);
  return 0;
}
