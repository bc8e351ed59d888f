#include "codec/decode/value.h"

#include "base/alloc.h"
#include "codec/decode/arrays.h"
#include "codec/decode/columns.h"
#include "codec/decode/text.h"
#include "codec/decode/types.h"
#include "codec/types.h"
#include "wire/mpread.h"
#include "wire/rules.h"

/* Of which none is more than lm_mpcheck counts. */
enum { ITEM = LM_COST_SLOT + LM_COST_NUMBER, PAIR = LM_COST_PAIR + 2 * LM_COST_NUMBER };

static PyObject *
decode_value_list(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end, uint32_t n,
                  unsigned depth)
{
  if (lmpy_budget_charge(unpack->budget, LM_COST_OBJECT + (uint64_t)n * ITEM) != 0)
    return NULL;
  PyObject *made = PyList_New(n);
  for (uint32_t i = 0; made != NULL && i < n; i++) {
    PyObject *item = lmpy_unpack_value(unpack, at, end, depth);
    if (item == NULL)
      Py_CLEAR(made);
    else
      PyList_SET_ITEM(made, i, item);
  }
  return made;
}

/* A dict of n pairs whose keys may be anything. `made` has the first `before` of them; all others are built
 * before one is put in. */
static int
decode_value_fill_dict(struct lmpy_unpack *unpack, PyObject *made, const uint8_t **at,
                       const uint8_t *end, size_t before, size_t n, unsigned depth)
{
  if ((size_t)PyDict_GET_SIZE(made) != before) {
    lmpy_unpack_refuse(unpack, LM_WRONG_SAME_KEY);
    return -1;
  }
  PyObject **cells = lm_alloc_zero(n, 2 * sizeof *cells), *key, *item;
  Py_ssize_t next = 0;
  size_t cell = 0;
  int result = -1;
  if (cells == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  for (; PyDict_Next(made, &next, &key, &item); cell += 2)
    cells[cell] = Py_NewRef(key);
  for (; cell < 2 * n; cell++)
    if ((cells[cell] = lmpy_unpack_value(unpack, at, end, depth)) == NULL)
      goto done;
  result = lmpy_check_keys(unpack->budget, cells, n, 2, false);
  for (cell = 2 * before; cell < 2 * n && result == 0; cell += 2)
    result = PyDict_SetItem(made, cells[cell], cells[cell + 1]);

done:
  for (cell = 0; cell < 2 * n; cell++)
    Py_XDECREF(cells[cell]);
  lm_free(cells);
  return result;
}

/* Keys that are texts, or ints of which each has a place of its own, are put in as they come. */
static PyObject *
decode_value_dict(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end, uint32_t n,
                  unsigned depth)
{
  if (lmpy_budget_charge(unpack->budget, LM_COST_OBJECT + (uint64_t)n * PAIR) != 0)
    return NULL;
  PyObject *made = PyDict_New();
  struct lmpy_dense dense = LMPY_DENSE;
  bool ints = false;
  for (uint32_t i = 0; made != NULL && i < n; i++) {
    PyObject *key = NULL, *item = NULL;
    struct lm_mp_token token = {0};
    const uint8_t *from = *at;
    lm_mp_next(at, end, &token);
    if (token.kind == LM_MP_STR && !ints) {
      key = lmpy_unpack_key(unpack, token.data, token.len);
    } else if (token.kind == LM_MP_UINT && (ints || i == 0) && token.value.u <= INT64_MAX &&
               lmpy_dense_add(&dense, i, token.value.i)) {
      ints = true;
      key = PyLong_FromLongLong(token.value.i);
    } else {
      *at = from;
      if (decode_value_fill_dict(unpack, made, at, end, i, n, depth) != 0)
        Py_CLEAR(made);
      break;
    }
    if (key != NULL)
      item = lmpy_unpack_value(unpack, at, end, depth);
    if (item == NULL || PyDict_SetItem(made, key, item) != 0)
      Py_CLEAR(made);
    Py_XDECREF(item);
    Py_XDECREF(key);
  }
  if (made != NULL && PyDict_GET_SIZE(made) != (Py_ssize_t)n) {
    Py_DECREF(made);
    return lmpy_unpack_refuse(unpack, LM_WRONG_SAME_KEY);
  }
  return made;
}

/* The array that is an ext's whole payload, as a tuple. */
static PyObject *
decode_value_inner(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  const uint8_t *at = ext->data, *end = ext->data + ext->len;
  struct lm_mp_token token = {0};
  lm_mp_next(&at, end, &token);
  if (token.kind != LM_MP_ARRAY)
    return lmpy_unpack_refuse(unpack, LM_WRONG_ARRAY);
  if (depth == 0)
    return lmpy_unpack_refuse(unpack, LM_WRONG_DEPTH);
  if (lmpy_budget_charge(unpack->budget, LM_COST_OBJECT + (uint64_t)token.count * ITEM) != 0)
    return NULL;
  PyObject *made = PyTuple_New(token.count);
  for (uint32_t i = 0; made != NULL && i < token.count; i++) {
    PyObject *item = lmpy_unpack_value(unpack, &at, end, depth - 1);
    if (item == NULL)
      Py_CLEAR(made);
    else
      PyTuple_SET_ITEM(made, i, item);
  }
  if (made != NULL && at != end) {
    Py_DECREF(made);
    return lmpy_unpack_refuse(unpack, LM_WRONG_EXT_TAIL);
  }
  return made;
}

static PyObject *
decode_value_set(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  PyObject *items = decode_value_inner(unpack, ext, depth);
  if (items == NULL)
    return NULL;
  PyObject *made = NULL;
  Py_ssize_t n = PyTuple_GET_SIZE(items);
  PyObject *const *members = PySequence_Fast_ITEMS(items) + 1;
  if (n == 0 || !PyBool_Check(PyTuple_GET_ITEM(items, 0))) {
    lmpy_unpack_refuse(unpack, "SET extension without a frozen flag");
  } else if (lmpy_budget_charge(unpack->budget, (uint64_t)n * LM_COST_MEMBER) == 0 &&
             lmpy_check_keys(unpack->budget, members, (size_t)n - 1, 1, true) == 0) {
    PyObject *rest = PyTuple_GetSlice(items, 1, n);
    if (rest != NULL)
      made = PyTuple_GET_ITEM(items, 0) == Py_True ? PyFrozenSet_New(rest) : PySet_New(rest);
    Py_XDECREF(rest);
    if (made != NULL && PySet_GET_SIZE(made) != n - 1) {
      Py_CLEAR(made);
      lmpy_unpack_refuse(unpack, "duplicate item in a set");
    }
  }
  Py_DECREF(items);
  return made;
}

/* --- extensions --- */

static PyObject *
decode_value_kind(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  struct lmpy_codec_state *state = unpack->state;
  PyObject *payload = NULL, *number = NULL, *made = NULL;
  PyObject *names = lmpy_unpack_names(unpack);
  if (names == NULL || lmpy_types_load_kinds(state) != 0 ||
      (++unpack->kinds % LMPY_KINDS_PAUSE == 0 && lmpy_unpack_look(unpack) != 0) ||
      lmpy_budget_charge(unpack->budget, LM_COST_KIND) != 0)
    return NULL;
  if (ext->ext == LM_EXT_PICKLE) {
    if (!unpack->opts->allow_pickle) {
      PyErr_SetString(state->pickle_refused,
                      "the value contains a pickle, and unpickling can run any code: pass "
                      "allow_pickle=True if you trust the sender");
      return NULL;
    }
    payload = PyBytes_FromStringAndSize((const char *)ext->data, ext->len);
  } else {
    payload = decode_value_inner(unpack, ext, depth);
  }
  number = PyLong_FromLong(ext->ext);
  if (payload != NULL && number != NULL)
    made = PyObject_CallFunctionObjArgs(state->restore, number, payload, names,
                                        (PyObject *)unpack->budget, NULL);
  Py_XDECREF(number);
  Py_XDECREF(payload);
  return made;
}

static PyObject *
decode_value_extension(struct lmpy_unpack *unpack, const struct lm_mp_token *ext, unsigned depth)
{
  if (!lm_ext_is_known(ext->ext))
    return PyErr_Format(unpack->state->decode_failure, LM_WRONG_EXT, ext->ext, LM_EXT_FRAMES,
                        LM_EXT_PICKLE);
  switch ((enum lm_ext)ext->ext) {
  case LM_EXT_LIST:
    return lmpy_unpack_list(unpack, ext->data, ext->data + ext->len, depth);
  case LM_EXT_BUFFER:
    return lmpy_unpack_buffer(unpack, ext->data, ext->data + ext->len);
  case LM_EXT_BIG_INT:
    if (ext->len == 0)
      return lmpy_unpack_refuse(unpack, LM_WRONG_BIG_INT);
    if (lmpy_budget_charge(unpack->budget, (uint64_t)ext->len * 2) != 0)
      return NULL;
    return lmpy_int_from_bytes(ext->data, ext->len);
  case LM_EXT_TUPLE:
    return decode_value_inner(unpack, ext, depth);
  case LM_EXT_WIDE_STR:
    if (lmpy_budget_charge(unpack->budget, (uint64_t)ext->len * 4) != 0)
      return NULL;
    return PyUnicode_DecodeUTF8((const char *)ext->data, ext->len, "surrogatepass");
  case LM_EXT_BYTEARRAY:
    if (lmpy_budget_charge(unpack->budget, ext->len) != 0)
      return NULL;
    return PyByteArray_FromStringAndSize((const char *)ext->data, ext->len);
  case LM_EXT_SET:
    return decode_value_set(unpack, ext, depth);
  case LM_EXT_DATETIME:
  case LM_EXT_NDARRAY:
  case LM_EXT_DECIMAL:
  case LM_EXT_NAMED:
  case LM_EXT_PANDAS:
  case LM_EXT_NUMPY:
  case LM_EXT_FRAMES:
  case LM_EXT_PICKLE:
    break;
  }
  return decode_value_kind(unpack, ext, depth);
}

PyObject *
lmpy_unpack_value(struct lmpy_unpack *unpack, const uint8_t **at, const uint8_t *end,
                  unsigned depth)
{
  struct lm_mp_token token = {0};
  if (lmpy_unpack_work(unpack, 1) != 0)
    return NULL;
  lm_mp_next(at, end, &token);
  switch (token.kind) {
  case LM_MP_BAD:
    return lmpy_unpack_refuse(unpack, LM_WRONG_TOKEN);
  case LM_MP_NIL:
    return Py_NewRef(Py_None);
  case LM_MP_FALSE:
    return Py_NewRef(Py_False);
  case LM_MP_TRUE:
    return Py_NewRef(Py_True);
  case LM_MP_UINT:
    return PyLong_FromUnsignedLongLong(token.value.u);
  case LM_MP_INT:
    return PyLong_FromLongLong(token.value.i);
  case LM_MP_FLOAT:
    return PyFloat_FromDouble(token.value.f);
  case LM_MP_STR:
    if (lmpy_budget_charge(unpack->budget, (uint64_t)token.len * 4) != 0)
      return NULL;
    return lmpy_text(token.data, token.len);
  case LM_MP_BIN:
    if (lmpy_budget_charge(unpack->budget, token.len) != 0)
      return NULL;
    return PyBytes_FromStringAndSize((const char *)token.data, token.len);
  case LM_MP_ARRAY:
  case LM_MP_MAP:
  case LM_MP_EXT:
    break;
  }
  if (depth == 0)
    return lmpy_unpack_refuse(unpack, LM_WRONG_DEPTH);
  if (token.kind == LM_MP_ARRAY)
    return decode_value_list(unpack, at, end, token.count, depth - 1);
  if (token.kind == LM_MP_MAP)
    return decode_value_dict(unpack, at, end, token.count, depth - 1);
  return decode_value_extension(unpack, &token, depth - 1);
}
