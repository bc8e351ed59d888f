#include "fiber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "context.h"
#include "record.h"

enum {
  MAX_FIBERS = 64,
  STACK_BYTES = 256 * 1024,
  GUARD_BYTES = 64 * 1024, /* below each stack: whole pages, which nobody may touch */
  BLOCK_BYTES = 1024 * 1024,
  SPARE_BLOCKS = 64,       /* kept for the next run */
  SWITCH_NS = 2000,        /* maximum cost of a switch */
  PREEMPTED_ONE_IN = 1500, /* one in so many switches loses the processor */
  PREEMPTED_NS = 20000000, /* for at most this long */
  MAX_SWITCHES = 20000000  /* of one run: more means that there is no progress */
};

enum state { FREE, READY, WAITING };

struct sim_fiber {
  enum state state;
  unsigned index;
  const char *name;
  void *(*run)(void *);
  void *argument;
  void *stack; /* owned; kept for the next fiber */
  struct sim_context context;
  struct sim_queue *queue; /* in which it waits, or NULL */
  struct sim_fiber *next;  /* in that queue */
  int64_t until_ns;
  bool woken;
};

struct block {
  struct block *next;
  size_t used, room;
  _Alignas(16) uint8_t bytes[];
};

struct event {
  int64_t when_ns;
  uint64_t order;
  void (*call)(void *);
  void *argument;
};

_Static_assert(MAX_FIBERS <= 64, "a bit each");

static struct {
  uint64_t random[4];
  int64_t now_ns, frozen_ns;
  struct sim_fiber fibers[MAX_FIBERS], *self;
  struct sim_fiber *host; /* the thread itself, where it is a fiber; else NULL */
  uint64_t ready;         /* fibers that are READY, one bit for each index */
  unsigned n_alive;
  struct sim_context scheduler;
  struct event *events; /* a heap */
  size_t n_events, room;
  uint64_t order, switches;
  struct block *block, *spare; /* owned */
  size_t used;                 /* bytes of sim_memory */
  char stuck[1024];
} sim;

/* --- choices: xoshiro256**, seeded by splitmix64 --- */

static uint64_t
rotated(uint64_t x, int k)
{
  return x << k | x >> (64 - k);
}

static uint64_t
random64(void)
{
  uint64_t *s = sim.random, result = rotated(s[1] * 5, 7) * 9, t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotated(s[3], 45);
  return result;
}

void
sim_seed(uint64_t seed)
{
  for (int i = 0; i < 4; i++) {
    uint64_t z = (seed += 0x9E3779B97F4A7C15u);
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    sim.random[i] = z ^ z >> 31;
  }
}

uint64_t
sim_below(uint64_t n)
{
  return n == 0 ? 0 : random64() % n;
}

bool
sim_one_in(unsigned n)
{
  return n != 0 && random64() % n == 0;
}

int64_t
sim_between(int64_t low, int64_t high)
{
  return low + (int64_t)sim_below((uint64_t)(high - low) + 1);
}

double
sim_unit(void)
{
  return (double)(random64() >> 11) * 0x1p-53;
}

/* --- time --- */

int64_t
sim_now(void)
{
  return sim.now_ns;
}

void
sim_freeze(int64_t ns)
{
  sim.now_ns += ns;
  sim.frozen_ns += ns;
}

int64_t
sim_frozen(void)
{
  return sim.frozen_ns;
}

static bool
comes_first(const struct event *a, const struct event *b)
{
  return a->when_ns != b->when_ns ? a->when_ns < b->when_ns : a->order < b->order;
}

void
sim_at(int64_t when_ns, void (*call)(void *), void *argument)
{
  if (sim.n_events == sim.room) {
    sim.room = sim.room == 0 ? 1024 : sim.room * 2;
    sim.events = record_must(realloc(sim.events, sim.room * sizeof *sim.events));
  }
  struct event event = {when_ns, sim.order++, call, argument};
  size_t at = sim.n_events++;
  for (; at > 0 && comes_first(&event, &sim.events[(at - 1) / 2]); at = (at - 1) / 2)
    sim.events[at] = sim.events[(at - 1) / 2];
  sim.events[at] = event;
}

