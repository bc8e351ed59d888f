#include "http/http2_stream.h"

#include <string.h>

#include "http/text.h"

void
lm_http2_stream_init(struct lm_http2_stream *stream, struct lm_buf *reply)
{
  memset(stream, 0, sizeof *stream);
  lm_head_init(&stream->head);
  stream->sent_from = UINT64_MAX;
  stream->reply = reply;
}

void
lm_http2_stream_begin_head(struct lm_http2_stream *stream)
{
  stream->heard = true;
  if (!stream->head_done) /* what a 1xx reply said is void */
    lm_head_init(&stream->head);
}

static int
http2_stream_too_large(struct lm_http2_stream *stream)
{
  return lm_error_set(&stream->err, LM_E_LIMIT, "the reply's body is larger than %zu bytes",
                      stream->reply->max);
}

static size_t
http2_stream_room(const struct lm_buf *reply)
{
  return reply->len < reply->max ? reply->max - reply->len : 0;
}

int
lm_http2_stream_field(struct lm_http2_stream *stream, struct lm_field field)
{
  struct lm_error *err = &stream->err;
  lm_text_trim(&field.value, &field.value_len);
  size_t len = field.name_len + field.value_len + 4; /* as a line of HTTP/1.1 */
  if (len > LM_HEAD_MAX_LINE)
    return lm_error_set(err, LM_E_LIMIT, "a line of the reply's header is longer than %d bytes",
                        LM_HEAD_MAX_LINE);
  if ((stream->head_bytes += len) > LM_HEAD_MAX_BYTES)
    return lm_error_set(err, LM_E_LIMIT, "the reply's header is larger than %d bytes",
                        LM_HEAD_MAX_BYTES);
  if (stream->head_done) /* trailers are checked and ignored */
    return 0;
  if (!lm_field_is(&field, ":status"))
    return lm_head_read(&stream->head, &field, err);
  int64_t status = lm_text_to_number(field.value, field.value_len);
  if (status < 100 || status > 599)
    return lm_error_set(err, LM_E_FORMAT, "invalid status in the reply: expected 100 to 599");
  stream->head.status = (int)status;
  return 0;
}

/* Of a 1xx reply, or of the reply. */
int
lm_http2_stream_end_head(struct lm_http2_stream *stream)
{
  const struct lm_reply_head *head = &stream->head;
  struct lm_error *err = &stream->err;
  if (head->status < 200) {
    if (stream->informational++ == LM_HEAD_MAX_INFORMATIONAL)
      return lm_error_set(err, LM_E_LIMIT, "more than %d informational (1xx) replies",
                          LM_HEAD_MAX_INFORMATIONAL);
    return 0;
  }
  stream->head_done = true;
  if (head->content_encoded)
    return lm_error_set(err, LM_E_FORMAT, "unexpected Content-Encoding in the reply");
  if (head->content_length <= 0 || head->status == 304)
    return 0;
  size_t length = (size_t)head->content_length;
  if (length > http2_stream_room(stream->reply))
    return http2_stream_too_large(stream);
  lm_buf_reserve(stream->reply, length < LM_HEAD_TRUSTED ? length : LM_HEAD_TRUSTED);
  return lm_buf_check(stream->reply, "the reply's body", err);
}

int
lm_http2_stream_append(struct lm_http2_stream *stream, const uint8_t *bytes, size_t len)
{
  if (!stream->head_done)
    return lm_error_set(&stream->err, LM_E_FORMAT, "the reply's body precedes its header");
  if (len > http2_stream_room(stream->reply))
    return http2_stream_too_large(stream);
  lm_buf_append(stream->reply, bytes, len);
  return lm_buf_check(stream->reply, "the reply's body", &stream->err);
}
