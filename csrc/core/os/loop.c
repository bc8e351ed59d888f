#include "os/loop.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/epoll.h>
#else
#include <poll.h>
#endif

#include "base/alloc.h"
#include "os/event.h"
#include "os/seams.h"

struct slot {
  lm_loop_handler handler; /* NULL: not registered */
  void *owner;             /* borrowed */
  int events;
  uint32_t generation; /* incremented at each registration, to recognize a stale event */
};

enum { READY = 256 };

/* An event that has not been delivered yet. */
struct ready {
  int fd, events;
  uint32_t generation;
};

struct lm_loop {
  int poll_fd;
  struct lm_event wake;
  struct slot *slots; /* owned, indexed by descriptor */
  size_t room;
  struct ready ready[READY];
  unsigned n_ready, next_ready;
};

static int
loop_grow(struct lm_loop *loop, int fd)
{
  size_t room = loop->room == 0 ? 64 : loop->room;
  while (room <= (size_t)fd)
    room *= 2;
  struct slot *slots = lm_realloc(loop->slots, room * sizeof *slots);
  if (slots == NULL)
    return -1;
  memset(slots + loop->room, 0, (room - loop->room) * sizeof *slots);
  loop->slots = slots;
  loop->room = room;
  return 0;
}

struct lm_loop *
lm_loop_new(struct lm_error *err)
{
  struct lm_loop *loop = lm_alloc_zero(1, sizeof *loop);
  if (loop == NULL) {
    lm_error_nomem(err, sizeof *loop);
    return NULL;
  }
  loop->poll_fd = -1;
  if (lm_event_open(&loop->wake, err) != 0)
    goto err_memory;
#if defined(__linux__)
  loop->poll_fd = epoll_create1(EPOLL_CLOEXEC);
  if (loop->poll_fd < 0) {
    lm_error_system(err, errno, "epoll_create1");
    goto err_wake;
  }
  struct epoll_event ask = {.events = EPOLLIN, .data.u64 = UINT64_MAX};
  if (epoll_ctl(loop->poll_fd, EPOLL_CTL_ADD, loop->wake.read_fd, &ask) != 0) {
    lm_error_system(err, errno, "epoll_ctl");
    goto err_poll;
  }
#endif
  return loop;

#if defined(__linux__)
err_poll:
  close(loop->poll_fd);
err_wake:
  lm_event_close(&loop->wake);
#endif
err_memory:
  lm_free(loop);
  return NULL;
}

void
lm_loop_destroy(struct lm_loop *loop)
{
  if (loop == NULL)
    return;
  if (loop->poll_fd >= 0)
    close(loop->poll_fd);
  lm_event_close(&loop->wake);
  lm_free(loop->slots);
  lm_free(loop);
}

#if defined(__linux__)
static int
loop_tell_kernel(struct lm_loop *loop, int fd, const struct slot *slot, bool fresh)
{
  struct epoll_event ask = {.data.u64 = (uint64_t)slot->generation << 32 | (uint32_t)fd};
  if (slot->events & LM_LOOP_READ)
    ask.events |= EPOLLIN | EPOLLRDHUP;
  if (slot->events & LM_LOOP_WRITE)
    ask.events |= EPOLLOUT;
  if (slot->events & LM_LOOP_EDGE)
    ask.events |= EPOLLET;
  if (epoll_ctl(loop->poll_fd, fresh ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ask) == 0)
    return 0;
  /* The descriptor was closed and reused elsewhere, or inherited. */
  if (errno == EEXIST || errno == ENOENT)
    return epoll_ctl(loop->poll_fd, errno == EEXIST ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ask);
  return -1;
}
#else
static int
loop_tell_kernel(struct lm_loop *loop, int fd, const struct slot *slot, bool fresh)
{
  (void)loop, (void)fd, (void)slot, (void)fresh;
  return 0;
}
#endif

int
lm_loop_set(struct lm_loop *loop, int fd, int events, lm_loop_handler handler, void *owner,
            struct lm_error *err)
{
  if ((size_t)fd >= loop->room && loop_grow(loop, fd) != 0)
    return lm_error_nomem(err, (size_t)fd * sizeof(struct slot));
  struct slot *slot = &loop->slots[fd];
  struct slot before = *slot;
  *slot = (struct slot){handler, owner, events, before.generation + 1};
  if (loop_tell_kernel(loop, fd, slot, before.handler == NULL) != 0) {
    int why = errno;
    *slot = before;
    return lm_error_system(err, why, "epoll_ctl");
  }
  return 0;
}

void
lm_loop_del(struct lm_loop *loop, int fd)
{
  if (fd < 0 || (size_t)fd >= loop->room || loop->slots[fd].handler == NULL)
    return;
#if defined(__linux__)
  (void)epoll_ctl(loop->poll_fd, EPOLL_CTL_DEL, fd, NULL);
#endif
  loop->slots[fd] = (struct slot){.generation = loop->slots[fd].generation + 1};
}

