/* What a server says of itself and how it reads: SETTINGS, windows, and nghttp2's memory. */
#include <string.h>

#include "fiber.h"
#include "h2_server.h"
#include "net.h"
#include "record.h"

enum { ALL_STREAMS = 128 };

static const int64_t SECOND_NS = 1000000000;

/* --- memory: the run's; what is freed stays --- */

struct block {
  size_t size;
  _Alignas(16) uint8_t bytes[];
};

static void *
take(size_t size, void *user_data)
{
  struct block *block = sim_memory(sizeof *block + size);
  (void)user_data;
  block->size = size;
  return block->bytes;
}

static void
give(void *bytes, void *user_data)
{
  (void)bytes, (void)user_data;
}

static void *
take_zeroed(size_t count, size_t size, void *user_data)
{
  return memset(take(count * size, user_data), 0, count * size);
}

static void *
take_more(void *bytes, size_t size, void *user_data)
{
  const struct block *old = bytes == NULL ? NULL : (void *)((uint8_t *)bytes - sizeof *old);
  if (old != NULL && old->size >= size)
    return bytes;
  void *more = take(size, user_data);
  if (old != NULL)
    memcpy(more, bytes, old->size);
  return more;
}

nghttp2_mem
sim_h2_memory(void)
{
  return (nghttp2_mem){NULL, take, give, take_zeroed, take_more};
}

/* --- settings, windows --- */

static void
submit_settings(struct sim_h2_connection *h2, bool first, unsigned streams)
{
  nghttp2_settings_entry entries[2];
  size_t n = 0;
  if (!first || !sim_one_in(4)) /* not limited */
    entries[n++] =
        (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, (uint32_t)streams};
  if (first && sim_h2.limited)
    entries[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, sim_h2.window};
  (void)nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, entries, n);
}

static void
allow_again(void *argument)
{
  struct sim_h2_connection *h2 = argument;
  submit_settings(h2, false, 1 + (unsigned)sim_below(ALL_STREAMS));
  sim_h2_flush(h2);
}

/* Other streams than before may be open; if none, then for a while. */
void
sim_h2_change_settings(struct sim_h2_connection *h2)
{
  unsigned streams = (unsigned)sim_below(sim_one_in(2) ? 4 : ALL_STREAMS);
  record_event("connection %u: %u streams", h2->peer->id, streams);
  submit_settings(h2, false, streams);
  if (streams == 0)
    sim_at(sim_now() + sim_between(0, 2 * SECOND_NS), allow_again, h2);
}

void
sim_h2_settle(void *argument)
{
  struct sim_h2_connection *h2 = argument;
  h2->settled = true;
  submit_settings(h2, true, sim_h2.streams == 0 ? ALL_STREAMS : sim_h2.streams);
  if (sim_h2.streams == 0 && sim_one_in(8))
    sim_h2_change_settings(h2);
  sim_h2_flush(h2);
}

/* A window that begins at 0: a little, then more. */
void
sim_h2_open_window(void *argument)
{
  struct sim_stream *stream = argument;
  if (stream->complete || stream->closed || stream->gone || stream->on->peer->closed)
    return;
  int32_t by = 1 + (int32_t)sim_below(stream->body_len * 2 + 2000);
  (void)nghttp2_submit_window_update(stream->on->session, NGHTTP2_FLAG_NONE, stream->id, by);
  sim_h2_flush(stream->on);
  sim_at(sim_now() + sim_between(1, SECOND_NS / 5), sim_h2_open_window, stream);
}

struct piece {
  struct sim_h2_connection *h2;
  int32_t id;
  size_t n;
};

/* What was read of a request makes room for more. */
static void
consume(const struct piece *piece)
{
  if (sim_h2.limited && sim_h2.window == 0)
    (void)nghttp2_session_consume_connection(piece->h2->session, piece->n);
  else
    (void)nghttp2_session_consume(piece->h2->session, piece->id, piece->n);
}

static void
consume_later(void *argument)
{
  const struct piece *piece = argument;
  consume(piece);
  sim_h2_flush(piece->h2);
}

void
sim_h2_consume(struct sim_h2_connection *h2, int32_t id, size_t n)
{
  struct piece *piece = sim_memory(sizeof *piece);
  *piece = (struct piece){h2, id, n};
  if (sim_one_in(sim_h2.slow_one_in))
    sim_at(sim_now() + sim_between(0, SECOND_NS / 3), consume_later, piece);
  else
    consume(piece);
}
