#include "h2_server.h"

#include <string.h>

#include "fiber.h"
#include "lambda.h"
#include "net.h"
#include "record.h"
#include "world.h"

enum { MOST_AT_STAKE = 128 };

static const int64_t SECOND_NS = 1000000000;

struct sim_h2_options sim_h2;

struct sim_h2_place sim_h2_places[SIM_H2_PLACES];

static struct sim_h2_connection *connections;

static void
append(uint8_t **at, size_t *len, size_t *room, const void *bytes, size_t n)
{
  if (*len + n > *room) {
    *room = (*len + n) * 2 + 500;
    uint8_t *more = sim_memory(*room);
    if (*len > 0)
      memcpy(more, *at, *len);
    *at = more;
  }
  if (n > 0)
    memcpy(*at + *len, bytes, n);
  *len += n;
}

static struct sim_stream *
stream_of(nghttp2_session *session, int32_t id)
{
  return id > 0 ? nghttp2_session_get_stream_user_data(session, id) : NULL;
}

/* --- sending --- */

static struct sim_h2_place *
place_of(const struct sim_h2_connection *h2, uint32_t id)
{
  return h2->peer->id == 0 && id % 2 == 1 && id / 2 < SIM_H2_PLACES ? &sim_h2_places[id / 2] : NULL;
}

/* Remember where replies lie. */
static void
note_sent(struct sim_h2_connection *h2, const uint8_t *bytes, size_t n)
{
  struct sim_frame frame;
  while (sim_frames_next(&h2->to_client, &bytes, &n, &frame)) {
    bool ends = frame.type <= NGHTTP2_HEADERS && (frame.flags & NGHTTP2_FLAG_END_STREAM);
    struct sim_stream *stream = ends ? stream_of(h2->session, (int32_t)frame.id) : NULL;
    if (stream != NULL && !h2->peer->stalled)
      stream->answered = true;
    struct sim_h2_place *place = place_of(h2, frame.id);
    if (place == NULL || frame.type > NGHTTP2_HEADERS)
      continue;
    if (frame.type == NGHTTP2_DATA)
      place->in_body = true;
    else if (!place->in_body) /* the last of them is not informational */
      place->head_end = frame.end;
    if (ends)
      place->reply_end = frame.end;
  }
}

static size_t
collect(struct sim_h2_connection *h2, uint8_t **out)
{
  size_t len = 0, room = 0;
  const uint8_t *bytes;
  *out = NULL;
  for (ssize_t n; (n = nghttp2_session_mem_send(h2->session, &bytes)) > 0;)
    append(out, &len, &room, bytes, (size_t)n);
  note_sent(h2, *out, len);
  return len;
}

struct idle {
  struct sim_h2_connection *h2;
  uint64_t since;
};

static void
close_idle(void *argument)
{
  struct idle *idle = argument;
  struct sim_h2_connection *h2 = idle->h2;
  if (h2->peer->closed || h2->n_open > 0 || h2->idle_since != idle->since)
    return;
  record_event("connection %u: closed, idle", h2->peer->id);
  if (h2->settled && sim_one_in(2)) {
    sim_h2_go_away(h2, NGHTTP2_NO_ERROR);
    sim_h2_flush(h2);
  }
  sim_peer_close(h2->peer, false);
}

static void
become_idle(struct sim_h2_connection *h2)
{
  h2->idle_since++;
  if (h2->leaving && sim_one_in(2))
    sim_peer_close(h2->peer, false);
  if (sim_lambda.idle_ns == 0)
    return;
  struct idle *idle = sim_memory(sizeof *idle);
  *idle = (struct idle){h2, h2->idle_since};
  sim_at(sim_now() + sim_between(0, sim_lambda.idle_ns), close_idle, idle);
}

void
sim_h2_flush(struct sim_h2_connection *h2)
{
  uint8_t *out;
  unsigned n_open = h2->n_open;
  if (!h2->settled || h2->peer->closed)
    return;
  size_t n = collect(h2, &out);
  if (n > 0)
    sim_peer_send(h2->peer, out, n, 0);
  if (n_open > 0 && h2->n_open == 0)
    become_idle(h2);
}

