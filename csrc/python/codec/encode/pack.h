/* The state of encoding: the sections of a raw frame so far, the current depth, and the path to a value
 * that cannot be sent. All encoders append to one. Under the GIL. */
#ifndef LMPY_ENCODE_PACK_H
#define LMPY_ENCODE_PACK_H

#include "codec/state.h"

#include "wire/columns.h"

enum { LMPY_MAX_DEPTH = 400 /* readers accept 512; an extension counts like a container */ };

struct lmpy_pack {
  struct lmpy_codec_state *state; /* borrowed */
  struct lm_buf structure, packed, words, scratch;
  Py_buffer blob;  /* an array sent without copying; obj is NULL if none */
  size_t gathered; /* upper bound of the bytes in gathers that are not yet in a section */
  bool allow_pickle;
  bool callables;  /* as the parameter of encode: callables may be sent by name */
  bool canonical;  /* for a digest: what other processes would encode differently is refused */
  bool eager;      /* cells may change before the list is complete: copy them when taken */
  bool may_borrow; /* no code runs between packing and writing: large arrays are not copied */
  unsigned depth;  /* containers around the current value */
  PyObject *path;  /* path to a failure; strong list or NULL */
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
/* Prepend a step to the path to the failing value; the pending exception stays. */
void lmpy_pack_key_step(struct lmpy_pack *pack, PyObject *key);
void lmpy_pack_index_step(struct lmpy_pack *pack, Py_ssize_t index);
/* Add the path to the failing value to the pending EncodeFailure. Returns NULL. */
PyObject *lmpy_pack_path_error(struct lmpy_pack *pack);
/* After an Entangled failure, if pickles are allowed: the value to append instead, one pickle of the
 * whole. New reference; else NULL, and the failure is still pending. */
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

/* Reserve n more bytes at its end; NULL on failure. */
static inline uint8_t *
lmpy_put_room(struct lmpy_pack *pack, size_t n)
{
  return lm_buf_reserve(&pack->structure, n);
}

/* Increment depth; the caller decrements it on success. */
static inline int
lmpy_pack_enter(struct lmpy_pack *pack)
{
  if (pack->depth == LMPY_MAX_DEPTH)
    return lmpy_pack_too_deep(pack);
  pack->depth++;
  return 0;
}

/* Begin an ext with a value inside; its header is written at its end. */
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
