/* A descriptor that is readable from lm_event_set to lm_event_clear: an eventfd on Linux, a pipe
 * elsewhere. Any thread may set and clear it. */
#ifndef LM_OS_EVENT_H
#define LM_OS_EVENT_H

#include <stdbool.h>

#include "base/error.h"

struct lm_event {
  int read_fd, write_fd; /* equal for an eventfd; -1 when closed */
};

int lm_event_open(struct lm_event *event, struct lm_error *err);
void lm_event_close(struct lm_event *event);
void lm_event_set(struct lm_event *event);
bool lm_event_clear(struct lm_event *event); /* true: it was set */
/* Wait for at most timeout_ms until a read_fd is readable. 1: it is; 0: it is not, or a signal came; -1: errno
 * says why. */
int lm_event_await(int read_fd, int timeout_ms);

#endif
