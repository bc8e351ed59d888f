#include "dispatch/io_thread.h"

#include "base/alloc.h"
#include "job/coding.h"
#include "os/seams.h"
#include "os/threads.h"
#include "policy/deadline.h"
#include "sched/deliver.h"
#include "sched/sched.h"
#include "transport/conn.h"
#include "transport/target.h"

enum { BATCH_JOBS = 16 /* taken from the scheduler in one exchange */ };

static const int64_t FREEZE_NS = 5000000000; /* woken so late: the machine was suspended */
static const int64_t LONG_TURN_NS = 1000000; /* a longer turn lets other threads start new jobs */

static void io_woken(void *context);
static void io_address_known(void *context);
static void io_no_descriptors(void *context);
static void io_ended(void *context, struct lm_job *job);
static void io_replied(void *context, struct lm_job *job);

struct lm_io *
lm_io_new(struct lm_io_crew *crew, unsigned index, unsigned n_threads, struct lm_error *err)
{
  struct lm_io *io = lm_alloc_zero(1, sizeof *io);
  if (io == NULL) {
    lm_error_nomem(err, sizeof *io);
    return NULL;
  }
  io->crew = crew;
  io->turn = (struct lm_turn){
      .index = index,
      .n_threads = n_threads,
      .connections = &crew->connections,
      .context = io,
      .ended = io_ended,
      .replied = io_replied,
      .no_descriptors = io_no_descriptors,
      .address_known = io_address_known,
  };
  lm_list_init(&io->pools);
  lm_list_init(&io->turn.active);
  lm_list_init(&io->turn.again);
  lm_list_init(&io->ended);
  lm_heap_init(&io->turn.timers);
  lm_inbox_init(&io->inbox, io_woken, io);
  io->turn.scratch = lm_alloc(LM_SCRATCH_BYTES);
  io->coder = lm_coder_new();
  io->turn.signer = lm_sigv4_new();
  if (io->turn.scratch == NULL || io->coder == NULL || io->turn.signer == NULL) {
    lm_error_nomem(err, LM_SCRATCH_BYTES);
    goto err_io;
  }
  io->turn.loop = lm_loop_new(err);
  if (io->turn.loop == NULL)
    goto err_io;
  return io;

err_io:
  lm_io_destroy(io);
  return NULL;
}

void
lm_io_destroy(struct lm_io *io)
{
  if (io == NULL)
    return;
  lm_loop_destroy(io->turn.loop);
  lm_sigv4_destroy(io->turn.signer);
  lm_coder_destroy(io->coder);
  lm_free(io->turn.scratch);
  lm_heap_clean_up(&io->turn.timers);
  lm_inbox_clean_up(&io->inbox);
  lm_free(io);
}

void
lm_io_abandon(struct lm_io *io)
{
  lm_loop_abandon(io->turn.loop);
}

/* --- from other threads --- */

/* Either the thread reads `called` after it has set `asleep`, or this reads `asleep`. */
void
lm_io_wake(struct lm_io *io)
{
  atomic_store(&io->called, true);
  if (atomic_load(&io->asleep) && atomic_exchange(&io->asleep, false))
    lm_loop_wake(io->turn.loop);
}

static void
io_woken(void *context)
{
  lm_io_wake(context);
}

static void
io_address_known(void *context)
{
  struct lm_io *io = context;
  atomic_store(&io->look_for_addresses, true);
  lm_io_wake(io);
}

/* --- the crew --- */

static struct lm_io *
io_least_busy(const struct lm_io_crew *crew)
{
  struct lm_io *least = crew->io[0];
  for (unsigned i = 1; i < crew->n_io; i++)
    if (atomic_load(&crew->io[i]->load) < atomic_load(&least->load))
      least = crew->io[i];
  return least;
}

void
lm_io_kick(struct lm_io_crew *crew)
{
  struct lm_io *chosen = NULL;
  for (unsigned i = 0; i < crew->n_io && chosen == NULL; i++)
    if (!atomic_load(&crew->io[i]->behind))
      chosen = crew->io[i];
  lm_io_wake(chosen != NULL ? chosen : io_least_busy(crew));
}

void
lm_io_come_again(struct lm_io_crew *crew)
{
  atomic_store(&crew->sched->sooner, false);
  lm_io_wake(crew->io[0]);
}

