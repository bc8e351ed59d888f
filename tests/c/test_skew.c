/* policy/skew: our clock compared with the service's. */
#include "check.h"
#include "policy/skew.h"

int
main(void)
{
  static const struct {
    int64_t date_s, now_s, offset_s;
  } cases[] = {
      {1000000, 1000000, 0},     {1000240, 1000000, 0},   {999760, 1000000, 0},
      {1000241, 1000000, 241},   {999759, 1000000, -241}, {1001200, 1000000, 1200},
      {1000000, 1001200, -1200}, {1000000, 1000001, 0},   {0, 1000000, -1000000},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    CHECK(lm_skew_offset(cases[i].date_s, cases[i].now_s) == cases[i].offset_s);
  CHECK(lm_skew_matters(0, 1200) && lm_skew_matters(-1200, 0));
  CHECK(!lm_skew_matters(0, 0) && !lm_skew_matters(1200, 1201));
  return 0;
}