static struct event
pop_event(void)
{
  struct event first = sim.events[0], last = sim.events[--sim.n_events];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child + 1 < sim.n_events && comes_first(&sim.events[child + 1], &sim.events[child]))
      child++;
    if (child >= sim.n_events || !comes_first(&sim.events[child], &last))
      break;
    sim.events[at] = sim.events[child];
    at = child;
  }
  sim.events[at] = last;
  return first;
}

/* --- memory --- */

void *
sim_memory(size_t size)
{
  size = (size + 15) & ~(size_t)15;
  struct block *block = sim.block;
  if (block == NULL || block->used + size > block->room) {
    block = sim.spare;
    if (block != NULL && size <= block->room) {
      sim.spare = block->next;
    } else {
      size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
      block = record_must(malloc(sizeof *block + room));
      block->room = room;
    }
    block->used = 0;
    block->next = sim.block;
    sim.block = block;
  }
  void *at = block->bytes + block->used;
  block->used += size;
  sim.used += size;
  return at;
}

size_t
sim_memory_used(void)
{
  return sim.used;
}

static void
reuse_memory(void)
{
  unsigned kept = 0;
  sim.used = 0;
  while (sim.block != NULL) {
    struct block *block = sim.block;
    sim.block = block->next;
    if (block->room > BLOCK_BYTES || ++kept > SPARE_BLOCKS) {
      free(block);
    } else {
      block->next = sim.spare;
      sim.spare = block;
    }
  }
}

/* --- fibers --- */

static void
set_state(struct sim_fiber *fiber, enum state state)
{
  uint64_t bit = (uint64_t)1 << fiber->index;
  sim.ready = state == READY ? sim.ready | bit : sim.ready & ~bit;
  fiber->state = state;
}

static void
body(void)
{
  struct sim_fiber *self = sim.self;
  sim_context_entered(&self->context);
  self->run(self->argument);
  set_state(self, FREE);
  sim.n_alive--;
  sim_context_leave(&self->context, &sim.scheduler);
}

/* One that is ready to run; NULL: there are as many as there may be. */
static struct sim_fiber *
new_fiber(const char *name)
{
  struct sim_fiber *fiber = NULL;
  for (unsigned i = 0; i < MAX_FIBERS && fiber == NULL; i++)
    if (sim.fibers[i].state == FREE)
      fiber = &sim.fibers[i];
  if (fiber == NULL)
    return NULL;
  fiber->index = (unsigned)(fiber - sim.fibers);
  set_state(fiber, READY);
  fiber->name = name;
  fiber->queue = NULL;
  sim.n_alive++;
  return fiber;
}

struct sim_fiber *
sim_spawn(const char *name, void *(*run)(void *), void *argument)
{
  struct sim_fiber *fiber = new_fiber(name);
  if (fiber == NULL)
    return NULL;
  if (fiber->stack == NULL) {
    uint8_t *at = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (at == MAP_FAILED || mprotect(at + GUARD_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE) != 0)
      record_must(NULL);
    fiber->stack = at + GUARD_BYTES;
  }
  fiber->run = run;
  fiber->argument = argument;
  sim_context_make(&fiber->context, fiber->stack, STACK_BYTES, body);
  return fiber;
}

struct sim_fiber *
sim_self(void)
{
  return sim.self;
}

const char *
sim_name(void)
{
  return sim.self == NULL ? "world" : sim.self->name;
}

static void schedule(void);

static void
leave(void)
{
  if (sim.self != sim.host) {
    sim_context_swap(&sim.self->context, &sim.scheduler);
    return;
  }
  sim.self = NULL;
  schedule();
  if (sim.self == NULL) {
    fprintf(stderr, "sim: stuck after %llu switches: %s\n", (unsigned long long)sim.switches,
            sim.stuck);
    abort();
  }
}

void
sim_switch(void)
{
  if (sim.self != NULL)
    leave();
}

static void
unlink_from_queue(struct sim_fiber *fiber)
{
  struct sim_queue *queue = fiber->queue;
  struct sim_fiber *before = NULL;
  for (struct sim_fiber *at = queue->first; at != fiber; at = at->next)
    before = at;
  if (before == NULL)
    queue->first = fiber->next;
  else
    before->next = fiber->next;
  if (queue->last == fiber)
    queue->last = before;
  fiber->queue = NULL;
}

