#include "base/buf.h"

#include <string.h>

#include "base/alloc.h"

enum { FIRST_BYTES = 256 };

void
lm_buf_init(struct lm_buf *buf, size_t max_bytes)
{
  *buf = (struct lm_buf){.max = max_bytes};
}

void
lm_buf_clean_up(struct lm_buf *buf)
{
  lm_free(buf->data);
  lm_buf_init(buf, buf->max);
}

void
lm_buf_clear(struct lm_buf *buf)
{
  buf->len = 0;
  buf->failed = LM_OK;
}

static bool
buf_grow(struct lm_buf *buf, size_t need)
{
  size_t want = buf->cap + buf->cap / 2;
  if (want < need)
    want = need;
  if (want < FIRST_BYTES)
    want = FIRST_BYTES;
  if (want > buf->max)
    want = buf->max; /* need <= max */
  if (want == 0)
    want = 1;
  uint8_t *data = lm_realloc(buf->data, want);
  if (data == NULL)
    return false;
  buf->data = data;
  buf->cap = want;
  return true;
}

uint8_t *
lm_buf_reserve(struct lm_buf *buf, size_t extra)
{
  if (buf->failed != LM_OK)
    return NULL;
  if (buf->len > buf->max || extra > buf->max - buf->len) {
    buf->failed = LM_E_LIMIT;
    return NULL;
  }
  if ((extra > buf->cap - buf->len || buf->data == NULL) && !buf_grow(buf, buf->len + extra)) {
    buf->failed = LM_E_NOMEM;
    return NULL;
  }
  return buf->data + buf->len;
}

void
lm_buf_append(struct lm_buf *buf, const void *bytes, size_t n)
{
  if (n == 0)
    return;
  uint8_t *room = lm_buf_reserve(buf, n);
  if (room == NULL)
    return;
  memcpy(room, bytes, n);
  buf->len += n;
}

void
lm_buf_byte(struct lm_buf *buf, uint8_t byte)
{
  uint8_t *room = lm_buf_reserve(buf, 1);
  if (room == NULL)
    return;
  *room = byte;
  buf->len++;
}

void
lm_buf_str(struct lm_buf *buf, const char *text)
{
  lm_buf_append(buf, text, strlen(text));
}

void
lm_buf_uint(struct lm_buf *buf, unsigned long long n)
{
  char digits[20];
  size_t at = sizeof digits;
  do
    digits[--at] = (char)('0' + n % 10);
  while ((n /= 10) != 0);
  lm_buf_append(buf, digits + at, sizeof digits - at);
}

void
lm_buf_move(struct lm_buf *to, struct lm_buf *from)
{
  *to = *from;
  lm_buf_init(from, from->max);
}

int
lm_buf_check(const struct lm_buf *buf, const char *what, struct lm_error *err)
{
  if (buf->failed == LM_OK)
    return 0;
  if (buf->failed == LM_E_NOMEM)
    return lm_error_set(err, LM_E_NOMEM, "out of memory: cannot grow %s beyond %zu bytes", what,
                        buf->cap);
  return lm_error_set(err, LM_E_LIMIT, "%s is larger than %zu bytes", what, buf->max);
}
