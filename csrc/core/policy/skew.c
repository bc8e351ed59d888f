#include "policy/skew.h"

static const int64_t TOLERATED_S = 240;

int64_t
lm_skew_offset(int64_t date_s, int64_t now_s)
{
  int64_t skew = date_s - now_s;
  return skew > TOLERATED_S || skew < -TOLERATED_S ? skew : 0;
}

bool
lm_skew_matters(int64_t signed_with, int64_t known)
{
  return lm_skew_offset(known, signed_with) != 0;
}
