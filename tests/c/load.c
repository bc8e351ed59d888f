/* The dispatcher alone, used as the binding uses it: n signed invocations of 2 KB, WIDTH of them in flight.
 * For valgrind and strace.
 *
 *   load URL_SCHEME HOST PORT FUNCTION CA_FILE N WIDTH
 *
 * CA_FILE is read for https only. One I/O thread if the process may use one core. Prints the
 * microseconds of CPU per invocation. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "dispatch/dispatch.h"
#include "dispatch/map.h"

enum { BODY_BYTES = 2048, WAIT_MS = 60000 };

static void
fail(const char *what, const char *text)
{
  fprintf(stderr, "%s: %s\n", what, text);
  exit(1);
}

static struct lm_map *
open_map(struct lm_dispatch *dispatch, char **args, unsigned width)
{
  static const char *const no_headers[] = {NULL};
  char path[256];
  struct lm_error err;
  struct lm_map *map;
  struct lm_endpoint_spec where = {.tls = strcmp(args[0], "https") == 0,
                                   .host = args[1],
                                   .port = (uint16_t)atoi(args[2]),
                                   .ca_file = args[4]};
  struct lm_target_spec how = {.path = path,
                               .query = "",
                               .region = "us-east-1",
                               .access_key = "AKID",
                               .secret_key = "secret",
                               .expires_s = INT64_MAX,
                               .headers = no_headers,
                               .max_attempts = 3,
                               .max_concurrency = width,
                               .connect_timeout_ms = 30000,
                               .connect_patience_ms = 30000};
  struct lm_batch_opts opts = {.invocation_timeout_ms = 120000,
                               .timeout_ms = -1,
                               .max_result_bytes = 1 << 20,
                               .max_reply_bytes = 1 << 20};
  if (!where.tls)
    where.ca_file = NULL;
  snprintf(path, sizeof path, "/2015-03-31/functions/%s/invocations", args[3]);
  memset(opts.map_id, '0', LM_MAP_ID_LEN);
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(dispatch, &where, &err);
  if (endpoint == NULL)
    fail("endpoint", err.text);
  struct lm_function *function = lm_sched_function(&dispatch->sched, "f", width, 0, &err);
  if (function == NULL)
    fail("function", err.text);
  struct lm_target *target = lm_target_new(endpoint, function, &how, &err);
  if (target == NULL || lm_map_open(dispatch, target, &opts, &map, &err) != 0)
    fail("map", err.text);
  lm_target_unref(target);
  lm_endpoint_unref(endpoint);
  return map;
}

static void
submit(struct lm_map *map, unsigned long number)
{
  static uint8_t text[BODY_BYTES];
  struct lm_buf frame;
  struct lm_error err;
  memset(text, 'y', sizeof text);
  text[0] = text[sizeof text - 1] = '"';
  lm_buf_init(&frame, SIZE_MAX);
  lm_buf_append(&frame, text, sizeof text);
  if (lm_map_submit(map, &frame, number, 1, NULL, &err) != 0)
    fail("submit", err.text);
}

static void
run(struct lm_map *map, unsigned long n, unsigned long width)
{
  for (unsigned long sent = 0, done = 0; done < n;) {
    for (; sent < n && sent - done < 2 * width; sent++)
      submit(map, sent);
    struct pollfd ask = {.fd = lm_map_fd(map), .events = POLLIN};
    if (poll(&ask, 1, WAIT_MS) <= 0)
      fail("poll", "no reply came");
    for (struct lm_job *job; (job = lm_map_take(map)) != NULL; done++) {
      if (job->outcome.failure != LM_FAIL_NONE)
        fail("invocation", job->error.text);
      lm_deliver_release(job);
    }
  }
}

static double
cpu_us(void)
{
  struct rusage used;
  getrusage(RUSAGE_SELF, &used);
  return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
         (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

int
main(int argc, char **argv)
{
  struct lm_dispatch *dispatch;
  struct lm_error err;
  if (argc != 8)
    fail("usage", "load SCHEME HOST PORT FUNCTION CA_FILE N WIDTH");
  unsigned long n = strtoul(argv[6], NULL, 10), width = strtoul(argv[7], NULL, 10);
  if (lm_dispatch_acquire(SIZE_MAX / 2, &dispatch, &err) != 0)
    fail("dispatch", err.text);
  struct lm_map *map = open_map(dispatch, argv + 1, (unsigned)width);
  run(map, width, width);
  double before = cpu_us();
  run(map, n, width);
  printf("%.1f\n", (cpu_us() - before) / (double)n);
  lm_map_close(map);
  lm_map_unref(map);
  lm_dispatch_release(dispatch, 5000);
  return 0;
}
