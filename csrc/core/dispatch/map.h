/* One map in flight, for its calling thread: submit chunks, wait on a descriptor, take done jobs.
 * Heap-allocated and reference-counted by its batch. */
#ifndef LM_DISPATCH_MAP_H
#define LM_DISPATCH_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "sched/deliver.h"
#include "sched/queue.h"
#include "transport/target.h"

struct lm_dispatch;

struct lm_map {
  struct lm_queue queue;
  struct lm_dispatch *dispatch; /* strong */
};

int lm_map_open(struct lm_dispatch *dispatch, struct lm_target *target,
                const struct lm_batch_opts *opts, struct lm_map **out, struct lm_error *err);

/* Queue one chunk. The frame's bytes are moved. durable_name: of its durable execution, copied, checked by the
 * caller; NULL: none. LM_E_FULL: take a completion first, the frame is unchanged. LM_E_CLOSED: after
 * lm_map_close or shutdown. If the map is cancelled or past its deadline, the chunk completes at once. */
int lm_map_submit(struct lm_map *map, struct lm_buf *frame, uint64_t first_item, uint32_t n_items,
                  const char *durable_name, struct lm_error *err);

/* Readable while there are completions; perhaps also without one, until lm_map_take returns NULL. */
int lm_map_fd(const struct lm_map *map);
/* Never blocks. The caller owns the job and frees it with lm_deliver_release. NULL: none. */
struct lm_job *lm_map_take(struct lm_map *map);
void lm_map_cancel(struct lm_map *map); /* idempotent, from any thread; every job completes */
/* Wait until no native thread holds a buffer of the map. False: timed out. */
bool lm_map_quiesce(struct lm_map *map, int64_t timeout_ms);
void lm_map_close(struct lm_map *map); /* cancel, and free completed jobs; never waits */
void lm_map_unref(struct lm_map *map); /* the opener's reference; never waits; NULL is allowed */

#endif
