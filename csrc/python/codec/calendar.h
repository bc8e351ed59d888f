/* Dates as day numbers of Python's proleptic Gregorian calendar; 1 is 0001-01-01. */
#ifndef LMPY_CODEC_CALENDAR_H
#define LMPY_CODEC_CALENDAR_H

#include <stdint.h>

enum { LMPY_MAX_DAYS = 3652059 /* 9999-12-31 */ };
#define LMPY_US_A_DAY INT64_C(86400000000)

int64_t lmpy_days_of(int year, int month, int day);
/* days: 1 to LMPY_MAX_DAYS. */
void lmpy_split_days(int64_t days, int *year, int *month, int *day);

#endif
