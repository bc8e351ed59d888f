/* Each allocation of a map over real sockets, and all after it, fails in turn: a call returns an error or each
 * chunk completes, nothing hangs, and nothing leaks. */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "check.h"
#include "world.h"

enum { CHUNKS = 4 };

/* Chunks that were taken. */
static unsigned
submit_all(struct lm_map *map)
{
  unsigned taken = 0;
  for (unsigned i = 0; i < CHUNKS; i++) {
    struct lm_buf frame;
    struct lm_error err;
    lm_buf_init(&frame, 1 << 20);
    lm_buf_str(&frame, "{\"n\":1}");
    if (lm_buf_check(&frame, "the chunk", &err) == 0 &&
        lm_map_submit(map, &frame, i, 1, i % 2 == 0 ? NULL : "name", &err) == 0)
      taken++;
    else
      CHECK(err.code == LM_E_NOMEM);
    lm_buf_clean_up(&frame);
  }
  return taken;
}

static unsigned
take_all(struct lm_map *map, unsigned n)
{
  unsigned good = 0;
  while (n > 0) {
    struct pollfd ask = {.fd = lm_map_fd(map), .events = POLLIN};
    CHECK(poll(&ask, 1, 30000) == 1);
    for (struct lm_job *job; (job = lm_map_take(map)) != NULL; n--) {
      good += job->outcome.failure == LM_FAIL_NONE && job->reply.len == 8;
      CHECK(job->outcome.failure == LM_FAIL_NONE || job->error.text[0] != '\0');
      lm_deliver_release(job);
    }
  }
  return good;
}

/* One map with the n-th allocation failing; returns whether everything succeeded. */
static bool
run(uint16_t port, unsigned long n)
{
  struct lm_error err;
  struct lm_dispatch *dispatch = NULL;
  struct lm_target *target = NULL;
  struct lm_map *map = NULL;
  unsigned good = 0;
  lm_alloc_fail_from(n);
  if (lm_dispatch_acquire(64 << 20, &dispatch, &err) == 0 &&
      (target = open_target(dispatch, port)) != NULL && (map = open_map(dispatch, target)) != NULL)
    good = take_all(map, submit_all(map));
  lm_alloc_fail_from(0);
  if (map != NULL) {
    lm_map_close(map);
    lm_map_unref(map);
  }
  lm_target_unref(target);
  if (dispatch != NULL) {
    CHECK(dispatch->sched.used_bytes == 0);
    lm_dispatch_release(dispatch, 10000);
  }
  CHECK(lm_alloc_live() == 0);
  return good == CHUNKS;
}

int
main(void)
{
  pid_t process;
  uint16_t port = start_server(&process);
  use_four_io_threads();
  unsigned long n = 1, in_a_row = 0;
  for (; in_a_row < 20; n++) { /* their number varies with the threads */
    CHECK(n < 10000);
    in_a_row = run(port, n) ? in_a_row + 1 : 0;
  }
  CHECK(n > 60);
  kill(process, SIGKILL);
  waitpid(process, NULL, 0);
  return 0;
}
