/* What the dispatcher asks of the world, in one table, so that a test can answer instead. */
#ifndef LM_OS_SEAMS_H
#define LM_OS_SEAMS_H

#include <netdb.h>
#include <stdint.h>

#include "policy/retry.h"

struct lm_seams {
  int64_t (*now_ns)(void);     /* never goes back; goes on while the machine sleeps */
  int64_t (*unix_s)(void);     /* wall clock, for signatures */
  double (*random_unit)(void); /* [0, 1), from the kernel at the time of use: forks and snapshots
                                   must not share a seed */
  int (*resolve)(const char *host, const char *port, const struct addrinfo *hints,
                 struct addrinfo **out); /* getaddrinfo's contract; freed by freeaddrinfo */
  unsigned (*cores)(void);               /* this process may use, at least 1 */
};

/* The real world, or what a test has put in its place before the first dispatcher was made. */
extern struct lm_seams lm_seams;

/* How long things are waited for, so that a test need not wait as long. Changed only while no map
 * runs. */
struct lm_periods {
  struct lm_retry_policy retry;
  int64_t max_idle_ns;           /* a connection without a request: NAT gateways forget a flow after
                                    350 s, AWS after less */
  int64_t keepalive_idle_ns;     /* whole seconds; a peer that vanished is noticed after this and */
  int64_t keepalive_interval_ns; /* six intervals */
  int64_t unacknowledged_ns;     /* an upload into a black hole is noticed */
  int64_t refresh_before_ns;     /* credentials expire: newer ones are asked for */
  int64_t wall_shift_ns;         /* added to the wall clock: 0 but in tests */
};
extern struct lm_periods lm_periods;

#endif