void
sim_h2_flush_and_cut(struct sim_h2_connection *h2)
{
  uint8_t *out;
  if (h2->peer->closed)
    return;
  size_t n = h2->settled ? collect(h2, &out) : 0;
  if (n > 0)
    sim_peer_send(h2->peer, out, sim_below(n), 0);
  sim_peer_close(h2->peer, sim_one_in(2));
}

void
sim_h2_go_away(struct sim_h2_connection *h2, uint32_t error_code)
{
  int32_t last = h2->served_id;
  if (sim_one_in(2) && h2->begun_id < h2->last_id)
    last = h2->begun_id; /* those that began run on */
  record_event("connection %u: GOAWAY, last stream %d, error %u", h2->peer->id, last, error_code);
  h2->leaving = true;
  h2->last_id = last;
  (void)nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, last, error_code, NULL, 0);
}

/* --- receiving --- */

static void
look_later(struct sim_stream *stream)
{
  struct sim_h2_connection *h2 = stream->on;
  if (stream->listed)
    return;
  stream->listed = true;
  stream->next = NULL;
  if (h2->first == NULL)
    h2->first = stream;
  else
    h2->last->next = stream;
  h2->last = stream;
}

static int
on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct sim_h2_connection *h2 = user_data;
  if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
    return 0;
  static const char line[] = "POST / HTTP/1.1";
  struct sim_stream *stream = memset(sim_memory(sizeof *stream), 0, sizeof *stream);
  stream->on = h2;
  stream->id = frame->hd.stream_id;
  append(&stream->head, &stream->head_len, &stream->head_room, line, sizeof line - 1);
  h2->came_id = h2->begun_id = stream->id;
  if (++h2->n_open > MOST_AT_STAKE)
    record_broken(AT_STAKE, "connection %u has %u streams", h2->peer->id, h2->n_open);
  (void)nghttp2_session_set_stream_user_data(session, stream->id, stream);
  return 0;
}

