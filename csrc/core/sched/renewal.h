/* What the scheduler and whoever brings a target's credentials say to each other. */
#ifndef LM_SCHED_RENEWAL_H
#define LM_SCHED_RENEWAL_H

#include <stdatomic.h>

/* Whether newer credentials are wanted. Until they come nothing of this target starts. */
enum lm_wants {
  LM_WANTS_NOTHING,
  LM_WANTS_FRESH, /* they expire soon */
  LM_WANTS_OTHERS /* AWS says that they have expired */
};

struct lm_renewal {
  atomic_uint_fast64_t
      generation;                /* of the credentials that attempts are signed with from now on */
  atomic_int_fast64_t refresh_s; /* when to want newer ones, by the wall clock; 0: never */
  atomic_int wants;              /* enum lm_wants; set by the scheduler, cleared by
                                      lm_target_set_credentials */
};

#endif
