/* Connections of one I/O thread to one endpoint: the idle ones, new ones when there is none, and the
 * jobs that wait until its address is known. */
#ifndef LM_TRANSPORT_POOL_H
#define LM_TRANSPORT_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "transport/conn.h"

struct lm_pool {
  struct lm_node link; /* in its I/O thread's list */
  struct lm_site site;
  struct lm_list waiting; /* jobs that wait for the endpoint's address */
};

struct lm_pool *lm_pool_new(struct lm_turn *turn, struct lm_endpoint *endpoint);
void lm_pool_destroy(struct lm_pool *pool); /* closes what is idle; no connection may be busy */

/* Put the job on the idle connection that was claimed for it, or a new one. False: job->outcome says
 * why not. */
bool lm_pool_send(struct lm_pool *pool, struct lm_job *job, bool claimed, int64_t now_ns);

/* The endpoint's address may be known by now. */
void lm_pool_retry_waiting(struct lm_pool *pool, int64_t now_ns);

/* Close connections that were idle or alive for too long; all of them when `all`. */
void lm_pool_trim(struct lm_pool *pool, int64_t now_ns, bool all);

/* What connecting has to do by now. */
void lm_pool_timers(struct lm_pool *pool, int64_t now_ns);

/* When the next of the above has something to do, LM_NEVER_NS: not before something happens. */
int64_t lm_pool_next(const struct lm_pool *pool, int64_t now_ns);

#endif
