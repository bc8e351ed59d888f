#include "codec/calendar.h"

#include <stdbool.h>

enum { DAYS_400 = 146097, DAYS_100 = 36524, DAYS_4 = 1461 };

static const uint16_t before_month[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};

static bool
calendar_is_leap(int year)
{
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

int64_t
lmpy_days_of(int year, int month, int day)
{
  int64_t before = year - 1;
  return before * 365 + before / 4 - before / 100 + before / 400 + before_month[month - 1] +
         (month > 2 && calendar_is_leap(year)) + day;
}

void
lmpy_split_days(int64_t days, int *year, int *month, int *day)
{
  int64_t n = days - 1;
  int64_t n400 = n / DAYS_400, n100, n4, n1;
  n %= DAYS_400;
  n100 = n / DAYS_100;
  n %= DAYS_100;
  n4 = n / DAYS_4;
  n %= DAYS_4;
  n1 = n / 365;
  n %= 365;
  *year = (int)(n400 * 400 + n100 * 100 + n4 * 4 + n1 + 1);
  if (n1 == 4 || n100 == 4) { /* the last day of a leap year */
    *year -= 1;
    *month = 12;
    *day = 31;
    return;
  }
  bool leap = calendar_is_leap(*year);
  int found = 12;
  while (found > 1 && before_month[found - 1] + (found > 2 && leap) > n)
    found--;
  *month = found;
  *day = (int)n - before_month[found - 1] - (found > 2 && leap) + 1;
}