static void
time_over(void *argument)
{
  struct sim_fiber *fiber = argument;
  if (fiber->state == WAITING && fiber->until_ns <= sim.now_ns) {
    if (fiber->queue != NULL)
      unlink_from_queue(fiber);
    set_state(fiber, READY);
  }
}

bool
sim_wait(struct sim_queue *queue, int64_t until_ns)
{
  struct sim_fiber *self = sim.self;
  if (until_ns <= sim.now_ns) {
    leave();
    return false;
  }
  set_state(self, WAITING);
  self->woken = false;
  self->until_ns = until_ns;
  self->queue = queue;
  self->next = NULL;
  if (queue != NULL) {
    if (queue->last == NULL)
      queue->first = self;
    else
      queue->last->next = self;
    queue->last = self;
  }
  if (until_ns != INT64_MAX)
    sim_at(until_ns, time_over, self);
  leave();
  return self->woken;
}

void
sim_sleep(int64_t ns)
{
  sim_wait(NULL, sim.now_ns + ns);
}

void
sim_wake_one(struct sim_queue *queue)
{
  struct sim_fiber *fiber = queue->first;
  if (fiber == NULL)
    return;
  unlink_from_queue(fiber);
  fiber->woken = true;
  set_state(fiber, READY);
}

void
sim_wake_all(struct sim_queue *queue)
{
  while (queue->first != NULL)
    sim_wake_one(queue);
}

/* --- the scheduler --- */

static struct sim_fiber *
choose(void)
{
  uint64_t ready = sim.ready;
  if (ready == 0)
    return NULL;
  if ((ready & (ready - 1)) != 0)
    for (uint64_t skip = sim_below((uint64_t)__builtin_popcountll(ready)); skip > 0; skip--)
      ready &= ready - 1;
  return &sim.fibers[__builtin_ctzll(ready)];
}

static void
name_stuck(void)
{
  size_t at = 0;
  sim.stuck[0] = '\0';
  for (unsigned i = 0; i < MAX_FIBERS; i++)
    if (sim.fibers[i].state != FREE && at < sizeof sim.stuck)
      at += (size_t)snprintf(sim.stuck + at, sizeof sim.stuck - at, "%s%s %s", at == 0 ? "" : ", ",
                             sim.fibers[i].name, sim.fibers[i].state == READY ? "runs" : "waits");
}

static void
reset(void)
{
  reuse_memory();
  sim.now_ns = sim.frozen_ns = 0;
  sim.n_alive = 0;
  sim.ready = 0;
  sim.n_events = 0;
  sim.order = sim.switches = 0;
  sim.self = sim.host = NULL;
  for (unsigned i = 0; i < MAX_FIBERS; i++)
    sim.fibers[i].state = FREE;
}

/* On the thread's own stack: until all have ended, none can go on, or it is the host's turn. */
static void
schedule(void)
{
  while (sim.n_alive > 0 && sim.switches++ < MAX_SWITCHES) {
    while (sim.n_events > 0 && sim.events[0].when_ns <= sim.now_ns) {
      struct event event = pop_event();
      event.call(event.argument);
    }
    struct sim_fiber *next = choose();
    if (next != NULL) {
      sim.now_ns += sim_between(0, SWITCH_NS);
      if (sim_one_in(PREEMPTED_ONE_IN))
        sim.now_ns += sim_between(0, PREEMPTED_NS);
      sim.self = next;
      if (next == sim.host)
        return;
      sim_context_swap(&sim.scheduler, &next->context);
      sim.self = NULL;
    } else if (sim.n_events > 0) {
      sim.now_ns = sim.events[0].when_ns;
    } else {
      break;
    }
  }
  if (sim.n_alive > 0)
    name_stuck();
}

bool
sim_run(void *(*first)(void *), void *argument)
{
  reset();
  sim_spawn("main", first, argument);
  schedule();
  return sim.n_alive == 0;
}

void
sim_enter(const char *name)
{
  reset();
  sim.self = sim.host = new_fiber(name);
}

unsigned
sim_alive(void)
{
  return sim.n_alive;
}

const char *
sim_stuck(void)
{
  return sim.stuck;
}

uint64_t
sim_switches(void)
{
  return sim.switches;
}
