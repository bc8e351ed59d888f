/* What the files of lambdamap._codec share: the module's state, packing and unpacking. */
#ifndef LMPY_CODEC_H
#define LMPY_CODEC_H

#include "lmpy.h"

#include <string.h>

#include "base/buf.h"
#include "wire/columns.h"
#include "wire/frame.h"

enum { LMPY_KEYS = 512, LMPY_KEY_BYTES = 32 /* longer keys are not kept */ };

/* A text that was a dict's key lately. */
struct lmpy_key {
  PyObject *text; /* strong; NULL: empty */
  uint32_t hash;
  uint8_t len;
  char bytes[LMPY_KEY_BYTES];
};

struct lmpy_codec_state {
  PyObject *codec_error, *encode_failure, *decode_failure, *entangled; /* strong */
  PyTypeObject *packer_type, *chunker_type, *budget_type;              /* strong */
  PyObject *kinds; /* module lambdamap.shipping.kinds, imported when first needed; strong or NULL */
  PyObject *reduce, *restore; /* its functions; strong or NULL */
  PyObject *data, *trusted;   /* lambdamap.shipping.lookup.DATA and TRUSTED; strong or NULL */
  /* numpy's, decimal's and pandas', once met; strong or NULL */
  PyTypeObject *float64, *int64, *decimal, *frame;
  PyObject *names[16];          /* interned texts; strong */
  struct lm_coder *coder;       /* owned; under the GIL */
  struct lm_coder *spare_coder; /* owned or NULL; who takes it may use it without the GIL */
  struct lmpy_gather *spare;    /* kept from the last list; owned or NULL */
  struct lm_buf spare_bufs[4];  /* kept from the last encode */
  struct lm_buf spare_raw;      /* and from the last decode */
  struct lmpy_key keys[LMPY_KEYS];
};

enum lmpy_name {
  LMPY_REDUCE,
  LMPY_RESTORE,
  LMPY_FLOAT64,
  LMPY_INT64,
  LMPY_DECIMAL,
  LMPY_DATAFRAME,
  LMPY_FRAME_SHAPE,
  LMPY_FRAME_SNAPSHOT,
  LMPY_FRAMES_REDUCE,
  LMPY_DATA,
  LMPY_TRUSTED,
  LMPY_MODULE,
  LMPY_NUMPY,
  LMPY_FROM_SIGNAL,
  LMPY_WHOLE
};

/* The functions of lambdamap.shipping.kinds; 0, or -1 and an exception. */
int lmpy_codec_load_kinds(struct lmpy_codec_state *state);
/* numpy.float64, numpy.int64 or decimal.Decimal out of modules that are loaded: 1 and the state's
 * member set, 0, or -1 and an exception. */
int lmpy_codec_meet(struct lmpy_codec_state *state, PyTypeObject *type);

/* For reading: decimal.Decimal imported; numpy's scalars found where numpy is loaded, or may be. 0, or
 * -1 and an exception. */
int lmpy_codec_need_decimal(struct lmpy_codec_state *state);
struct lmpy_unpack;
PyObject *lmpy_codec_names(struct lmpy_unpack *unpack); /* borrowed; NULL and an exception */
int lmpy_codec_need_numpy(struct lmpy_unpack *unpack);
/* One of those scalars. */
PyObject *lmpy_numpy_float(struct lmpy_codec_state *state, double number);
PyObject *lmpy_numpy_int(struct lmpy_codec_state *state, int64_t number);

/* A buffer that is no longer needed: kept for the next call when nothing is, and it is not large. */
void lmpy_codec_keep(struct lm_buf *spare, struct lm_buf *buf);

/* --- packing: a value appended to the sections of a raw frame --- */

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
/* Append one value. -1 and an exception: EncodeFailure(message, path) where the value is at fault;
 * the sections then hold a part of it, to be cut off by the caller. */
int lmpy_pack_value(struct lmpy_pack *pack, PyObject *value);
/* After a failure: the value to append in its place, one pickle of all of it, where it is Entangled and
 * pickles are allowed. New reference; NULL and the failure, which is still pending. */
PyObject *lmpy_pack_whole(struct lmpy_pack *pack, PyObject *value);
/* The sections. */
void lmpy_pack_view(const struct lmpy_pack *pack, struct lm_frame_view *view);

/* Put the way to the failing value on the pending EncodeFailure. Returns NULL. */
PyObject *lmpy_codec_path_error(struct lmpy_pack *pack);

/* What the files that pack share. All: 0, or -1 and an exception. */
int lmpy_pack_refuse(struct lmpy_pack *pack, const char *format, ...);
int lmpy_pack_no_memory(struct lmpy_pack *pack);
int lmpy_pack_enter(struct lmpy_pack *pack); /* depth + 1; the caller takes it away on success */
int lmpy_pack_begin_ext(struct lmpy_pack *pack, size_t *mark);
int lmpy_pack_end_ext(struct lmpy_pack *pack, int ext, size_t mark);
int lmpy_pack_array(struct lmpy_pack *pack, PyObject *parts);   /* of lambdamap.shipping.kinds; arrays.c */
void lmpy_pack_key_step(struct lmpy_pack *pack, PyObject *key); /* of the way to a failure */
void lmpy_pack_index_step(struct lmpy_pack *pack, Py_ssize_t index);

