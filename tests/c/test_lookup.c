/* A look-up that ends after the dispatcher was freed: no thread is woken. */
#include <netdb.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"
#include "maps.h"
#include "os/seams.h"
#include "sched/deliver.h"

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

int
main(void)
{
  struct lm_dispatch *dispatch;
  struct lm_error err;
  struct lm_buf frame;
  struct lm_job *job;
  lm_seams.resolve = slow;
  CHECK(lm_dispatch_acquire(1 << 20, &dispatch, &err) == 0);
  struct lm_target *target = open_target_at(dispatch, "slow.invalid", 80, false);
  CHECK(target != NULL);
  struct lm_map *map = open_map(dispatch, target);
  CHECK(map != NULL);
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
  usleep(50000); /* for the look-up thread to end */
  return 0;
}
