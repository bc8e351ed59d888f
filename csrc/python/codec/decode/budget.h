/* Limits of decoding: bytes, and work in hash tables. */
#ifndef LMPY_DECODE_BUDGET_H
#define LMPY_DECODE_BUDGET_H

#include "codec/state.h"

/* Functions return 0, or -1 and an exception. */

/* Counts down the bytes left. A Python object, since lambdamap.shipping.kinds calls it. */
struct lmpy_budget {
  PyObject_HEAD
  size_t left, max;  /* bytes */
  uint64_t compares; /* left, for keys that contain sets; see lmpy_check_keys */
  PyObject *failure; /* DecodeFailure; strong */
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

/* Refuse n keys, `stride` apart in memory, that collide too often in the table of a dict or set: the
 * hashes of numbers are not randomised. Propagates exceptions of hashing. */
int lmpy_check_keys(struct lmpy_budget *budget, PyObject *const *keys, size_t n, size_t stride,
                    bool set);

/* Ints in a dense range, which do not collide in a growing table. */
struct lmpy_dense {
  int64_t low, high;
  size_t size, usable; /* places of the table; keys before it grows */
};
#define LMPY_DENSE ((struct lmpy_dense){INT64_MAX, INT64_MIN, 8, 5})

/* Add the n-th int; returns whether the range is still dense. */
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

extern PyType_Spec lmpy_budget_spec;

#endif
