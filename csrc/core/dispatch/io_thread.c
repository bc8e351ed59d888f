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

enum { BATCH_JOBS = 16 /* taken from the scheduler at once */ };

static const int64_t FREEZE_NS = 5000000000;
static const int64_t LONG_TURN_NS = 1000000; /* after that other threads help with what is new */

static void wake(void *context);
static void address_known(void *context);
static void no_descriptors(void *context);
static void ended(void *context, struct lm_job *job);
static void replied(void *context, struct lm_job *job);

struct lm_io *
lm_io_new(struct lm_io_crew *crew, unsigned index, struct lm_error *err)
{
  struct lm_io *io = lm_alloc_zero(1, sizeof *io);
  if (io == NULL) {
    lm_error_nomem(err, sizeof *io);
    return NULL;
  }
  io->crew = crew;
  io->turn = (struct lm_turn){
      .index = index,
      .connections = &crew->connections,
      .context = io,
      .ended = ended,
      .replied = replied,
      .no_descriptors = no_descriptors,
      .address_known = address_known,
  };
  lm_list_init(&io->pools);
  lm_list_init(&io->turn.active);
  lm_list_init(&io->turn.again);
  lm_list_init(&io->ended);
  lm_heap_init(&io->turn.timers);
  lm_inbox_init(&io->inbox, wake, io);
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

/* Either the thread sees `called` after it has set `asleep`, or this sees `asleep`. */
void
lm_io_wake(struct lm_io *io)
{
  atomic_store(&io->called, true);
  if (atomic_load(&io->asleep) && atomic_exchange(&io->asleep, false))
    lm_loop_wake(io->turn.loop);
}

static void
wake(void *context)
{
  lm_io_wake(context);
}

static void
address_known(void *context)
{
  struct lm_io *io = context;
  atomic_store(&io->look_for_addresses, true);
  lm_io_wake(io);
}

/* --- the crew --- */

static struct lm_io *
least_busy(const struct lm_io_crew *crew)
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
  lm_io_wake(chosen != NULL ? chosen : least_busy(crew));
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
no_descriptors(void *context)
{
  struct lm_io *io = context;
  lm_io_drop_idle(io->crew);
}

/* --- jobs --- */

static void
change_load(struct lm_io *io, int change)
{
  unsigned load = atomic_load_explicit(&io->load, memory_order_relaxed);
  atomic_store_explicit(&io->load, load + (unsigned)change, memory_order_relaxed);
}

/* The job's attempt is over as its outcome says; the scheduler hears of it later in this turn. */
static void
ended(void *context, struct lm_job *job)
{
  struct lm_io *io = context;
  job->step = LM_STEP_ENDED;
  change_load(io, -1);
  if (atomic_load(&job->batch->cancelled) && job->outcome.failure != LM_FAIL_NONE)
    job->outcome.failure = LM_FAIL_CANCELLED;
  lm_list_push_back(&io->ended, &job->link);
}

/* A reply is complete: decode it here, or have it decoded. */
static void
replied(void *context, struct lm_job *job)
{
  struct lm_io *io = context;
  job->step = LM_STEP_DECODE;
  if (job->reply.len > LM_INLINE_BYTES && lm_cpu_pool_code(io->crew->cpu_pool, &io->inbox, job))
    return;
  lm_code_complete(io->coder, job);
  ended(io, job);
}

static struct lm_pool *
pool_of(struct lm_io *io, struct lm_endpoint *endpoint)
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

/* Give the job to a thread with an idle connection, rather than connect: a TLS handshake costs
 * thirty invocations. */
static bool
pass(struct lm_io *io, struct lm_job *job)
{
  struct lm_endpoint *endpoint = job->batch->target->endpoint;
  for (unsigned i = 0; i < io->crew->n_io; i++) {
    struct lm_io *other = io->crew->io[i];
    if (other != io && lm_endpoint_claim(endpoint, i) && lm_inbox_pass(&other->inbox, job)) {
      change_load(io, -1);
      return true;
    }
  }
  return false;
}

/* On an idle connection here, there, or a new one. A job that was passed has its claim already: no job
 * goes round and round. */
static void
send_job(struct lm_io *io, struct lm_job *job, bool passed)
{
  struct lm_endpoint *endpoint = job->batch->target->endpoint;
  bool claimed = passed || lm_endpoint_claim(endpoint, io->turn.index);
  if (!claimed && pass(io, job))
    return;
  struct lm_pool *pool = pool_of(io, endpoint);
  if (pool == NULL) {
    lm_code_fail(job, LM_RAN_NOT, LM_FAIL_MEMORY, "out of memory");
    ended(io, job);
  } else if (!lm_pool_send(pool, job, claimed, io->turn.now_ns)) {
    ended(io, job);
  }
}

/* Whether its map has been given up meanwhile; the job has ended then. */
static bool
unwanted(struct lm_io *io, struct lm_job *job)
{
  if (!lm_batch_given_up(job->batch))
    return false;
  lm_code_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "cancelled");
  ended(io, job);
  return true;
}

