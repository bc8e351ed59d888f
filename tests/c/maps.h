/* A target and a map, as the tests of the dispatcher open them. NULL: out of memory. */
#ifndef LM_TESTS_MAPS_H
#define LM_TESTS_MAPS_H

#include <string.h>

#include "dispatch/dispatch.h"
#include "dispatch/map.h"
#include "transport/target.h"

static inline struct lm_target *
open_target_at(struct lm_dispatch *dispatch, const char *host, uint16_t port, bool tls)
{
  static const char *const no_headers[] = {NULL};
  struct lm_error err;
  struct lm_endpoint_spec where = {.tls = tls, .host = host, .port = port};
  struct lm_target_spec how = {.path = "/2015-03-31/functions/f/invocations",
                               .query = "",
                               .region = "us-east-1",
                               .access_key = "AKID",
                               .secret_key = "secret",
                               .expires_s = INT64_MAX,
                               .headers = no_headers,
                               .max_attempts = 3,
                               .max_concurrency = 32,
                               .connect_timeout_ms = 5000,
                               .connect_patience_ms = 500};
  struct lm_endpoint *endpoint = lm_dispatch_endpoint(dispatch, &where, &err);
  struct lm_function *function = lm_sched_function(&dispatch->sched, "f", 32, 0, &err);
  struct lm_target *target = NULL;
  if (endpoint != NULL && function != NULL)
    target = lm_target_new(endpoint, function, &how, &err);
  lm_endpoint_unref(endpoint);
  return target;
}

static inline struct lm_target *
open_target(struct lm_dispatch *dispatch, uint16_t port)
{
  return open_target_at(dispatch, "127.0.0.1", port, false);
}

static inline struct lm_map *
open_map(struct lm_dispatch *dispatch, struct lm_target *target)
{
  struct lm_error err;
  struct lm_map *map = NULL;
  struct lm_batch_opts opts = {.invocation_timeout_ms = 10000,
                               .timeout_ms = -1,
                               .idempotent = true,
                               .keep_notes = true,
                               .trace = true, /* so that notes are added, kept and lost */
                               .max_result_bytes = 1 << 20,
                               .max_reply_bytes = 1 << 20};
  memset(opts.map_id, 'a', LM_MAP_ID_LEN);
  return lm_map_open(dispatch, target, &opts, &map, &err) == 0 ? map : NULL;
}

#endif