/* --- gathering: cells taken one by one into columns, written when the list is complete --- */

/* One column. It holds copies, never a reference to a cell (a DICT holds its keys). Cells of the
 * kind of the first stand in `data`; from the first that does not fit on, all are packed one by one
 * into `tail`. */
struct lmpy_gather {
  uint8_t kind;    /* enum lm_column_kind, or LMPY_EMPTY while there is no cell but None */
  uint8_t element; /* enum lm_column_element */
  bool ascii;      /* TEXT: all of it */
  uint32_t n;      /* cells before the tail */
  uint32_t dense;  /* of those, not None */
  uint32_t n_tail;
  uint32_t n_inner;
  struct lm_buf data;         /* FLOAT: doubles; INT: int64_t; TEXT: bytes; BOOL: a byte each */
  struct lm_buf lengths;      /* TEXT, LIST: uint32_t */
  struct lm_buf present;      /* a byte a cell; empty while none was None */
  struct lm_buf tail;         /* msgpack */
  struct lm_buf tail_lengths; /* uint32_t */
  struct lmpy_gather *inner;  /* LIST: 1; DICT, TUPLE: n_inner; owned */
  PyObject **keys;            /* DICT: n_inner, strong; owned */
  PyObject *shape, *frames;   /* FRAMES: lambdamap.shipping.kinds.frames has made it; a list of copies; strong */
};

enum { LMPY_EMPTY = 0xff };

struct lmpy_gather *lmpy_gather_new(void); /* NULL when out of memory */
void lmpy_gather_destroy(struct lmpy_gather *gather);
/* One more cell. On failure the gather may hold a part of it: cut it. */
int lmpy_gather_append(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *value);
/* The items of a list, or -1; `list` may change while it is read, which is refused. */
int lmpy_gather_list(struct lmpy_pack *pack, struct lmpy_gather *gather, PyObject *list);
uint32_t lmpy_gather_size(const struct lmpy_gather *gather);
/* Take away all cells but the first n. */
void lmpy_gather_cut(struct lmpy_gather *gather, uint32_t n);
/* No cells; shape and memory are kept for the next list, unless they were of no use. */
void lmpy_gather_clear(struct lmpy_gather *gather);
size_t lmpy_gather_memory(const struct lmpy_gather *gather);
/* Write `list as one column`, an extension, to the pack's sections. */
int lmpy_gather_write(struct lmpy_pack *pack, struct lmpy_gather *gather);
/* The column that n doubles are, in the pack's sections. */
int lmpy_write_doubles(struct lmpy_pack *pack, const double *doubles, size_t n, uint8_t element,
                       bool may_be_const);
/* The column that n integers are. Changes them. */
int lmpy_write_ints(struct lmpy_pack *pack, int64_t *numbers, size_t n, uint8_t element);
int lmpy_write_varint(struct lmpy_pack *pack, uint64_t n);

/* An extension whose payload is an array of these. */
int lmpy_pack_parts(struct lmpy_pack *pack, int ext, PyObject *parts);

/* dates.c: 1 and *n for an exact date, or an exact naive datetime with fold 0; 0 for others. */
int lmpy_date_number(PyObject *value, uint8_t *element, int64_t *n);
PyObject *lmpy_date_from(uint8_t element, int64_t n); /* NULL and an exception when out of range */

/* --- unpacking --- */

/* --- budget.c: what reading may cost. All: 0, or -1 and an exception. --- */

/* Counts bytes down. An object that may be kept: lambdamap.shipping.kinds calls it. */
struct lmpy_budget {
  PyObject_HEAD size_t left, max; /* bytes */
  uint64_t compares;              /* of keys that hold sets; see lmpy_check_keys */
  PyObject *failure;              /* DecodeFailure; strong */
};

struct lmpy_budget *lmpy_budget_new(struct lmpy_codec_state *state, size_t max); /* or NULL */
int lmpy_budget_over(const struct lmpy_budget *budget);                          /* -1 */

static inline int
lmpy_budget_charge(struct lmpy_budget *budget, uint64_t bytes)
{
  if (bytes > budget->left)
    return lmpy_budget_over(budget);
  budget->left -= (size_t)bytes;
  return 0;
}

/* Refuse n keys, each `stride` after the one before, of which a dict's or a set's table would be slow: the
 * hashes of numbers anybody can choose. Raises what hashing raises. */
int lmpy_check_keys(struct lmpy_budget *budget, PyObject *const *keys, size_t n, size_t stride,
                    bool set);

