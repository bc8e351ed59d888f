/* What the dispatcher needs from the system, as tables that a test can replace: clocks, randomness, the
 * resolver, and the length of every period that is waited for. */
#ifndef LM_OS_SEAMS_H
#define LM_OS_SEAMS_H

#include <netdb.h>
#include <stdint.h>

#include "policy/retry.h"

struct lm_seams {
  int64_t (*now_ns)(void);     /* monotonic; counts time that the machine is suspended */
  int64_t (*unix_s)(void);     /* wall clock, seconds since 1970 */
  double (*random_unit)(void); /* [0, 1), from the kernel at each call: forks and restored snapshots
                                   must not share a seed */
  int (*resolve)(const char *host, const char *port, const struct addrinfo *hints,
                 struct addrinfo **out); /* as getaddrinfo; freed by freeaddrinfo */
  unsigned (*cores)(void);               /* that this process may use, at least 1 */
};

/* The system's, or what a test put in its place before the first dispatcher was created. */
extern struct lm_seams lm_seams;

/* Periods in nanoseconds. Tests shorten them; they may be changed only while no map runs. */
struct lm_periods {
  struct lm_retry_policy retry;
  int64_t max_idle_ns;           /* an idle connection is closed: NAT gateways drop a flow after
                                350 s, AWS after less */
  int64_t keepalive_idle_ns;     /* whole seconds; a vanished peer is noticed after this and */
  int64_t keepalive_interval_ns; /* six intervals */
  int64_t unacknowledged_ns;     /* sent data without an acknowledgement: the connection is lost */
  int64_t silence_ns;        /* nothing received on HTTP/2 with a stream open: PING, and after as
                                long again without an answer the connection is lost */
  int64_t refresh_before_ns; /* before credentials expire, newer ones are requested */
  int64_t wall_shift_ns;     /* added to the wall clock; 0 except in tests */
};
#define LM_PERIODS_DEFAULT                                                                         \
  {                                                                                                \
    .retry = LM_RETRY_POLICY_DEFAULT, .max_idle_ns = 50000000000,                                  \
    .keepalive_idle_ns = 30000000000, .keepalive_interval_ns = 10000000000,                        \
    .unacknowledged_ns = 60000000000, .silence_ns = 20000000000, .refresh_before_ns = 600000000000 \
  }
extern struct lm_periods lm_periods;

#endif