static void
begin(struct lm_io *io, struct lm_job *job)
{
  const struct lm_batch *batch = job->batch;
  job->head = (struct lm_reply_head){.retry_after_ms = -1, .date_s = -1};
  job->view = (struct lm_reply){0};
  job->step = job->body.len == 0 ? LM_STEP_ENCODE : LM_STEP_DIGEST;
  job->digested_ns = 0;
  lm_buf_clear(&job->reply);
  lm_buf_clear(&job->result);
  job->deadline_ns = lm_deadline_earlier(
      lm_deadline_in(io->turn.now_ns, batch->opts.invocation_timeout_ms), batch->deadline_ns);
  if (unwanted(io, job))
    return;
  bool encodes = job->step == LM_STEP_ENCODE;
  if ((encodes ? job->frame.len : job->body.len) > LM_INLINE_BYTES &&
      lm_cpu_pool_code(io->crew->cpu_pool, &io->inbox, job))
    return;
  job->step = LM_STEP_SEND; /* which digests what is small */
  if (!encodes || lm_code_request(io->coder, job))
    send_job(io, job, false);
  else
    ended(io, job);
}

/* --- the loop --- */

static void
empty_inbox(struct lm_io *io)
{
  struct lm_list jobs;
  lm_list_init(&jobs);
  lm_inbox_empty(&io->inbox, &jobs);
  for (struct lm_node *node; (node = lm_list_pop_front(&jobs)) != NULL;) {
    struct lm_job *job = LM_CONTAINER(node, struct lm_job, link);
    bool passed = job->passed;
    if (passed)
      change_load(io, 1);
    if (job->step != LM_STEP_SEND)
      ended(io, job);
    else if (!unwanted(io, job))
      send_job(io, job, passed);
    else if (passed)
      lm_endpoint_add_idle(job->batch->target->endpoint, io->turn.index, 1);
  }
}

/* Let the scheduler judge what has ended, and start what it gives, until there is neither. A turn
 * that gets long ends here; who is less busy is asked to take over. */
static void
exchange(struct lm_io *io)
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
    change_load(io, (int)n);
    for (struct lm_node *node; (node = lm_list_pop_front(&start)) != NULL;)
      begin(io, LM_CONTAINER(node, struct lm_job, link));
    late = lm_seams.now_ns() - io->turn.now_ns > LONG_TURN_NS;
  }
  if (late && lm_sched_has_work(sched)) {
    atomic_store(&io->behind, true);
    lm_io_kick(crew);
    atomic_store(&io->called, true);
  }
}

static void
drop_cancelled(struct lm_io *io)
{
  LM_LIST_EACH (&io->turn.active, node) {
    struct lm_conn *conn = LM_CONTAINER(node, struct lm_conn, link);
    if (atomic_load(&conn->job->batch->cancelled))
      lm_conn_cancel(conn, "cancelled");
  }
  LM_LIST_EACH (&io->pools, node)
    lm_pool_retry_waiting(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns);
}

