/* What the invocations of a map cost, from the REPORT lines of some or all of them.
 *
 * The first replies and the later ones are counted apart: the first have most cold starts. Plain numbers;
 * the map's completions guard them. */
#ifndef LM_JOB_BILL_H
#define LM_JOB_BILL_H

#include <stdbool.h>
#include <stdint.h>

struct lm_job;

/* Whose log is asked for. */
enum lm_billing {
  LM_BILLING_NONE,
  LM_BILLING_SAMPLE, /* the first LM_BILL_FIRST chunks, then one in LM_BILL_EVERY */
  LM_BILLING_ALL
};

enum { LM_BILL_FIRST = 32, LM_BILL_EVERY = 50 };

/* Whether to ask for the log of a map's n-th chunk, from 0 on. */
static inline bool
lm_bill_asks(enum lm_billing billing, uint64_t n)
{
  return billing == LM_BILLING_ALL ||
         (billing == LM_BILLING_SAMPLE && (n < LM_BILL_FIRST || n % LM_BILL_EVERY == 0));
}

struct lm_bill_part {
  uint64_t replies;            /* with status 200: the last one of each chunk */
  uint64_t worker_us;          /* spent in f, as these say */
  uint64_t reports;            /* those with a REPORT line */
  uint64_t reported_worker_us; /* worker_us of these */
  uint64_t billed_ms;          /* as the lines say */
};

struct lm_bill {
  struct lm_bill_part first, later;
  uint64_t cold, init_us;            /* starts that the lines report, and their time */
  uint32_t memory_mb, max_memory_mb; /* maxima */
};

/* Add a finished job whose reply had the status 200. */
void lm_bill_add(struct lm_bill *bill, const struct lm_job *job);

#endif
