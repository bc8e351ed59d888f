#include "codec/decode/budget.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum {
  FEW_KEYS = 64,     /* up to this many are fast in any case, except with sets in them */
  USUAL_PLACES = 4,  /* probed per key, on average */
  MOST_PLACES = 256, /* keys not chosen to collide need about 100 at most */
  PLACES_ANYWAY = 4096,
  MOST_PAIRS = 8, /* of keys with the same hash, which are compared; per key, on average */
  PAIRS_ANYWAY = 2000,
  COMPARES = 1 << 26, /* in total, of items of sets within keys; about 20 ns each */
  SET_RUN = 9,        /* setobject.c: LINEAR_PROBES */
  SET_LARGE = 50000,  /* above this a set grows in smaller steps */
  SHIFT = 5           /* both: PERTURB_SHIFT */
};

static const char COLLISIONS[] = "too many hash collisions among the keys of a dict or set";

/* --- bytes --- */

struct lmpy_budget *
lmpy_budget_new(struct lmpy_codec_state *state, size_t max)
{
  struct lmpy_budget *self = PyObject_New(struct lmpy_budget, state->budget_type);
  if (self != NULL) {
    self->left = self->max = max;
    self->compares = COMPARES;
    self->failure = Py_NewRef(state->decode_failure);
  }
  return self;
}

int
lmpy_budget_over(const struct lmpy_budget *budget)
{
  PyErr_Format(budget->failure, "the value would take more than %zu bytes", budget->max);
  return -1;
}

static void
decode_budget_dealloc(PyObject *object)
{
  PyTypeObject *type = Py_TYPE(object);
  Py_DECREF(((struct lmpy_budget *)object)->failure);
  PyObject_Free(object);
  Py_DECREF(type);
}

static PyObject *
decode_budget_call(PyObject *object, PyObject *args, PyObject *kwargs)
{
  PyObject *number;
  if (kwargs != NULL || !PyArg_ParseTuple(args, "O!", &PyLong_Type, &number))
    return kwargs == NULL ? NULL
                          : PyErr_Format(PyExc_TypeError, "charge() takes no keyword arguments");
  int64_t bytes;
  int over = lmpy_int_value(number, &bytes);
  if (over < 0 || (over == 0 && bytes < 0))
    return PyErr_Format(PyExc_ValueError, "bytes must not be negative");
  if (lmpy_budget_charge((struct lmpy_budget *)object, over > 0 ? UINT64_MAX : (uint64_t)bytes) !=
      0)
    return NULL;
  Py_RETURN_NONE;
}

/* --- hash tables --- */

/* Find the place for a key with that hash, and count the places probed. `used` has a bit per place. */
static size_t
decode_budget_place_of(Py_hash_t hash, size_t mask, size_t run, const uint8_t *used,
                       uint64_t *places)
{
  size_t perturb = (size_t)hash, at = perturb & mask;
  for (;;) {
    size_t last = at + run <= mask ? at + run : at;
    for (size_t i = at; i <= last; i++) {
      ++*places;
      if ((used[i >> 3] >> (i & 7) & 1) == 0)
        return i;
    }
    perturb >>= SHIFT;
    at = (at * 5 + perturb + 1) & mask;
  }
}

/* Count the places probed to insert n keys with these hashes into an empty table of `size`, up to
 * `most`. -1 and an exception on failure. */
