/* Lambda's error replies, and whether the function has run: AWS's side of
 * csrc/core/policy/outcome.c, each of whose rows is here. */
#ifndef LM_SIM_ERRORS_H
#define LM_SIM_ERRORS_H

#include <stddef.h>

enum sim_runs { SIM_NEVER, SIM_PERHAPS, SIM_ALWAYS };

struct sim_error {
  int status;       /* 0: several statuses have this type; 200 for a function error */
  const char *type; /* without "Exception"; NULL: an unknown one; "(empty)": no type and no body */
  enum sim_runs runs;
};

enum sim_errors { SIM_REFUSES, SIM_POLLS, SIM_MAY_RUN, SIM_ENDS, SIM_RAISES, SIM_ENDS_BY_ERROR };

const struct sim_error *sim_any_error(enum sim_errors group);

#endif
