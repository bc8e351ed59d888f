#include "record.h"

#include <stdarg.h>
#include <stdlib.h>

#include "fiber.h"

static FILE *shown; /* borrowed */
static unsigned violations;
static char first[512];

static const char *const NAMES[N_PROMISES] = {
    [ONCE] = "once",
    [NOT_MEANS_NOT] = "not-means-not",
    [AT_MOST_ONCE] = "at-most-once",
    [RAN_MEANS_RAN] = "ran-means-ran",
    [OWN_REQUEST] = "own-request",
    [OWN_REPLY] = "own-reply",
    [BOUND] = "bound",
    [BUDGET] = "budget",
    [AT_STAKE] = "at-stake",
    [PROGRESS] = "progress",
    [SAME_BYTES] = "same-bytes",
    [NOTHING_LEFT] = "nothing-left",
};

const char *
promise_name(enum promise promise)
{
  return NAMES[promise];
}

void
record_begin(FILE *file)
{
  shown = file;
  violations = 0;
  first[0] = '\0';
}

static void
show(const char *format, va_list args)
{
  fprintf(shown, "%12.6f %-8s ", (double)sim_now() / 1e9, sim_name());
  vfprintf(shown, format, args);
  putc('\n', shown);
}

void
record_event(const char *format, ...)
{
  if (shown == NULL)
    return;
  va_list args;
  va_start(args, format);
  show(format, args);
  va_end(args);
}

void
record_broken(enum promise promise, const char *format, ...)
{
  va_list args;
  char text[400];
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (violations++ == 0)
    snprintf(first, sizeof first, "%s: %s", NAMES[promise], text);
  record_event("BROKEN %s: %s", NAMES[promise], text);
}

unsigned
record_violations(void)
{
  return violations;
}

const char *
record_first(void)
{
  return violations == 0 ? NULL : first;
}

void *
record_must(void *block)
{
  if (block == NULL) {
    fputs("sim: out of memory\n", stderr);
    exit(2);
  }
  return block;
}
