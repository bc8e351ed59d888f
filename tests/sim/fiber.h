/* Coroutines of one thread, scheduled by a seeded generator, with a clock of their own.
 *
 * A run is a function of its seed: every choice is made by sim_below, and time passes only here.
 * Nothing may depend on an address, on real time, or on the order in which a compiler evaluates
 * the arguments of a call. */
#ifndef LM_SIM_FIBER_H
#define LM_SIM_FIBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_fiber;

/* The fibers that wait for one thing, in order. */
struct sim_queue {
  struct sim_fiber *first, *last;
};

/* --- choices --- */

void sim_seed(uint64_t seed);
uint64_t sim_below(uint64_t n); /* 0 to n - 1 */
bool sim_one_in(unsigned n);    /* 0: never */
int64_t sim_between(int64_t low, int64_t high);
double sim_unit(void); /* [0, 1) */

/* --- time, in nanoseconds since the start --- */

int64_t sim_now(void);
/* The process stands still for this long: a suspended machine, or a frozen sandbox. */
void sim_freeze(int64_t ns);
int64_t sim_frozen(void); /* total */

/* Call it at that time, outside any fiber; it must not wait. Calls of the same time are made in
 * order. */
void sim_at(int64_t when_ns, void (*call)(void *), void *argument);

/* Memory until the next run begins. Never NULL; uninitialized. */
void *sim_memory(size_t size);
size_t sim_memory_used(void); /* bytes, in this run */

/* --- fibers --- */

/* NULL: the maximum number of fibers exists. The name is borrowed. */
struct sim_fiber *sim_spawn(const char *name, void *(*run)(void *), void *argument);
struct sim_fiber *sim_self(void); /* NULL outside a fiber */
const char *sim_name(void);

void sim_switch(void); /* others may run first */
void sim_sleep(int64_t ns);
/* Wait in the queue until woken, at most until this time (INT64_MAX: no limit). False: timed out. */
bool sim_wait(struct sim_queue *queue, int64_t until_ns);
void sim_wake_one(struct sim_queue *queue);
void sim_wake_all(struct sim_queue *queue);

/* Run `first` and all fibers that it starts until they have ended, with the choices of sim_seed.
 * False: some never will (`sim_stuck` names them); their stacks are dropped as they are. */
bool sim_run(void *(*first)(void *), void *argument);
/* What the fibers that never end wait for, as text; valid until the next run. */
const char *sim_stuck(void);
uint64_t sim_switches(void); /* of this run */

/* Make the calling thread a fiber on its own stack, the first of a new run. Others run, events are called and
 * time passes while it waits or switches, and only then. The program ends if it waits for something that will
 * never happen. */
void sim_enter(const char *name);
unsigned sim_alive(void); /* fibers that have not ended */

#endif
