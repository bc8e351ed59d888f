/* What a simulated world is asked beside csrc/core/os/. */
#ifndef LM_SIM_OS_H
#define LM_SIM_OS_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_EPOCH_S = 1767225600 /* 2026-01-01 */ };

/* How this world's machine is; set before a run. One in 0: never. */
struct sim_world_options {
  unsigned cores;
  unsigned long descriptors,
      others_open;       /* most connections; what the process has open beside them */
  bool uncounted;        /* where no system says how many there are */
  int64_t clock_error_s; /* of the wall clock */
  unsigned no_thread_one_in, look_up_fails_one_in, no_event_one_in,
      short_at_thread_one_in, /* memory is, from when a thread begins on */
      system_fails_one_in;    /* epoll, a handle of libcurl */
  bool own_store;             /* certificates are read once (os/tls.h) */
};
extern struct sim_world_options sim_options;

/* From the `from`th on, allocations of the core fail; 0: none does. */
void sim_starve(unsigned long from);
/* Between these the core's functions are used by the world, which is never short of memory. */
void sim_feed(void);
void sim_starve_again(void);

/* The process forks, and this is the parent. */
void sim_fork(void);

/* Wait for an event's descriptor to be readable. False: it is until_ns, and it is not. */
bool sim_await_event(int fd, int64_t until_ns);
unsigned sim_events_open(void);
void sim_events_forget(void); /* of a run that got stuck */

#endif
