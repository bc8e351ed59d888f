#include "codec/decode/dates.h"

#include <datetime.h>

#include "codec/calendar.h"
#include "wire/columns.h"

static int
decode_dates_load(void)
{
  if (PyDateTimeAPI == NULL)
    PyDateTime_IMPORT;
  return PyDateTimeAPI == NULL ? -1 : 0;
}

PyObject *
lmpy_date_from(uint8_t element, int64_t n)
{
  int year, month, day;
  int64_t days = n, rest = 0;
  if (element == LM_INT_DATETIME) {
    days = n < 0 ? 0 : n / LMPY_US_A_DAY + 1;
    rest = n < 0 ? 0 : n % LMPY_US_A_DAY;
  }
  if (days < 1 || days > LMPY_MAX_DAYS) {
    PyErr_SetString(PyExc_OverflowError, "date outside the years 1 to 9999");
    return NULL;
  }
  if (PyDateTimeAPI == NULL && decode_dates_load() != 0)
    return NULL;
  lmpy_split_days(days, &year, &month, &day);
  if (element == LM_INT_DATE)
    return PyDate_FromDate(year, month, day);
  int64_t seconds = rest / 1000000;
  return PyDateTime_FromDateAndTime(year, month, day, (int)(seconds / 3600),
                                    (int)(seconds / 60 % 60), (int)(seconds % 60),
                                    (int)(rest % 1000000));
}
