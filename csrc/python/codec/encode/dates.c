#include "codec/encode/dates.h"

#include <datetime.h>

#include "codec/calendar.h"
#include "wire/columns.h"

static int
encode_dates_load(void)
{
  if (PyDateTimeAPI == NULL)
    PyDateTime_IMPORT;
  return PyDateTimeAPI == NULL ? -1 : 0;
}

int
lmpy_date_number(PyObject *value, uint8_t *element, int64_t *n)
{
  if (PyDateTimeAPI == NULL && encode_dates_load() != 0) {
    PyErr_Clear(); /* datetime cannot be imported, so nothing is a date */
    return 0;
  }
  if (Py_IS_TYPE(value, PyDateTimeAPI->DateType)) {
    *element = LM_INT_DATE;
    *n = lmpy_days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                      PyDateTime_GET_DAY(value));
    return 1;
  }
  if (Py_IS_TYPE(value, PyDateTimeAPI->DateTimeType) &&
      PyDateTime_DATE_GET_TZINFO(value) == Py_None && PyDateTime_DATE_GET_FOLD(value) == 0) {
    int64_t seconds = PyDateTime_DATE_GET_HOUR(value) * 3600 +
                      PyDateTime_DATE_GET_MINUTE(value) * 60 + PyDateTime_DATE_GET_SECOND(value);
    *element = LM_INT_DATETIME;
    *n = (lmpy_days_of(PyDateTime_GET_YEAR(value), PyDateTime_GET_MONTH(value),
                       PyDateTime_GET_DAY(value)) -
          1) *
             LMPY_US_A_DAY +
         seconds * 1000000 + PyDateTime_DATE_GET_MICROSECOND(value);
    return 1;
  }
  return 0;
}