void
lm_io_drop_cancelled(struct lm_io_crew *crew)
{
  for (unsigned i = 0; i < crew->n_io; i++) {
    atomic_store(&crew->io[i]->look_for_cancelled, true);
    lm_io_wake(crew->io[i]);
  }
}

void
lm_io_drop_idle(struct lm_io_crew *crew)
{
  for (unsigned i = 0; i < crew->n_io; i++) {
    atomic_store(&crew->io[i]->drop_idle, true);
    lm_io_wake(crew->io[i]);
  }
}

static void
io_no_descriptors(void *context)
{
  struct lm_io *io = context;
  lm_io_drop_idle(io->crew);
}

/* --- jobs --- */

static void
io_change_load(struct lm_io *io, int change)
{
  unsigned load = atomic_load_explicit(&io->load, memory_order_relaxed);
  atomic_store_explicit(&io->load, load + (unsigned)change, memory_order_relaxed);
}

/* The job's attempt has ended as its outcome says; the next exchange gives it to the scheduler. */
static void
io_ended(void *context, struct lm_job *job)
{
  struct lm_io *io = context;
  job->step = LM_STEP_ENDED;
  io_change_load(io, -1);
  if (atomic_load(&job->batch->cancelled) && job->outcome.failure != LM_FAIL_NONE)
    job->outcome.failure = LM_FAIL_CANCELLED;
  lm_list_push_back(&io->ended, &job->link);
}

/* A reply is complete: decode it here or, if it is large, on a CPU thread. */
static void
io_replied(void *context, struct lm_job *job)
{
  struct lm_io *io = context;
  job->step = LM_STEP_DECODE;
  if (job->reply.len > LM_INLINE_BYTES && lm_cpu_pool_submit(io->crew->cpu_pool, &io->inbox, job))
    return;
  lm_coding_complete(io->coder, job);
  io_ended(io, job);
}

static struct lm_pool *
io_pool_of(struct lm_io *io, struct lm_endpoint *endpoint)
{
  LM_LIST_EACH (&io->pools, node) {
    struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
    if (pool->site.endpoint == endpoint)
      return pool;
  }
  struct lm_pool *pool = lm_pool_new(&io->turn, endpoint);
  if (pool != NULL)
    lm_list_push_front(&io->pools, &pool->link);
  return pool;
}

/* Pass the job to a thread with an idle connection, rather than connect: a TLS handshake costs as much as
 * thirty invocations. */
static bool
io_pass(struct lm_io *io, struct lm_job *job)
{
  const struct lm_target *target = job->batch->target;
  for (unsigned i = 0; i < io->crew->n_io; i++) {
    struct lm_io *other = io->crew->io[i];
    if (other != io && lm_endpoint_claim(target->endpoint, i) &&
        lm_inbox_pass(&other->inbox, job)) {
      io_change_load(io, -1);
      return true;
    }
  }
  return false;
}

/* Send the job on an idle connection of this thread or of another one, or on a new one. A job that was passed
 * here has claimed a connection already, so that it is not passed again. */
static void
io_send_job(struct lm_io *io, struct lm_job *job, bool passed)
{
  const struct lm_target *target = job->batch->target;
  bool claimed = passed || lm_endpoint_claim(target->endpoint, io->turn.index);
  if (!claimed && io_pass(io, job))
    return;
  struct lm_pool *pool = io_pool_of(io, target->endpoint);
  if (pool == NULL) {
    lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_MEMORY, "out of memory");
    io_ended(io, job);
  } else if (!lm_pool_send(pool, job, claimed, io->turn.now_ns)) {
    io_ended(io, job);
  }
}

/* Whether its map was given up meanwhile; if so, the job has been ended. */
static bool
io_unwanted(struct lm_io *io, struct lm_job *job)
{
  if (!lm_batch_given_up(job->batch))
    return false;
  lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "cancelled");
  io_ended(io, job);
  return true;
}

