/* One thread's event loop: descriptors, their handlers, and a wake-up from other threads.
 *
 * epoll on Linux, poll elsewhere. Everything but lm_loop_wake belongs to the thread that runs the
 * loop. A descriptor that was removed, or removed and reused, never delivers an old event.
 */
#ifndef LM_OS_LOOP_H
#define LM_OS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
  LM_LOOP_READ = 1,
  LM_LOOP_WRITE = 2,
  LM_LOOP_EDGE = 4,  /* asked for: report changes only */
  LM_LOOP_HANGUP = 8 /* reported: the peer sends no more; what it has sent can still be read */
};

enum { LM_LOOP_DELIVER_NS = 2000000 };

struct lm_loop;

/* What happens on a descriptor: events is a set of LM_LOOP_READ, LM_LOOP_WRITE and LM_LOOP_HANGUP;
 * an error shows as all of them. */
typedef void (*lm_loop_handler)(void *owner, int fd, int events);

struct lm_loop *lm_loop_new(struct lm_error *err);
void lm_loop_destroy(struct lm_loop *loop); /* closes its own descriptors, not the registered */

/* Register fd or change what is waited for. `owner` is borrowed until lm_loop_del. */
int lm_loop_set(struct lm_loop *loop, int fd, int events, lm_loop_handler handler, void *owner,
                struct lm_error *err);
void lm_loop_del(struct lm_loop *loop, int fd); /* no-op when not registered */

/* Whether an edge-triggered fd has something to write. Nothing to do for epoll, which reports
 * changes; elsewhere it keeps an always writable descriptor from spinning. */
void lm_loop_want_write(struct lm_loop *loop, int fd, bool wanted);

/* The owner registered for fd under `handler`, or NULL. */
void *lm_loop_owner(const struct lm_loop *loop, int fd, lm_loop_handler handler);

/* Wait at most timeout_ns (< 0: until something happens); not at all while something is left to
 * deliver. */
void lm_loop_wait(struct lm_loop *loop, int64_t timeout_ns);

/* Call the handlers of what happened. What is left after LM_LOOP_DELIVER_NS is for the next call. */
void lm_loop_deliver(struct lm_loop *loop);

/* From any thread: make the present or the next turn return at once. Async-signal-safe. */
void lm_loop_wake(struct lm_loop *loop);

/* In the child of a fork: close the poll descriptor first, then the wake-up, then every registered
 * descriptor. The memory is left alone. */
void lm_loop_abandon(struct lm_loop *loop);

#endif