void
lm_loop_want_write(struct lm_loop *loop, int fd, bool wanted)
{
#if defined(__linux__)
  (void)loop, (void)fd, (void)wanted;
#else
  if (fd >= 0 && (size_t)fd < loop->room) {
    int events = loop->slots[fd].events & ~LM_LOOP_WRITE;
    loop->slots[fd].events = wanted ? events | LM_LOOP_WRITE : events;
  }
#endif
}

void *
lm_loop_owner(const struct lm_loop *loop, int fd, lm_loop_handler handler)
{
  if (fd < 0 || (size_t)fd >= loop->room || loop->slots[fd].handler != handler)
    return NULL;
  return loop->slots[fd].owner;
}

void
lm_loop_deliver(struct lm_loop *loop)
{
  int64_t until = lm_seams.now_ns() + LM_LOOP_DELIVER_NS;
  while (loop->next_ready < loop->n_ready) {
    const struct ready *ready = &loop->ready[loop->next_ready++];
    if ((size_t)ready->fd >= loop->room)
      continue;
    struct slot slot = loop->slots[ready->fd];
    if (slot.handler != NULL && slot.generation == ready->generation)
      slot.handler(slot.owner, ready->fd, ready->events);
    if (lm_seams.now_ns() >= until)
      return;
  }
}

#if defined(__linux__)
void
lm_loop_wait(struct lm_loop *loop, int64_t timeout_ns)
{
  struct epoll_event happened[READY];
  int timeout_ms = -1;
  if (loop->next_ready < loop->n_ready)
    return;
  loop->n_ready = loop->next_ready = 0;
  if (timeout_ns >= 0) {
    int64_t ms = (timeout_ns + 999999) / 1000000;
    timeout_ms = ms > 60000 ? 60000 : (int)ms;
  }
  int n = epoll_wait(loop->poll_fd, happened, READY, timeout_ms);
  for (int i = 0; i < n; i++) {
    uint32_t what = happened[i].events;
    uint64_t which = happened[i].data.u64;
    if (which == UINT64_MAX) {
      lm_event_clear(&loop->wake);
      continue;
    }
    int events = 0;
    if (what & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
      events |= LM_LOOP_READ;
    if (what & (EPOLLOUT | EPOLLHUP | EPOLLERR))
      events |= LM_LOOP_WRITE;
    if (what & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
      events |= LM_LOOP_HANGUP;
    loop->ready[loop->n_ready++] =
        (struct ready){(int)(uint32_t)which, events, (uint32_t)(which >> 32)};
  }
}
#else
/* poll is level-triggered. Users of LM_LOOP_EDGE read until the descriptor is empty and request writing only
 * while they have something to write, so that they do not spin. Events that do not fit into `ready` are
 * reported again. */
void
lm_loop_wait(struct lm_loop *loop, int64_t timeout_ns)
{
  if (loop->next_ready < loop->n_ready)
    return;
  loop->n_ready = loop->next_ready = 0;
  size_t room = 1;
  for (size_t fd = 0; fd < loop->room; fd++)
    room += loop->slots[fd].handler != NULL;
  struct pollfd *asks = lm_alloc(room * sizeof *asks);
  if (asks == NULL) {
    usleep(1000);
    return;
  }
  size_t n = 0;
  asks[n++] = (struct pollfd){.fd = loop->wake.read_fd, .events = POLLIN};
  for (size_t fd = 0; fd < loop->room && n < room; fd++) {
    const struct slot *slot = &loop->slots[fd];
    if (slot->handler == NULL)
      continue;
    asks[n] = (struct pollfd){.fd = (int)fd};
    if (slot->events & LM_LOOP_READ)
      asks[n].events |= POLLIN;
    if (slot->events & LM_LOOP_WRITE)
      asks[n].events |= POLLOUT;
    n++;
  }
  int64_t ms = timeout_ns < 0 ? -1 : (timeout_ns + 999999) / 1000000;
  if (poll(asks, (nfds_t)n, ms > 60000 ? 60000 : (int)ms) > 0) {
    if (asks[0].revents != 0)
      lm_event_clear(&loop->wake);
    for (size_t i = 1; i < n && loop->n_ready < READY; i++) {
      int events = 0;
      if (asks[i].revents & (POLLIN | POLLHUP | POLLERR | POLLNVAL))
        events |= LM_LOOP_READ;
      if (asks[i].revents & (POLLOUT | POLLHUP | POLLERR | POLLNVAL))
        events |= LM_LOOP_WRITE;
      if (asks[i].revents & (POLLHUP | POLLERR))
        events |= LM_LOOP_HANGUP;
      if (events != 0)
        loop->ready[loop->n_ready++] =
            (struct ready){asks[i].fd, events, loop->slots[asks[i].fd].generation};
    }
  }
  lm_free(asks);
}
#endif

void
lm_loop_wake(struct lm_loop *loop)
{
  lm_event_set(&loop->wake);
}

void
lm_loop_abandon(struct lm_loop *loop)
{
  if (loop->poll_fd >= 0)
    close(loop->poll_fd);
  lm_event_close(&loop->wake);
  for (size_t fd = 0; fd < loop->room; fd++)
    if (loop->slots[fd].handler != NULL)
      close((int)fd);
}
