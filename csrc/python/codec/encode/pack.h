/* What is packed so far: the sections of a raw frame, how deep the present value stands, and the way to
 * a value that cannot travel. Everything that encodes appends to one of these. Under the GIL. */
#ifndef LMPY_ENCODE_PACK_H
#define LMPY_ENCODE_PACK_H

#include "codec/state.h"

#include "wire/columns.h"

enum { LMPY_MAX_DEPTH = 400 /* a reader takes 512; an extension counts like a container */ };

struct lmpy_pack {
  struct lmpy_codec_state *state; /* borrowed */
  struct lm_buf structure, packed, words, scratch;
  Py_buffer blob;  /* an array that is read where it is; its obj is NULL while there is none */
  size_t gathered; /* bytes in gathers that are not yet in a section, at most */
  bool allow_pickle;
  bool callables;  /* whether a callable may be named that is more than plain */
  bool eager;      /* what was taken is the caller's again before the list is complete */
  bool may_borrow; /* nothing runs between packing and writing: large arrays need no copy */
  unsigned depth;  /* containers around the present value */
  PyObject *path;  /* strong list of what leads to a failure, or NULL */
};

void lmpy_pack_init(struct lmpy_pack *pack, struct lmpy_codec_state *state, bool allow_pickle,
                    bool callables);
void lmpy_pack_clean_up(struct lmpy_pack *pack);
/* The sections. */
void lmpy_pack_view(const struct lmpy_pack *pack, struct lm_frame_view *view);

/* --- failures --- */

/* Raise EncodeFailure; MemoryError, or an EncodeFailure where a section is full. Return -1. */
int lmpy_pack_refuse(struct lmpy_pack *pack, const char *format, ...);
int lmpy_pack_no_memory(struct lmpy_pack *pack);
/* Put a step in front of the way to the failing value; the exception that is pending stays. */
void lmpy_pack_key_step(struct lmpy_pack *pack, PyObject *key);
void lmpy_pack_index_step(struct lmpy_pack *pack, Py_ssize_t index);
/* Put the way to the failing value on the pending EncodeFailure. Returns NULL. */
PyObject *lmpy_pack_path_error(struct lmpy_pack *pack);
/* After a failure: the value to append in its place, one pickle of all of it, where it is Entangled and
 * pickles are allowed. New reference; NULL and the failure, which is still pending. */
PyObject *lmpy_pack_whole(struct lmpy_pack *pack, PyObject *value);

/* --- appending to the structure. All: 0, or -1 and an exception. --- */

int lmpy_pack_too_deep(struct lmpy_pack *pack); /* -1 */

static inline int
lmpy_put(struct lmpy_pack *pack, const void *bytes, size_t n)
{
  lm_buf_append(&pack->structure, bytes, n);
  return pack->structure.failed == LM_OK ? 0 : lmpy_pack_no_memory(pack);
}

static inline int
lmpy_put_byte(struct lmpy_pack *pack, uint8_t byte)
{
  return lmpy_put(pack, &byte, 1);
}

/* Room for n bytes more at its end, or NULL. */
static inline uint8_t *
lmpy_put_room(struct lmpy_pack *pack, size_t n)
{
  return lm_buf_reserve(&pack->structure, n);
}

/* depth + 1; the caller takes it away on success. */
static inline int
lmpy_pack_enter(struct lmpy_pack *pack)
{
  if (pack->depth == LMPY_MAX_DEPTH)
    return lmpy_pack_too_deep(pack);
  pack->depth++;
  return 0;
}

/* Where an ext with a value inside begins; its head is written at its end. */
static inline int
lmpy_pack_begin_ext(struct lmpy_pack *pack, size_t *mark)
{
  *mark = pack->structure.len;
  return lmpy_put(pack, "\0\0\0\0\0\0", 6);
}

int lmpy_pack_end_ext(struct lmpy_pack *pack, int ext, size_t mark);

int lmpy_put_varint(struct lmpy_pack *pack, uint64_t n);

static inline void
lmpy_put_be(uint8_t *at, uint64_t n, int bytes)
{
  for (int i = bytes - 1; i >= 0; i--, n >>= 8)
    at[i] = (uint8_t)n;
}

#endif
