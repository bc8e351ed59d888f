/* policy/deadline: no overflow, and never is never. */
#include "check.h"
#include "policy/deadline.h"

int
main(void)
{
  const int64_t ms = 1000000;
  CHECK(lm_deadline_in(5, 0) == 5);
  CHECK(lm_deadline_in(5, 3) == 5 + 3 * ms);
  CHECK(lm_deadline_in(5, -1) == LM_NEVER_NS);
  CHECK(lm_deadline_in(5, INT64_MIN) == LM_NEVER_NS);
  CHECK(lm_deadline_in(0, INT64_MAX) == LM_NEVER_NS);
  CHECK(lm_deadline_in(0, INT64_MAX / ms) == INT64_MAX / ms * ms);
  CHECK(lm_deadline_in(INT64_MAX - 1, 1) == LM_NEVER_NS);
  CHECK(lm_deadline_in(LM_NEVER_NS, 0) == LM_NEVER_NS);

  CHECK(lm_deadline_earlier(1, 2) == 1 && lm_deadline_earlier(2, 1) == 1);
  CHECK(lm_deadline_earlier(LM_NEVER_NS, 7) == 7);

  CHECK(lm_deadline_left_ms(LM_NEVER_NS, 5, 900000) == 900000);
  CHECK(lm_deadline_left_ms(10 * ms, 10 * ms, 900000) == 0);
  CHECK(lm_deadline_left_ms(10 * ms, 11 * ms, 900000) == 0);
  CHECK(lm_deadline_left_ms(10 * ms, ms + 1, 900000) == 8); /* rounded down */
  CHECK(lm_deadline_left_ms(10 * ms, 0, 5) == 5);
  CHECK(lm_deadline_left_ms(LM_NEVER_NS - 1, 0, 900000) == 900000);
  return 0;
}
