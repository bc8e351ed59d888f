/* Dates as numbers: days and microseconds since the year 1, in Python's own (proleptic Gregorian)
 * calendar, with the public C API of datetime. */
#include "codec/codec.h"

#include <datetime.h>

enum { DAYS_400 = 146097, DAYS_100 = 36524, DAYS_4 = 1461, MAX_DAYS = 3652059 /* 9999-12-31 */ };
#define US_A_DAY INT64_C(86400000000)

static const uint16_t before_month[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};

static bool
is_leap(int year)
{
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t
days_of(int year, int month, int day)
{
  int64_t before = year - 1;
  return before * 365 + before / 4 - before / 100 + before / 400 + before_month[month - 1] +
         (month > 2 && is_leap(year)) + day;
}

static void
split_days(int64_t days, int *year, int *month, int *day)
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
  bool leap = is_leap(*year);
  int found = 12;
  while (found > 1 && before_month[found - 1] + (found > 2 && leap) > n)
    found--;
  *month = found;
  *day = (int)n - before_month[found - 1] - (found > 2 && leap) + 1;
}

static int
load(void)
{
  if (PyDateTimeAPI == NULL)
    PyDateTime_IMPORT;
  return PyDateTimeAPI == NULL ? -1 : 0;
}

int
lmpy_date_number(PyObject *value, uint8_t *element, int64_t *n)
{
  if (PyDateTimeAPI == NULL && load() != 0) {
    PyErr_Clear(); /* without datetime nothing is a date */
    return 0;
  }
  if (Py_IS_TYPE(value, PyDateTimeAPI->DateType)) {
    *element = LM_INT_DATE;
    *n =
        days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value), PyDateTime_GET_DAY(value));
    return 1;
  }
  if (Py_IS_TYPE(value, PyDateTimeAPI->DateTimeType) &&
      PyDateTime_DATE_GET_TZINFO(value) == Py_None && PyDateTime_DATE_GET_FOLD(value) == 0) {
    int64_t seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 +
                      PyDateTime_DATE_GET_MINUTE(value) * 60 + PyDateTime_DATE_GET_SECOND(value);
    *element = LM_INT_DATETIME;
    *n = (days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                  PyDateTime_GET_DAY(value)) -
          1) *
             US_A_DAY +
         seconds * 1000000 + PyDateTime_DATE_GET_MICROSECOND(value);
    return 1;
  }
  return 0;
}

PyObject *
lmpy_date_from(uint8_t element, int64_t n)
{
  int year, month, day;
  int64_t days = n, rest = 0;
  if (element == LM_INT_DATETIME) {
    days = n < 0 ? 0 : n / US_A_DAY + 1;
    rest = n < 0 ? 0 : n % US_A_DAY;
  }
  if (days < 1 || days > MAX_DAYS) {
    PyErr_SetString(PyExc_OverflowError, "a date outside of the years 1 to 9999");
    return NULL;
  }
  if (PyDateTimeAPI == NULL && load() != 0)
    return NULL;
  split_days(days, &year, &month, &day);
  if (element == LM_INT_DATE)
    return PyDate_FromDate(year, month, day);
  int64_t seconds = rest / 1000000;
  return PyDateTime_FromDateAndTime(year, month, day, (int)(seconds / 3600),
                                    (int)(seconds / 60 % 60), (int)(seconds % 60),
                                    (int)(rest % 1000000));
}
