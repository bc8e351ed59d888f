#include "os/seams.h"

#include <stddef.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/random.h>
#endif

#include "os/threads.h"

static int64_t
seams_now_ns(void)
{
  struct timespec now;
#if defined(CLOCK_BOOTTIME)
  clock_gettime(CLOCK_BOOTTIME, &now);
#else
  clock_gettime(CLOCK_MONOTONIC, &now);
#endif
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int64_t
seams_unix_s(void)
{
  return (int64_t)time(NULL) + lm_periods.wall_shift_ns / 1000000000;
}

static double
seams_random_unit(void)
{
  uint64_t bits = 0;
  if (getentropy(&bits, sizeof bits) != 0)
    bits = (uint64_t)seams_now_ns() * 0x9E3779B97F4A7C15u;
  return (double)(bits >> 11) * 0x1p-53;
}

struct lm_periods lm_periods = LM_PERIODS_DEFAULT;

struct lm_seams lm_seams = {seams_now_ns, seams_unix_s, seams_random_unit, getaddrinfo, lm_cores};
