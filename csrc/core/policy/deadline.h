/* Deadlines: absolute monotonic nanoseconds inside, relative milliseconds on the wire. Pure. */
#ifndef LM_POLICY_DEADLINE_H
#define LM_POLICY_DEADLINE_H

#include <stdint.h>

#define LM_NEVER_NS INT64_MAX

/* now + ms, at most LM_NEVER_NS; ms < 0 means never. now_ns must not be negative. */
int64_t lm_deadline_in(int64_t now_ns, int64_t ms);
int64_t lm_deadline_earlier(int64_t a_ns, int64_t b_ns);
/* Milliseconds left, rounded down, between 0 and cap_ms; cap_ms for LM_NEVER_NS. */
int64_t lm_deadline_left_ms(int64_t deadline_ns, int64_t now_ns, int64_t cap_ms);

#endif
