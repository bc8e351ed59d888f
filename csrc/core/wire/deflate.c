#include "wire/deflate.h"

#include <zlib.h>

#include "base/alloc.h"

struct lm_deflate {
  z_stream stream;
};

struct lm_inflate {
  z_stream stream;
};

static voidpf
deflate_take_memory(voidpf opaque, uInt count, uInt size)
{
  (void)opaque;
  if (size != 0 && count > SIZE_MAX / size)
    return NULL;
  return lm_alloc((size_t)count * size);
}

static void
deflate_give_memory(voidpf opaque, voidpf block)
{
  (void)opaque;
  lm_free(block);
}

struct lm_deflate *
lm_deflate_new(void)
{
  struct lm_deflate *deflater = lm_alloc_zero(1, sizeof *deflater);
  if (deflater == NULL)
    return NULL;
  deflater->stream.zalloc = deflate_take_memory;
  deflater->stream.zfree = deflate_give_memory;
  if (deflateInit2(&deflater->stream, 1, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
    lm_free(deflater);
    return NULL;
  }
  return deflater;
}

void
lm_deflate_destroy(struct lm_deflate *deflater)
{
  if (deflater == NULL)
    return;
  deflateEnd(&deflater->stream);
  lm_free(deflater);
}

struct lm_inflate *
lm_inflate_new(void)
{
  struct lm_inflate *inflater = lm_alloc_zero(1, sizeof *inflater);
  if (inflater == NULL)
    return NULL;
  inflater->stream.zalloc = deflate_take_memory;
  inflater->stream.zfree = deflate_give_memory;
  if (inflateInit2(&inflater->stream, -15) != Z_OK) {
    lm_free(inflater);
    return NULL;
  }
  return inflater;
}

void
lm_inflate_destroy(struct lm_inflate *inflater)
{
  if (inflater == NULL)
    return;
  inflateEnd(&inflater->stream);
  lm_free(inflater);
}

int
lm_deflate_run(struct lm_deflate *deflater, const uint8_t *bytes, size_t n, size_t max_out,
               struct lm_buf *out, struct lm_error *err)
{
  if (n > UINT32_MAX || max_out > UINT32_MAX)
    return lm_error_set(err, LM_E_LIMIT, "%zu bytes are more than can be deflated at once", n);
  uint8_t *room = lm_buf_reserve(out, max_out);
  if (room == NULL)
    return lm_buf_check(out, "the deflated section", err);

  z_stream *stream = &deflater->stream;
  if (deflateReset(stream) != Z_OK)
    return lm_error_set(err, LM_E_SYSTEM, "deflateReset failed");
  stream->next_in = (Bytef *)(uintptr_t)bytes;
  stream->avail_in = (uInt)n;
  stream->next_out = room;
  stream->avail_out = (uInt)max_out;
  int said = deflate(stream, Z_FINISH);
  if (said == Z_STREAM_END) {
    out->len += max_out - stream->avail_out;
    return 1;
  }
  if (said == Z_OK || said == Z_BUF_ERROR)
    return 0;
  return lm_error_set(err, LM_E_SYSTEM, "deflate failed (%d)", said);
}

int
lm_inflate_run(struct lm_inflate *inflater, const uint8_t *bytes, size_t n, uint8_t *raw,
               size_t raw_n, struct lm_error *err)
{
  if (n > UINT32_MAX || raw_n > UINT32_MAX)
    return lm_error_set(err, LM_E_LIMIT, "%zu bytes are more than can be inflated at once", n);
  z_stream *stream = &inflater->stream;
  if (inflateReset(stream) != Z_OK)
    return lm_error_set(err, LM_E_SYSTEM, "inflateReset failed");
  stream->next_in = (Bytef *)(uintptr_t)bytes;
  stream->avail_in = (uInt)n;
  stream->next_out = raw;
  stream->avail_out = (uInt)raw_n;
  int said = inflate(stream, Z_FINISH);
  if (said == Z_STREAM_END && stream->avail_in == 0 && stream->avail_out == 0)
    return 0;
  if (said == Z_MEM_ERROR)
    return lm_error_nomem(err, 1 << 15);
  if (said == Z_DATA_ERROR)
    return lm_error_set(err, LM_E_FORMAT, "deflated section is corrupt");
  return lm_error_set(err, LM_E_FORMAT,
                      "deflated section does not inflate to the %zu bytes it declares", raw_n);
}