static void
io_begin(struct lm_io *io, struct lm_job *job)
{
  const struct lm_batch *batch = job->batch;
  lm_head_init(&job->head);
  job->view = (struct lm_reply){0};
  job->step = job->body.len == 0 ? LM_STEP_ENCODE : LM_STEP_DIGEST;
  job->digested_ns = 0;
  lm_buf_clear(&job->reply);
  lm_buf_clear(&job->result);
  job->deadline_ns = lm_deadline_earlier(
      lm_deadline_in(io->turn.now_ns, batch->opts.invocation_timeout_ms), batch->deadline_ns);
  if (io_unwanted(io, job))
    return;
  bool encodes = job->step == LM_STEP_ENCODE;
  if ((encodes ? job->frame.len : job->body.len) > LM_INLINE_BYTES &&
      lm_cpu_pool_submit(io->crew->cpu_pool, &io->inbox, job))
    return;
  job->step = LM_STEP_SEND; /* a small body is digested when it is signed */
  if (!encodes || lm_coding_request(io->coder, job))
    io_send_job(io, job, false);
  else
    io_ended(io, job);
}

/* --- the loop --- */

static void
io_empty_inbox(struct lm_io *io)
{
  struct lm_list jobs;
  lm_list_init(&jobs);
  lm_inbox_empty(&io->inbox, &jobs);
  for (struct lm_node *node; (node = lm_list_pop_front(&jobs)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    bool passed = job->passed;
    if (passed)
      io_change_load(io, 1);
    if (job->step != LM_STEP_SEND) {
      io_ended(io, job);
    } else if (!io_unwanted(io, job)) {
      io_send_job(io, job, passed);
    } else if (passed) {
      const struct lm_target *target = job->batch->target;
      lm_endpoint_add_idle(target->endpoint, io->turn.index, 1);
    }
  }
}

/* Give ended jobs to the scheduler and start those that it returns, until there are neither. When the turn
 * gets long, this stops and wakes a less busy thread. */
static void
io_exchange(struct lm_io *io)
{
  struct lm_io_crew *crew = io->crew;
  struct lm_sched *sched = crew->sched;
  bool late = false;
  for (unsigned n = 1; n > 0;) {
    struct lm_list done, start;
    bool may_start = !late && !lm_gate_parking(&crew->gate);
    if (lm_list_empty(&io->ended) && !(may_start && lm_sched_has_work(sched)))
      break;
    lm_list_init(&done);
    lm_list_init(&start);
    n = lm_sched_exchange(sched, lm_seams.now_ns(), lm_seams.random_unit, &io->ended, &done,
                          may_start ? BATCH_JOBS : 0, &start);
    lm_deliver_done(&done);
    if (atomic_load(&sched->sooner))
      lm_io_come_again(crew);
    io_change_load(io, (int)n);
    for (struct lm_node *node; (node = lm_list_pop_front(&start)) != NULL;)
      io_begin(io, LM_CONTAINER(node, struct lm_job, link));
    late = lm_seams.now_ns() - io->turn.now_ns > LONG_TURN_NS;
  }
  if (late && lm_sched_has_work(sched)) {
    atomic_store(&io->behind, true);
    lm_io_kick(crew);
    atomic_store(&io->called, true);
  }
}

static void
io_drop_cancelled(struct lm_io *io)
{
  LM_LIST_EACH (&io->turn.active, node) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    if (atomic_load(&job->batch->cancelled))
      lm_conn_cancel(job, "cancelled");
  }
  LM_LIST_EACH (&io->pools, node)
    lm_pool_retry_waiting(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns);
}

static void
io_continue(struct lm_io *io)
{
  struct lm_list again;
  lm_list_init(&again);
  lm_list_splice(&again, &io->turn.again);
  int64_t until = lm_seams.now_ns() + LM_LOOP_DELIVER_NS;
  for (struct lm_node *node; (node = lm_list_pop_front(&again)) != NULL;) {
    lm_conn_continue(LM_CONTAINER(node, struct lm_conn, again));
    if (lm_seams.now_ns() >= until)
      break;
  }
  lm_list_splice(&again,
                 &io->turn.again); /* those that were not reached come first in the next turn */
  lm_list_splice(&io->turn.again, &again);
}

static void
io_run_timers(struct lm_io *io)
{
  for (struct lm_heap_item *item;
       (item = lm_heap_first(&io->turn.timers)) != NULL && item->key <= io->turn.now_ns;)
    lm_conn_expire(LM_CONTAINER(item, struct lm_job, due));
  LM_LIST_EACH (&io->pools, node) {
    struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
    lm_pool_timers(pool, io->turn.now_ns);
    lm_pool_trim(pool, io->turn.now_ns, false);
  }
}