static void
go_on(struct lm_io *io)
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
                 &io->turn.again); /* those whose turn did not come are first in the next one */
  lm_list_splice(&io->turn.again, &again);
}

static void
run_timers(struct lm_io *io)
{
  for (struct lm_heap_item *item;
       (item = lm_heap_first(&io->turn.timers)) != NULL && item->key <= io->turn.now_ns;)
    lm_conn_expire(LM_CONTAINER(item, struct lm_conn, timer));
  LM_LIST_EACH (&io->pools, node) {
    struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
    if (!lm_list_empty(&pool->waiting))
      lm_pool_retry_waiting(pool, io->turn.now_ns);
    lm_pool_timers(pool, io->turn.now_ns);
    lm_pool_trim(pool, io->turn.now_ns, false);
  }
}

/* When this thread has something to do even if nothing happens. */
static int64_t
next_due(struct lm_io *io)
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

/* Wait for at most so long, not at all when called. */
static void
sleep_until(struct lm_io *io, int64_t due_ns)
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

/* Due retries and deadlines: thread 0 alone. */
static void
tick(struct lm_io *io)
{
  struct lm_sched *sched = io->crew->sched;
  struct lm_list expired;
  if (io->turn.now_ns < lm_sched_due(sched))
    return;
  lm_list_init(&expired);
  lm_sched_tick(sched, io->turn.now_ns, &expired);
  lm_deliver_unstarted(&expired, LM_FAIL_DEADLINE, "the time was over before this chunk was sent");
}

static void
turn(struct lm_io *io)
{
  lm_loop_deliver(io->turn.loop);
  if (atomic_exchange(&io->look_for_cancelled, false))
    drop_cancelled(io);
  if (atomic_exchange(&io->drop_idle, false))
    LM_LIST_EACH (&io->pools, node)
      lm_pool_trim(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns, true);
  if (atomic_exchange(&io->look_for_addresses, false))
    LM_LIST_EACH (&io->pools, node)
      lm_pool_retry_waiting(LM_CONTAINER(node, struct lm_pool, link), io->turn.now_ns);
  empty_inbox(io);
  run_timers(io);
  if (io->turn.index == 0)
    tick(io);
  go_on(io);
  exchange(io);
  sleep_until(io, next_due(io));
}

static void
wind_up(struct lm_io *io)
{
  lm_inbox_shut(&io->inbox);
  empty_inbox(io);
  LM_LIST_EACH (&io->turn.active, node)
    lm_conn_cancel(LM_CONTAINER(node, struct lm_conn, link), "the dispatcher is shutting down");
  LM_LIST_EACH (&io->pools, node) {
    struct lm_pool *pool = LM_CONTAINER(node, struct lm_pool, link);
    LM_LIST_EACH (&pool->waiting, waiting) {
      struct lm_job *job = LM_CONTAINER(waiting, struct lm_job, link);
      lm_list_remove(waiting);
      lm_code_fail(job, LM_RAN_NOT, LM_FAIL_CANCELLED, "the dispatcher is shutting down");
      ended(io, job);
    }
    lm_list_remove(&pool->link);
    lm_pool_destroy(pool);
  }
  exchange(io);
}

static void *
run(void *argument)
{
  struct lm_io *io = argument;
  struct lm_gate *gate = &io->crew->gate;
  io->turn.now_ns = lm_seams.now_ns();
  for (;;) {
    atomic_store(&io->called, false); /* before it looks at anything that a caller has set */
    if (lm_gate_stopping(gate))
      break;
    lm_gate_pass(gate);
    turn(io);
  }
  wind_up(io);
  lm_gate_leave(gate);
  return NULL;
}

int
lm_io_start(struct lm_io *io, struct lm_error *err)
{
  lm_gate_enter(&io->crew->gate);
  int failed = lm_thread_start("lambdamap-io", run, io, err);
  if (failed != 0)
    lm_gate_leave(&io->crew->gate);
  return failed;
}