static int
decode_budget_count_places(const Py_hash_t *hashes, size_t n, size_t size, bool set, uint64_t most,
                           uint64_t *places)
{
  uint8_t *used = lm_alloc_zero(size / 8, 1);
  if (used == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  *places = 0;
  for (size_t i = 0; i < n && *places < most; i++) {
    size_t at = decode_budget_place_of(hashes[i], size - 1, set ? SET_RUN : 0, used, places);
    used[at >> 3] |= (uint8_t)(1u << (at & 7));
  }
  lm_free(used);
  return 0;
}

static int
decode_budget_compare_hashes(const void *one, const void *other)
{
  Py_hash_t a, b;
  memcpy(&a, one, sizeof a);
  memcpy(&b, other, sizeof b);
  return (a > b) - (a < b);
}

/* Count pairs with the same hash. Sorts the hashes. */
static uint64_t
decode_budget_count_pairs(Py_hash_t *hashes, size_t n)
{
  uint64_t pairs = 0;
  qsort(hashes, n, sizeof *hashes, decode_budget_compare_hashes);
  for (size_t i = 1, same = 0; i < n; i++) {
    same = hashes[i] == hashes[i - 1] ? same + 1 : 0;
    pairs += same;
  }
  return pairs;
}

static int
decode_budget_refuse(const struct lmpy_budget *budget)
{
  PyErr_SetString(budget->failure, COLLISIONS);
  return -1;
}

/* Simulate CPython's insertion of n keys with these hashes into the growing table of a dict or set, and
 * refuse them if it probes many more places than usual. */
static int
decode_budget_check_hashes(const struct lmpy_budget *budget, Py_hash_t *hashes, size_t n, bool set)
{
  bool usual = true;
  for (size_t size = 2 * FEW_KEYS, usable = 0; usable < n;) {
    usable = set ? size / 5 * 3 : size * 2 / 3;
    size_t some = n < usable ? n : usable;
    uint64_t places, most = (uint64_t)some * MOST_PLACES + PLACES_ANYWAY;
    if (decode_budget_count_places(hashes, some, size, set, most, &places) != 0)
      return -1;
    if (places >= most)
      return decode_budget_refuse(budget);
    usual = usual && places <= (uint64_t)some * USUAL_PLACES;
    size *= set && usable <= SET_LARGE ? 4 : 2;
  }
  if (usual || decode_budget_count_pairs(hashes, n) <= (uint64_t)n * MOST_PAIRS + PAIRS_ANYWAY)
    return 0;
  return decode_budget_refuse(budget);
}

/* Whether these keys cannot have been chosen to collide: texts and bytes, whose hash is randomised, or
 * ints in a dense range. */
static bool
decode_budget_are_harmless(PyObject *const *keys, size_t n, size_t stride)
{
  struct lmpy_dense dense = LMPY_DENSE;
  size_t i = 0;
  int64_t number;
  while (i < n && (PyUnicode_CheckExact(keys[i * stride]) || PyBytes_CheckExact(keys[i * stride])))
    i++;
  if (i > 0)
    return i == n;
  while (i < n && PyLong_CheckExact(keys[i * stride]) &&
         lmpy_int_value(keys[i * stride], &number) == 0 && lmpy_dense_add(&dense, i, number))
    i++;
  return i == n;
}

/* Comparing two frozensets with the same hash compares each member with those of the other set that
 * have its hash. Nested sets multiply this, so a few bytes can take arbitrarily long. The following
 * counts the compares in advance. */

struct weighed {
  Py_hash_t hash;
  PyObject *key; /* borrowed */
  uint64_t cost; /* compares needed to compare it with another key of that hash */
};

static int
decode_budget_compare_weighed(const void *one, const void *other)
{
  return decode_budget_compare_hashes(&((const struct weighed *)one)->hash,
                                      &((const struct weighed *)other)->hash);
}

static bool
decode_budget_holds_set(PyObject *key)
{
  if (PyFrozenSet_CheckExact(key))
    return true;
  bool found = false;
  if (PyTuple_Check(key))
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key) && !found; i++)
      found = decode_budget_holds_set(PyTuple_GET_ITEM(key, i));
  return found;
}

static int decode_budget_weigh(struct lmpy_budget *budget, PyObject *key, uint64_t *cost);

/* Count the compares of n keys with keys of the same hash in an equal second collection; `itself`: in
 * the same collection. Sorts them, and weighs those that are compared. */
static int
decode_budget_weigh_all(struct lmpy_budget *budget, struct weighed *keys, size_t n, size_t itself,
                        uint64_t *cost)
{
  qsort(keys, n, sizeof *keys, decode_budget_compare_weighed);
  for (size_t i = 0, same; i < n; i += same) {
    uint64_t sum = 0;
    for (same = 1; i + same < n && keys[i + same].hash == keys[i].hash;)
      same++;
    for (size_t j = i; j < i + same && same > itself; j++) {
      if (decode_budget_weigh(budget, keys[j].key, &keys[j].cost) != 0)
        return -1;
      sum += keys[j].cost;
      if (sum > COMPARES)
        return decode_budget_refuse(budget);
    }
    *cost += sum * (same - itself);
    if (*cost > COMPARES)
      return decode_budget_refuse(budget);
  }
  return 0;
}

