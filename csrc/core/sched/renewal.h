/* Renewal of a target's credentials: the scheduler requests it, lm_target_set_credentials answers. */
#ifndef LM_SCHED_RENEWAL_H
#define LM_SCHED_RENEWAL_H

#include <stdatomic.h>

/* Whether newer credentials are wanted. Until they are set, no job of this target starts. */
enum lm_wants {
  LM_WANTS_NOTHING,
  LM_WANTS_FRESH, /* the current ones expire soon */
  LM_WANTS_OTHERS /* AWS has refused the current ones as expired */
};

struct lm_renewal {
  atomic_uint_fast64_t generation; /* of the credentials that attempts are signed with */
  atomic_int_fast64_t refresh_s; /* when newer ones will be wanted, seconds since 1970; 0: never */
  atomic_int wants;              /* enum lm_wants; set by the scheduler, cleared by
                                      lm_target_set_credentials */
};

#endif
