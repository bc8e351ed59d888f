/* What a simulated world provides beyond csrc/core/os/. */
#ifndef LM_SIM_OS_H
#define LM_SIM_OS_H

#include <stdbool.h>
#include <stdint.h>

enum { SIM_EPOCH_S = 1767225600 /* 2026-01-01 */ };

/* How this world's machine behaves; set before a run. One in 0: never. */
struct sim_world_options {
  unsigned cores;
  unsigned long descriptors, others_open; /* the limit; those open besides connections */
  bool uncounted;                         /* the system does not say how many there are */
  int64_t clock_error_s;                  /* of the wall clock */
  unsigned no_thread_one_in, look_up_fails_one_in, no_event_one_in,
      short_at_thread_one_in, /* memory runs out when a thread starts */
      system_fails_one_in;    /* epoll, a handle of libcurl */
  bool own_store;             /* certificates are parsed once (os/tls.h) */
  unsigned bad_look_ups;      /* so many fail first; counted down */
  bool name_unknown;          /* in this way */
};
extern struct sim_world_options sim_options;

/* Allocations of the core fail from the `from`th on; 0: none does. */
void sim_starve(unsigned long from);
/* Between these, the world itself uses functions of the core, and memory never runs out. */
void sim_feed(void);
void sim_starve_again(void);

/* The process forks, and this is the parent. */
void sim_fork(void);

/* Wait for an event's descriptor to be readable. False: until_ns has passed, and it is not. */
bool sim_await_event(int fd, int64_t until_ns);
extern void (*sim_awaited)(void); /* called after each lm_event_await; NULL: nothing is */
unsigned sim_events_open(void);
void sim_events_forget(void); /* of a run that got stuck */

#endif