static int
decode_budget_weigh_set(struct lmpy_budget *budget, PyObject *set, uint64_t *cost)
{
  PyObject *members = PySequence_Tuple(set);
  if (members == NULL)
    return -1;
  size_t n = (size_t)PyTuple_GET_SIZE(members);
  int result = -1;
  struct weighed *keys = lm_alloc_zero(n + 1, sizeof *keys);
  if (keys == NULL) {
    PyErr_NoMemory();
    goto done;
  }
  for (size_t i = 0; i < n; i++) {
    keys[i].key = PyTuple_GET_ITEM(members, (Py_ssize_t)i);
    if ((keys[i].hash = PyObject_Hash(keys[i].key)) == -1)
      goto done;
  }
  result = decode_budget_weigh_all(budget, keys, n, 0, cost);

done:
  lm_free(keys);
  Py_DECREF(members);
  return result;
}

/* Compute the cost of comparing a key; computing it is charged, too. */
static int
decode_budget_weigh(struct lmpy_budget *budget, PyObject *key, uint64_t *cost)
{
  *cost = 1;
  if (budget->compares == 0)
    return decode_budget_refuse(budget);
  budget->compares--;
  if (PyFrozenSet_CheckExact(key))
    return decode_budget_weigh_set(budget, key, cost);
  if (PyTuple_Check(key))
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(key); i++) {
      uint64_t item;
      if (decode_budget_weigh(budget, PyTuple_GET_ITEM(key, i), &item) != 0)
        return -1;
      *cost += item;
      if (*cost > COMPARES)
        return decode_budget_refuse(budget);
    }
  return 0;
}

/* Count the compares of those of n keys that contain sets and have the same hash. */
static int
decode_budget_check_sets(struct lmpy_budget *budget, PyObject *const *keys, size_t n, size_t stride)
{
  size_t first = 0, found = 0;
  while (first < n && !decode_budget_holds_set(keys[first * stride]))
    first++;
  if (n - first < 2)
    return 0;
  struct weighed *with_sets = lm_alloc_zero(n - first, sizeof *with_sets);
  if (with_sets == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  int result = 0;
  uint64_t cost = 0;
  for (size_t i = first; i < n && result == 0; i++)
    if (decode_budget_holds_set(keys[i * stride])) {
      with_sets[found].key = keys[i * stride];
      with_sets[found].hash = PyObject_Hash(keys[i * stride]);
      result = with_sets[found++].hash == -1 ? -1 : 0;
    }
  if (result == 0)
    result = decode_budget_weigh_all(budget, with_sets, found, 1, &cost);
  if (result == 0 && cost > budget->compares)
    result = decode_budget_refuse(budget);
  budget->compares -= result == 0 ? cost : 0;
  lm_free(with_sets);
  return result;
}

int
lmpy_check_keys(struct lmpy_budget *budget, PyObject *const *keys, size_t n, size_t stride,
                bool set)
{
  if (decode_budget_check_sets(budget, keys, n, stride) != 0)
    return -1;
  if (n <= FEW_KEYS || decode_budget_are_harmless(keys, n, stride))
    return 0;
  Py_hash_t *hashes = lm_alloc(n * sizeof *hashes);
  if (hashes == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  int result = 0;
  for (size_t i = 0; i < n && result == 0; i++)
    if ((hashes[i] = PyObject_Hash(keys[i * stride])) == -1)
      result = -1;
  if (result == 0)
    result = decode_budget_check_hashes(budget, hashes, n, set);
  lm_free(hashes);
  return result;
}

static PyObject *
decode_budget_keys(PyObject *object, PyObject *list)
{
  if (!PyList_CheckExact(list))
    return PyErr_Format(PyExc_TypeError, "keys() argument must be a list");
  PyObject *keys = PyList_AsTuple(list); /* hashing may run code that changes the list */
  if (keys == NULL)
    return NULL;
  size_t n = (size_t)PyTuple_GET_SIZE(keys);
  int result =
      lmpy_check_keys((struct lmpy_budget *)object, PySequence_Fast_ITEMS(keys), n, 1, false);
  Py_DECREF(keys);
  if (result != 0)
    return NULL;
  Py_RETURN_NONE;
}

static PyMethodDef budget_methods[] = {
    {"keys", decode_budget_keys, METH_O,
     PyDoc_STR(
         "keys($self, keys, /)\n--\n\nRaise DecodeFailure if a dict of these keys would be slow.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot budget_slots[] = {
    {Py_tp_dealloc, decode_budget_dealloc},
    {Py_tp_call, decode_budget_call},
    {Py_tp_methods, budget_methods},
    {Py_tp_doc,
     PyDoc_STR("The bytes that a value may still take; call it to charge some of them.")},
    {0, NULL},
};

PyType_Spec lmpy_budget_spec = {
    .name = "lambdamap._codec.Budget",
    .basicsize = sizeof(struct lmpy_budget),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = budget_slots,
};
