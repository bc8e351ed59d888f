#include "policy/deadline.h"

int64_t
lm_deadline_in(int64_t now_ns, int64_t ms)
{
  if (ms < 0 || ms > (LM_NEVER_NS - now_ns) / 1000000)
    return LM_NEVER_NS;
  return now_ns + ms * 1000000;
}

int64_t
lm_deadline_earlier(int64_t a_ns, int64_t b_ns)
{
  return a_ns < b_ns ? a_ns : b_ns;
}

int64_t
lm_deadline_left_ms(int64_t deadline_ns, int64_t now_ns, int64_t cap_ms)
{
  if (deadline_ns == LM_NEVER_NS)
    return cap_ms;
  if (deadline_ns <= now_ns)
    return 0;
  int64_t left = (deadline_ns - now_ns) / 1000000;
  return left < cap_ms ? left : cap_ms;
}