/* Ints that follow each other closely: each has a place of its own in a table as it grows. */
struct lmpy_dense {
  int64_t low, high;
  size_t size, usable; /* places of the table, keys that it takes before it grows */
};
#define LMPY_DENSE ((struct lmpy_dense){INT64_MAX, INT64_MIN, 8, 5})

/* Whether the n-th is one of them, as all were before it. */
static inline bool
lmpy_dense_add(struct lmpy_dense *dense, size_t n, int64_t number)
{
  dense->low = number < dense->low ? number : dense->low;
  dense->high = number > dense->high ? number : dense->high;
  if (n >= dense->usable) {
    dense->size *= 2;
    dense->usable = dense->size * 2 / 3; /* as in a dict; a set is never smaller */
  }
  return (uint64_t)dense->high - (uint64_t)dense->low < dense->size;
}

struct lmpy_unpack_opts {
  bool allow_pickle;
  PyObject *names; /* borrowed; lambdamap.shipping.lookup.Names, or None: what allow_pickle says */
  PyObject *check; /* borrowed; called now and then, its exception ends the reading; or None */
  struct lm_frame_limits limits;
};

struct lmpy_unpack {
  struct lmpy_codec_state *state;
  const struct lmpy_unpack_opts *opts;
  struct lm_sections sections;
  struct lmpy_budget *budget; /* strong; what columns, containers and kinds still may take */
  unsigned work;              /* values since the last pause */
  int64_t switched_ms;        /* when other threads could run last; 0: not yet */
  unsigned kinds;             /* calls of lambdamap.shipping.kinds */
  bool stopped;               /* a signal's handler or the check has raised */
  int collecting;             /* the collector is off, and was on: on again where others may run */
};

/* The value of a raw frame (new reference). Safe on frames that lm_mpcheck has not seen. */
PyObject *lmpy_unpack(struct lmpy_codec_state *state, const uint8_t *raw, size_t raw_len,
                      const struct lmpy_unpack_opts *opts);

enum {
  LMPY_PAUSE = 1 << 16, /* values between two looks at signals: some milliseconds */
  LMPY_KINDS_PAUSE = 16 /* and calls of lambdamap.shipping.kinds, some of which take milliseconds */
};

/* Heed signals and the caller's check; lmpy_unpack_pause lets other threads run before. */
int lmpy_unpack_look(struct lmpy_unpack *unpack);
int lmpy_unpack_pause(struct lmpy_unpack *unpack);

static inline int
lmpy_unpack_work(struct lmpy_unpack *unpack, unsigned values)
{
  unpack->work += values;
  return unpack->work < LMPY_PAUSE ? 0 : lmpy_unpack_pause(unpack);
}

/* What the files that unpack share; NULL and an exception on failure. */
PyObject *lmpy_unpack_value(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end,
                            unsigned depth);
PyObject *lmpy_unpack_key(struct lmpy_unpack *unpack, const uint8_t *bytes, uint32_t len);
PyObject *lmpy_unpack_refuse(struct lmpy_unpack *unpack, const char *text);
/* Payloads of LM_EXT_LIST and LM_EXT_BUFFER. */
PyObject *lmpy_unpack_list(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end,
                           unsigned depth);
PyObject *lmpy_unpack_buffer(struct lmpy_unpack *unpack, const uint8_t *at, const uint8_t *end);

/* The copy of a text, most of which are too short for a call. */
static inline void
lmpy_copy_text(uint8_t *to, const uint8_t *from, size_t n)
{
  uint64_t eight, last;
  uint32_t four, tail;
  if (n > 16) {
    memcpy(to, from, n);
  } else if (n >= 8) {
    memcpy(&eight, from, 8);
    memcpy(&last, from + n - 8, 8);
    memcpy(to, &eight, 8);
    memcpy(to + n - 8, &last, 8);
  } else if (n >= 4) {
    memcpy(&four, from, 4);
    memcpy(&tail, from + n - 4, 4);
    memcpy(to, &four, 4);
    memcpy(to + n - 4, &tail, 4);
  } else {
    for (size_t i = 0; i < n; i++)
      to[i] = from[i];
  }
}

static inline PyObject *
lmpy_text(const uint8_t *bytes, uint32_t len)
{
  uint64_t high = 0, eight;
  uint32_t i = 0;
  for (; i + 8 <= len; i += 8) {
    memcpy(&eight, bytes + i, 8);
    high |= eight;
  }
  for (; i < len; i++)
    high |= (uint64_t)bytes[i];
  if ((high & UINT64_C(0x8080808080808080)) != 0)
    return PyUnicode_DecodeUTF8((const char *)bytes, len, NULL);
  PyObject *text = PyUnicode_New(len, 127);
  if (text != NULL && len > 0)
    lmpy_copy_text(PyUnicode_1BYTE_DATA(text), bytes, len);
  return text;
}

/* json.c: encode_json. */
PyObject *lmpy_encode_json(PyObject *module, PyObject *object);

extern PyType_Spec lmpy_packer_spec, lmpy_chunker_spec, lmpy_budget_spec;

#endif
