/* What the dispatcher asks of the world, in one table, so that a test can answer instead. */
#ifndef LM_NET_SEAMS_H
#define LM_NET_SEAMS_H

#include <netdb.h>
#include <stdint.h>

struct lm_seams {
  int64_t (*now_ns)(void);     /* never goes back; goes on while the machine sleeps */
  int64_t (*unix_s)(void);     /* wall clock, for signatures */
  double (*random_unit)(void); /* [0, 1), from the kernel at the time of use: forks and snapshots
                                   must not share a seed */
  int (*resolve)(const char *host, const char *port, const struct addrinfo *hints,
                 struct addrinfo **out); /* getaddrinfo's contract; freed by freeaddrinfo */
};

/* The real world, or what a test has put in its place before the first dispatcher was made. */
extern struct lm_seams lm_seams;

#endif
