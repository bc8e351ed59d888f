/* One thread's event loop: descriptors, their handlers, and a wake-up from other threads.
 *
 * epoll on Linux, poll elsewhere. All functions but lm_loop_wake are called from the loop's thread only.
 * An event of a descriptor that was removed, or removed and reused, since is not delivered.
 */
#ifndef LM_OS_LOOP_H
#define LM_OS_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum {
  LM_LOOP_READ = 1,
  LM_LOOP_WRITE = 2,
  LM_LOOP_EDGE = 4,  /* requested: report changes only (edge-triggered) */
  LM_LOOP_HANGUP = 8 /* reported: the peer has closed its side; what it sent can still be read */
};

enum { LM_LOOP_DELIVER_NS = 2000000 /* one lm_loop_deliver lasts about so long at most */ };

struct lm_loop;

/* Called with a set of LM_LOOP_READ, LM_LOOP_WRITE and LM_LOOP_HANGUP; an error on the descriptor is
 * reported as all three. */
typedef void (*lm_loop_handler)(void *owner, int fd, int events);

struct lm_loop *lm_loop_new(struct lm_error *err);
void lm_loop_destroy(
    struct lm_loop *loop); /* closes its own descriptors, not the registered ones */

/* Register fd, or change what it is registered for. `owner` is borrowed until lm_loop_del. */
int lm_loop_set(struct lm_loop *loop, int fd, int events, lm_loop_handler handler, void *owner,
                struct lm_error *err);
void lm_loop_del(struct lm_loop *loop, int fd); /* no-op if it is not registered */

/* Say whether there is something to write to an edge-triggered fd. No-op for epoll, which reports
 * changes; poll would report a writable descriptor again and again. */
void lm_loop_want_write(struct lm_loop *loop, int fd, bool wanted);

/* The owner that fd is registered with, if its handler is `handler`; else NULL. */
void *lm_loop_owner(const struct lm_loop *loop, int fd, lm_loop_handler handler);

/* Wait for events for at most timeout_ns (< 0: no limit). Returns at once if events are left to
 * deliver. */
void lm_loop_wait(struct lm_loop *loop, int64_t timeout_ns);

/* Call the handlers of the events. Events left after LM_LOOP_DELIVER_NS wait for the next call. */
void lm_loop_deliver(struct lm_loop *loop);

/* From any thread: make the current or the next lm_loop_wait return at once. Async-signal-safe. */
void lm_loop_wake(struct lm_loop *loop);

/* In the child of a fork: close the epoll descriptor, the wake-up and every registered descriptor, in
 * this order. The memory is not touched. */
void lm_loop_abandon(struct lm_loop *loop);

#endif
