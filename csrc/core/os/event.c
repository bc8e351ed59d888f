#include "os/event.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/eventfd.h>
#endif

int
lm_event_open(struct lm_event *event, struct lm_error *err)
{
#if defined(__linux__)
  event->read_fd = event->write_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event->read_fd < 0)
    return lm_error_system(err, errno, "eventfd");
#else
  int ends[2];
  if (pipe(ends) != 0)
    return lm_error_system(err, errno, "pipe");
  for (int i = 0; i < 2; i++) {
    (void)fcntl(ends[i], F_SETFD, FD_CLOEXEC);
    (void)fcntl(ends[i], F_SETFL, O_NONBLOCK);
  }
  event->read_fd = ends[0];
  event->write_fd = ends[1];
#endif
  return 0;
}

void
lm_event_close(struct lm_event *event)
{
  if (event->read_fd >= 0)
    close(event->read_fd);
  if (event->write_fd >= 0 && event->write_fd != event->read_fd)
    close(event->write_fd);
  event->read_fd = event->write_fd = -1;
}

void
lm_event_set(struct lm_event *event)
{
  int saved = errno;
  uint64_t one = 1;
  ssize_t done;
  do /* EAGAIN: it is already set */
    done = write(event->write_fd, &one, sizeof one);
  while (done < 0 && errno == EINTR);
  errno = saved;
}

bool
lm_event_clear(struct lm_event *event)
{
  uint64_t sink[32];
  ssize_t got;
  bool was_set = false;
  do {
    got = read(event->read_fd, sink, sizeof sink);
    was_set = was_set || got > 0;
  } while ((got < 0 && errno == EINTR) || got == (ssize_t)sizeof sink);
  return was_set;
}

int
lm_event_await(int read_fd, int timeout_ms)
{
  struct pollfd ask = {.fd = read_fd, .events = POLLIN};
  int ready = poll(&ask, 1, timeout_ms);
  return ready < 0 && errno == EINTR ? 0 : ready;
}