/* As the core writes it over HTTP/1.1. */
static int
on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
          size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user_data)
{
  struct sim_stream *stream = stream_of(session, frame->hd.stream_id);
  (void)user_data;
  if (stream == NULL)
    return 0;
  if (name_len == 10 && memcmp(name, ":authority", 10) == 0 && value_len == 0)
    record_broken(OWN_REQUEST, "a request names no host");
  bool secret = (name_len == 13 && memcmp(name, "authorization", 13) == 0) ||
                (name_len == 20 && memcmp(name, "x-amz-security-token", 20) == 0);
  if (secret && !(flags & NGHTTP2_NV_FLAG_NO_INDEX))
    record_broken(OWN_REQUEST, "credentials may be kept in a table");
  if (name[0] == ':')
    return 0;
  bool own = name_len > 4 && memcmp(name, "amz-", 4) == 0; /* in lower case there, too */
  uint8_t **at = &stream->head;
  size_t *len = &stream->head_len, *room = &stream->head_room;
  append(at, len, room, "\r\n", 2);
  size_t from = *len;
  append(at, len, room, name, name_len);
  for (size_t i = from; !own && i < *len; i++)
    if ((i == from || (*at)[i - 1] == '-') && (*at)[i] >= 'a' && (*at)[i] <= 'z')
      (*at)[i] -= 'a' - 'A';
  append(at, len, room, ": ", 2);
  append(at, len, room, value, value_len);
  return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes, size_t n,
        void *user_data)
{
  struct sim_h2_connection *h2 = user_data;
  struct sim_stream *stream = stream_of(session, id);
  (void)flags;
  if (stream != NULL && !stream->gone)
    append(&stream->body, &stream->body_len, &stream->body_room, bytes, n);
  sim_h2_consume(h2, id, n);
  return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
  struct sim_stream *stream = stream_of(session, frame->hd.stream_id);
  (void)user_data;
  if (stream == NULL || (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
    return 0;
  if (frame->hd.type == NGHTTP2_HEADERS)
    append(&stream->head, &stream->head_len, &stream->head_room, "\r\n\r\n", 4);
  stream->complete = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
  if (stream->complete || !stream->seen)
    look_later(stream);
  return 0;
}

static int
on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user_data)
{
  struct sim_h2_connection *h2 = user_data;
  (void)session;
  if (error == NGHTTP2_ERR_REFUSED_STREAM) /* one more than SETTINGS allow */
    h2->came_id = frame->hd.stream_id;
  else if (!h2->spoilt)
    record_broken(OWN_REQUEST, "connection %u: a frame of type %d is invalid: %s", h2->peer->id,
                  frame->hd.type, nghttp2_strerror(error));
  return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *user_data)
{
  struct sim_h2_connection *h2 = user_data;
  struct sim_stream *stream = stream_of(session, id);
  if (stream == NULL || stream->closed)
    return 0;
  stream->closed = true;
  h2->n_open--;
  if (error_code != NGHTTP2_NO_ERROR)
    record_event("connection %u: stream %d ends by error %u", h2->peer->id, id, error_code);
  return 0;
}

static ssize_t
on_pad(nghttp2_session *session, const nghttp2_frame *frame, size_t most, void *user_data)
{
  size_t n = frame->hd.length;
  (void)session, (void)user_data;
  if (n < most && sim_one_in(sim_h2.pad_one_in))
    n += sim_below(most - n < 256 ? most - n + 1 : 256);
  return (ssize_t)n;
}

/* --- serving --- */

static void
serve(struct sim_stream *stream)
{
  struct sim_h2_connection *h2 = stream->on;
  struct sim_request request = {.peer = h2->peer,
                                .stream = stream,
                                .at = stream->head,
                                .head_len = stream->head_len,
                                .body = stream->body,
                                .body_len = stream->body_len};
  stream->served = true;
  if (h2->served_id < stream->id)
    h2->served_id = stream->id;
  if (!stream->complete) {
    (void)sim_refuse_early(&request);
    return;
  }
  if (!h2->peer->stalled && sim_one_in(sim_h2.dead_one_in)) {
    record_event("connection %u: goes silent", h2->peer->id);
    sim_h2_count_at_stake(h2);
    sim_peer_stall(h2->peer);
    if (sim_one_in(2))
      return;
  }
  sim_serve(&request);
}

/* What only HTTP/2 has, when a request begins. */
static void
see(struct sim_stream *stream)
{
  struct sim_h2_connection *h2 = stream->on;
  stream->seen = true;
  if (sim_one_in(sim_h2.go_away_one_in)) {
    static const uint32_t codes[] = {NGHTTP2_INTERNAL_ERROR, NGHTTP2_ENHANCE_YOUR_CALM,
                                     NGHTTP2_PROTOCOL_ERROR};
    bool graceful = sim_one_in(2);
    if (graceful && !h2->leaving && sim_one_in(2))
      (void)nghttp2_submit_shutdown_notice(h2->session);
    else
      sim_h2_go_away(h2, graceful ? NGHTTP2_NO_ERROR : codes[sim_below(3)]);
    if (sim_one_in(4)) {
      sim_h2_flush_and_cut(h2);
      return;
    }
  }
  if (stream->id > h2->last_id) {
    stream->gone = true;
  } else if (sim_one_in(sim_h2.refuse_one_in)) {
    record_event("connection %u: stream %d is refused", h2->peer->id, stream->id);
    stream->gone = true;
    (void)nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id,
                                    NGHTTP2_REFUSED_STREAM);
  } else if (!stream->complete && sim_one_in(sim_lambda.early_one_in)) {
    serve(stream);
  } else if (!stream->complete && sim_h2.limited && sim_h2.window == 0 &&
             !sim_one_in(sim_lambda.silent_one_in)) {
    sim_at(sim_now() + sim_between(0, SECOND_NS / 2), sim_h2_open_window, stream);
  }
  if (sim_one_in(sim_h2.change_one_in))
    sim_h2_change_settings(h2);
}

static void
look(struct sim_h2_connection *h2)
{
  while (h2->first != NULL && record_violations() == 0) {
    struct sim_stream *stream = h2->first;
    h2->first = stream->next;
    stream->listed = false;
    if (!stream->seen)
      see(stream);
    bool wanted = !stream->gone && !stream->served && stream->id <= h2->last_id;
    if (stream->complete && wanted && !(stream->closed && sim_one_in(2)))
      serve(stream);
  }
  sim_h2_flush(h2);
}

/* Requests that begin in these bytes, without those up to a stream. */
static unsigned
count_requests(struct sim_h2_connection *h2, const uint8_t *bytes, size_t n, uint32_t up_to)
{
  struct sim_frame frame;
  unsigned requests = 0;
  while (sim_frames_next(&h2->to_server, &bytes, &n, &frame)) {
    struct sim_h2_place *place = place_of(h2, frame.id);
    if (frame.type != NGHTTP2_HEADERS)
      continue;
    requests += frame.id > up_to;
    if (place != NULL)
      place->begin = frame.begin;
  }
  return requests;
}

