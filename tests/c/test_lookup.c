/* A name is looked up for longer than anybody waits for it: the dispatcher is gone when the answer comes,
 * and nobody is woken. */
#include <netdb.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "dispatch/dispatch.h"
#include "dispatch/map.h"
#include "os/seams.h"
#include "sched/deliver.h"
#include "transport/target.h"

static atomic_bool asked, answer, answered;

static int
slow(const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **out)
{
  (void)host;
  (void)port;
  (void)hints;
  *out = NULL;
  atomic_store(&asked, true);
  while (!atomic_load(&answer))
    usleep(1000);
  atomic_store(&answered, true);
  return EAI_AGAIN;
}

static struct lm_target *
target_of(struct lm_dispatch *dispatch)
{
  static const char *const no_headers[] = {NULL};
  const struct lm_endpoint_spec where = {.tls = false, .host = "slow.invalid", .port = 80};
  const struct lm_target_spec how = {
      .path = "/f",
      .query = "",
      .region = "us-east-1",
      .access_key = "AKID",
      .secret_key = "secret",
      .expires_s = INT64_MAX,
      .headers = no_headers,
      .max_attempts = 3,
      .max_concurrency = 32,
      .connect_timeout_ms = 5000,
      .connect_patience_ms = 500,
  };
  struct lm_error err;
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(dispatch, &where, &err);
  CHECK(endpoint != NULL);
  struct lm_target *target =
      lm_target_new(endpoint, lm_sched_function(&dispatch->sched, "f", 32, 0, &err), &how, &err);
  CHECK(target != NULL);
  lm_endpoint_unref(endpoint);
  return target;
}

int
main(void)
{
  struct lm_batch_opts opts = {.invocation_timeout_ms = -1,
                               .timeout_ms = -1,
                               .max_result_bytes = 1 << 20,
                               .max_reply_bytes = 1 << 20};
  struct lm_dispatch *dispatch;
  struct lm_error err;
  struct lm_map *map;
  struct lm_buf frame;
  struct lm_job *job;
  lm_seams.resolve = slow;
  CHECK(lm_dispatch_acquire(1 << 20, &dispatch, &err) == 0);
  struct lm_target *target = target_of(dispatch);
  memset(opts.map_id, 'a', LM_MAP_ID_LEN);
  CHECK(lm_map_open(dispatch, target, &opts, &map, &err) == 0);
  lm_buf_init(&frame, SIZE_MAX);
  lm_buf_append(&frame, "{}", 2);
  CHECK(lm_map_submit(map, &frame, 0, 1, NULL, &err) == 0);
  while (!atomic_load(&asked))
    usleep(1000);
  lm_dispatch_release(dispatch, 5000);
  while ((job = lm_map_take(map)) != NULL)
    lm_deliver_release(job);
  lm_map_close(map);
  lm_map_unref(map);
  lm_target_unref(target);
  atomic_store(&answer, true);
  while (!atomic_load(&answered))
    usleep(1000);
  usleep(50000); /* for the thread that looks up to end */
  return 0;
}