/* When this thread has something to do next, if no event comes first. */
static int64_t
io_next_due(struct lm_io *io)
{
  if (!lm_list_empty(&io->turn.again))
    return io->turn.now_ns;
  struct lm_heap_item *first = lm_heap_first(&io->turn.timers);
  int64_t next = first == NULL ? LM_NEVER_NS : first->key;
  if (io->turn.index == 0)
    next = lm_deadline_earlier(next, lm_sched_due(io->crew->sched));
  LM_LIST_EACH (&io->pools, node)
    next = lm_deadline_earlier(
        next, lm_pool_next(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns));
  return next;
}

/* Wait for events until due_ns at most; not at all if `called` is set. */
static void
io_sleep_until(struct lm_io *io, int64_t due_ns)
{
  int64_t now = lm_seams.now_ns(), wait = due_ns == LM_NEVER_NS ? -1 : due_ns - now;
  if (due_ns != LM_NEVER_NS && wait < 0)
    wait = 0;
  atomic_store(&io->asleep, true);
  if (atomic_load(&io->called))
    wait = 0;
  atomic_store(&io->behind, wait == 0 && now - io->turn.now_ns > LONG_TURN_NS);
  lm_loop_wait(io->turn.loop, wait);
  atomic_store(&io->asleep, false);
  io->turn.now_ns = lm_seams.now_ns();
  if (wait >= 0 && io->turn.now_ns - now > wait + FREEZE_NS)
    LM_LIST_EACH (&io->pools, node)
      lm_pool_trim(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns, true);
}

/* Due retries, deadlines and expiring credentials; thread 0 only. */
static void
io_tick(struct lm_io *io)
{
  struct lm_sched *sched = io->crew->sched;
  struct lm_list expired;
  if (io->turn.now_ns < lm_sched_due(sched))
    return;
  lm_list_init(&expired);
  lm_sched_tick(sched, io->turn.now_ns, &expired);
  lm_deliver_unstarted(&expired, LM_FAIL_DEADLINE, "deadline exceeded before the chunk was sent");
}

static void
io_turn(struct lm_io *io)
{
  lm_loop_deliver(io->turn.loop);
  if (atomic_exchange(&io->look_for_cancelled, false))
    io_drop_cancelled(io);
  if (atomic_exchange(&io->drop_idle, false))
    LM_LIST_EACH (&io->pools, node)
      lm_pool_trim(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns, true);
  if (atomic_exchange(&io->look_for_addresses, false))
    LM_LIST_EACH (&io->pools, node)
      lm_pool_retry_waiting(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns);
  io_empty_inbox(io);
  io_run_timers(io);
  if (io->turn.index == 0)
    io_tick(io);
  io_continue(io);
  io_exchange(io);
  io_sleep_until(io, io_next_due(io));
}

static void
io_wind_up(struct lm_io *io)
{
  lm_inbox_shut(&io->inbox);
  io_empty_inbox(io);
  LM_LIST_EACH (&io->turn.active, node)
    lm_conn_cancel(LM_CONTAINER(node, struct lm_job, link), "the dispatcher is shutting down");
  LM_LIST_EACH (&io->pools, node) {
    struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
    LM_LIST_EACH (&pool->waiting, waiting) {
      struct lm_job *job = LM_CONTAINER(waiting, struct lm_job, link);
      lm_list_remove(waiting);
      lm_coding_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "the dispatcher is shutting down");
      io_ended(io, job);
    }
    lm_list_remove(&pool->link);
    lm_pool_destroy(pool);
  }
  io_exchange(io);
}

static void *
io_run(void *argument)
{
  struct lm_io *io = argument;
  struct lm_gate *gate = &io->crew->gate;
  io->turn.now_ns = lm_seams.now_ns();
  for (;;) {
    atomic_store(&io->called, false); /* before it reads anything that a caller has set */
    if (lm_gate_stopping(gate))
      break;
    lm_gate_pass(gate);
    io_turn(io);
  }
  io_wind_up(io);
  lm_gate_leave(gate);
  return NULL;
}

int
lm_io_start(struct lm_io *io, struct lm_error *err)
{
  lm_gate_enter(&io->crew->gate);
  int failed = lm_thread_start("lambdamap-io", io_run, io, err);
  if (failed != 0)
    lm_gate_leave(&io->crew->gate);
  return failed;
}