void
sim_h2_not_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  struct sim_h2_connection *h2 = peer->server;
  h2->at_stake += count_requests(h2, bytes, n, h2->stake_id);
  /* What is given up for another reason is not lost. */
  for (unsigned i = 0; i < sim_world.n_maps; i++) {
    const struct sim_map *map = &sim_world.maps[i];
    if (map->cancel_ns != 0 || map->close_ns != 0 || map->timeout_ms >= 0)
      return;
  }
  if (h2->at_stake > MOST_AT_STAKE && !sim_world.shut_down)
    record_broken(AT_STAKE, "connection %u is dead, and has %u requests", peer->id, h2->at_stake);
}

static void
read_piece(struct sim_h2_connection *h2, const uint8_t *bytes, size_t n)
{
  h2->received += n;
  (void)count_requests(h2, bytes, n, 0);
  ssize_t taken = nghttp2_session_mem_recv(h2->session, bytes, n);
  if (taken < 0 && !h2->spoilt)
    record_broken(OWN_REQUEST, "connection %u: %s", h2->peer->id, nghttp2_strerror((int)taken));
}

void
sim_h2_received(struct sim_peer *peer, const uint8_t *bytes, size_t n)
{
  struct sim_h2_connection *h2 = peer->server;
  bool cut = h2->cut_at > 0 && h2->received + n >= h2->cut_at;
  read_piece(h2, bytes, cut ? h2->cut_at - h2->received : n);
  if (!cut) {
    look(h2);
    return;
  }
  record_event("connection %u: ends after %zu bytes", peer->id, h2->received);
  h2->cut_at = 0;
  if (sim_one_in(2))
    look(h2);
  sim_h2_flush_and_cut(h2);
}

/* --- connections --- */

static nghttp2_session *
new_session(struct sim_h2_connection *h2)
{
  static nghttp2_session_callbacks *callbacks; /* never freed, as the next */
  static nghttp2_option *option;
  nghttp2_mem memory = sim_h2_memory();
  nghttp2_session *session = NULL;
  if (callbacks == NULL) {
    if (nghttp2_session_callbacks_new(&callbacks) != 0 || nghttp2_option_new(&option) != 0)
      record_must(NULL);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_select_padding_callback(callbacks, on_pad);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_send_header_block_length(option, 1 << 20);
  }
  if (nghttp2_session_server_new3(&session, callbacks, h2, option, &memory) != 0)
    record_must(NULL);
  return session;
}

void
sim_h2_accept(struct sim_peer *peer)
{
  struct sim_h2_connection *h2 = memset(sim_memory(sizeof *h2), 0, sizeof *h2);
  h2->peer = peer;
  h2->session = new_session(h2);
  h2->last_id = INT32_MAX;
  sim_frames_begin(&h2->to_server, NGHTTP2_CLIENT_MAGIC_LEN);
  sim_frames_begin(&h2->to_client, 0);
  h2->next = connections;
  connections = h2;
  peer->server = h2;
  record_event("connection %u: HTTP/2", peer->id);
  if (sim_one_in(sim_lambda.cut_request_one_in / 4))
    h2->cut_at = 1 + sim_below(sim_one_in(2) ? 600 : 20000);
  if (sim_one_in(sim_h2.late_one_in))
    sim_at(sim_now() + sim_between(0, 2 * SECOND_NS), sim_h2_settle, h2);
  else
    sim_h2_settle(h2);
  become_idle(h2);
}

void
sim_h2_begin(void)
{
  connections = NULL;
  memset(sim_h2_places, 0, sizeof sim_h2_places);
}

void
sim_h2_check_left(void)
{
  if (sim_net.send_buffer < 65536) /* what was to be sent before RST_STREAM takes its time */
    return;
  for (const struct sim_h2_connection *h2 = connections; h2 != NULL; h2 = h2->next)
    if (h2->n_open > 0 && !h2->peer->closed && !h2->peer->stalled && !h2->spoilt)
      record_broken(NOTHING_LEFT, "connection %u has %u streams", h2->peer->id, h2->n_open);
}
