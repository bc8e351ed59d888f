#include "codec/encode/value.h"

#include <string.h>

#include "codec/encode/arrays.h"
#include "codec/encode/columns.h"
#include "codec/types.h"
#include "wire/mpread.h"

enum {
  MIN_COLUMN = 4, /* lists of at least so many floats or dicts become columns */
  MIN_SHORT = 12  /* the same for values that are short in msgpack */
};

/* --- headers --- */

/* Write msgpack's header of a str, bin, array or map; there must be room. Returns its length. */
static inline size_t
encode_value_head(uint8_t *at, uint32_t n, uint8_t fix, uint32_t fix_max, uint8_t code8,
                  uint8_t code16)
{
  if (fix != 0 && n <= fix_max) {
    at[0] = (uint8_t)(fix | n);
    return 1;
  }
  if (code8 != 0 && n < 256) {
    at[0] = code8;
    at[1] = (uint8_t)n;
    return 2;
  }
  if (n < 65536) {
    at[0] = code16;
    lmpy_put_be(at + 1, n, 2);
    return 3;
  }
  at[0] = (uint8_t)(code16 + 1);
  lmpy_put_be(at + 1, n, 4);
  return 5;
}

static int
encode_value_put_container(struct lmpy_pack *pack, Py_ssize_t n, uint8_t fix, uint8_t code16)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "the container has more than 2^32 items");
  uint8_t *at = lm_buf_reserve(&pack->structure, 5);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  pack->structure.len += encode_value_head(at, (uint32_t)n, fix, 15, 0, code16);
  return 0;
}

/* Write a str or bin: its header, as above, and its at most 4 GB. */
static inline int
encode_value_put(struct lmpy_pack *pack, uint8_t fix, uint32_t fix_max, uint8_t code8,
                 uint8_t code16, const char *bytes, size_t n)
{
  uint8_t *at = lm_buf_reserve(&pack->structure, n + 5);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  size_t used = encode_value_head(at, (uint32_t)n, fix, fix_max, code8, code16);
  memcpy(at + used, bytes, n);
  pack->structure.len += used + n;
  return 0;
}

static int
encode_value_put_ext(struct lmpy_pack *pack, int ext, const void *bytes, size_t n)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "the value is larger than 4 GB");
  uint8_t *at = lm_buf_reserve(&pack->structure, n + 6);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  size_t used = encode_value_head(at, (uint32_t)n, 0, 0, 0xc7, 0xc8);
  at[used++] = (uint8_t)ext;
  memcpy(at + used, bytes, n);
  pack->structure.len += used + n;
  return 0;
}

/* --- scalars --- */

static int
encode_value_int(struct lmpy_pack *pack, PyObject *value)
{
  int64_t n;
  int over = lmpy_int_value(value, &n);
  uint8_t *at = lm_buf_reserve(&pack->structure, 9);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  if (over > 0) {
    unsigned long long u = PyLong_AsUnsignedLongLong(value);
    if (u != (unsigned long long)-1 || !PyErr_Occurred()) {
      at[0] = 0xcf;
      lmpy_put_be(at + 1, u, 8);
      pack->structure.len += 9;
      return 0;
    }
    PyErr_Clear();
  }
  if (over != 0) {
    Py_ssize_t size = lmpy_int_bytes(value);
    PyObject *bytes = size < 0 ? NULL : lmpy_int_to_bytes(value, size);
    int result = bytes == NULL
                     ? -1
                     : encode_value_put_ext(pack, LM_EXT_BIG_INT, PyBytes_AS_STRING(bytes),
                                            (size_t)PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return result;
  }
  size_t used = 1;
  if (n >= -32 && n < 128) {
    at[0] = (uint8_t)n;
  } else {
    int log = n >= 0 ? (n < 256           ? 0
                        : n < 65536       ? 1
                        : n <= UINT32_MAX ? 2
                                          : 3)
                     : (n >= -128        ? 0
                        : n >= -32768    ? 1
                        : n >= INT32_MIN ? 2
                                         : 3);
    at[0] = (uint8_t)((n >= 0 ? 0xcc : 0xd0) + log);
    lmpy_put_be(at + 1, (uint64_t)n, 1 << log);
    used += (size_t)1 << log;
  }
  pack->structure.len += used;
  return 0;
}

static int
encode_value_float(struct lmpy_pack *pack, double value)
{
  uint64_t bits;
  memcpy(&bits, &value, 8);
  uint8_t *at = lm_buf_reserve(&pack->structure, 9);
  if (at == NULL)
    return lmpy_pack_no_memory(pack);
  at[0] = 0xcb;
  lmpy_put_be(at + 1, bits, 8);
  pack->structure.len += 9;
  return 0;
}

static int
encode_value_str(struct lmpy_pack *pack, PyObject *value)
{
  Py_ssize_t n;
  const char *text = PyUnicode_AsUTF8AndSize(value, &n);
  if (text == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
      return -1;
    PyErr_Clear();
    PyObject *bytes = PyUnicode_AsEncodedString(value, "utf-8", "surrogatepass");
    int result = bytes == NULL
                     ? -1
                     : encode_value_put_ext(pack, LM_EXT_WIDE_STR, PyBytes_AS_STRING(bytes),
                                            (size_t)PyBytes_GET_SIZE(bytes));
    Py_XDECREF(bytes);
    return result;
  }
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "the text is larger than 4 GB");
  return encode_value_put(pack, 0xa0, 31, 0xd9, 0xda, text, (size_t)n);
}

static int
encode_value_bytes(struct lmpy_pack *pack, const char *bytes, Py_ssize_t n)
{
  if (n > UINT32_MAX)
    return lmpy_pack_refuse(pack, "the bytes object is larger than 4 GB");
  return encode_value_put(pack, 0, 0, 0xc4, 0xc5, bytes, (size_t)n);
}

/* --- containers --- */

/* Whether a list seems to be of one kind, from its first, middle and last item. */
static bool
encode_value_looks_even(PyObject *list, Py_ssize_t n)
{
  PyTypeObject *type = NULL;
  const Py_ssize_t places[] = {0, n / 2, n - 1};
  for (int i = 0; i < 3; i++) {
    PyObject *item = PyList_GET_ITEM(list, places[i]);
    if (item == Py_None)
      continue;
    if (type != NULL && Py_TYPE(item) != type)
      return false;
    type = Py_TYPE(item);
  }
  return type == NULL || n >= MIN_SHORT || type == &PyFloat_Type || type == &PyDict_Type ||
         (type != &PyLong_Type && type != &PyUnicode_Type && type != &PyBool_Type &&
          type != &PyList_Type && type != &PyTuple_Type);
}

static int
encode_value_list(struct lmpy_pack *pack, PyObject *list)
{
  Py_ssize_t n = PyList_GET_SIZE(list);
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  if (n >= MIN_COLUMN && encode_value_looks_even(list, n)) {
    int result = lmpy_pack_column(pack, list);
    if (result == 0)
      pack->depth--;
    return result;
  }
  if (encode_value_put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++) {
    if (PyList_GET_SIZE(list) != n) /* changed by code of an item */
      return lmpy_pack_refuse(pack, "the list was changed during encoding");
    PyObject *item = Py_NewRef(PyList_GET_ITEM(list, i));
    int result = lmpy_pack_value(pack, item);
    Py_DECREF(item);
    if (result != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  }
  pack->depth--;
  return 0;
}

static int
encode_value_tuple(struct lmpy_pack *pack, PyObject *tuple)
{
  size_t mark;
  Py_ssize_t n = PyTuple_GET_SIZE(tuple);
  if (lmpy_pack_enter(pack) != 0 || lmpy_pack_begin_ext(pack, &mark) != 0 ||
      encode_value_put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++)
    if (lmpy_pack_value(pack, PyTuple_GET_ITEM(tuple, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  pack->depth--;
  return lmpy_pack_end_ext(pack, LM_EXT_TUPLE, mark);
}

static int
encode_value_dict(struct lmpy_pack *pack, PyObject *dict)
{
  Py_ssize_t n = PyDict_GET_SIZE(dict), at = 0, seen = 0;
  PyObject *key, *value;
  if (lmpy_pack_enter(pack) != 0 || encode_value_put_container(pack, n, 0x80, 0xde) != 0)
    return -1;
  while (PyDict_Next(dict, &at, &key, &value)) {
    if (seen++ == n)
      return lmpy_pack_refuse(pack, "the dict was changed during encoding");
    Py_INCREF(key);
    Py_INCREF(value);
    int result = lmpy_pack_value(pack, key);
    if (result == 0 && (result = lmpy_pack_value(pack, value)) != 0)
      lmpy_pack_key_step(pack, key);
    Py_DECREF(value);
    Py_DECREF(key);
    if (result != 0)
      return -1;
    if (PyDict_GET_SIZE(dict) != n)
      return lmpy_pack_refuse(pack, "the dict was changed during encoding");
  }
  if (seen != n)
    return lmpy_pack_refuse(pack, "the dict was changed during encoding");
  pack->depth--;
  return 0;
}

static int
encode_value_set(struct lmpy_pack *pack, PyObject *set)
{
  size_t mark;
  if (pack->canonical)
    return lmpy_pack_refuse(pack, "a set has no order that is the same in every process");
  PyObject *items = PySequence_List(set); /* a copy, which nothing can change */
  if (items == NULL)
    return -1;
  int result = -1;
  Py_ssize_t n = PyList_GET_SIZE(items);
  if (lmpy_pack_enter(pack) == 0 && lmpy_pack_begin_ext(pack, &mark) == 0 &&
      encode_value_put_container(pack, n + 1, 0x90, 0xdc) == 0 &&
      lmpy_put(pack, PyFrozenSet_CheckExact(set) ? "\xc3" : "\xc2", 1) == 0) {
    result = 0;
    for (Py_ssize_t i = 0; i < n && result == 0; i++)
      result = lmpy_pack_value(pack, PyList_GET_ITEM(items, i));
    if (result == 0) {
      pack->depth--;
      result = lmpy_pack_end_ext(pack, LM_EXT_SET, mark);
    }
  }
  Py_DECREF(items);
  return result;
}

/* --- other types, through lambdamap.shipping.kinds --- */

int
lmpy_pack_parts(struct lmpy_pack *pack, int ext, PyObject *parts)
{
  size_t mark;
  Py_ssize_t n = PyTuple_GET_SIZE(parts);
  if (lmpy_pack_begin_ext(pack, &mark) != 0 || encode_value_put_container(pack, n, 0x90, 0xdc) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < n; i++)
    if (lmpy_pack_value(pack, PyTuple_GET_ITEM(parts, i)) != 0)
      return -1;
  return lmpy_pack_end_ext(pack, ext, mark);
}

static int
encode_value_kind(struct lmpy_pack *pack, PyObject *value)
{
  struct lmpy_codec_state *state = pack->state;
  if (lmpy_types_load_kinds(state) != 0)
    return -1;
  if (lmpy_pack_enter(pack) != 0)
    return -1;
  PyObject *answer =
      PyObject_CallFunctionObjArgs(state->reduce, value, pack->allow_pickle ? Py_True : Py_False,
                                   pack->callables ? Py_True : Py_False, NULL);
  if (answer == NULL)
    return -1;
  int result = -1;
  PyObject *payload;
  int ext;
  if (!PyArg_ParseTuple(answer, "iO", &ext, &payload))
    goto done;
  if (ext == LM_EXT_BUFFER) {
    result = lmpy_pack_array(pack, payload);
  } else if (ext == LM_EXT_PICKLE) {
    result = encode_value_put_ext(pack, ext, PyBytes_AS_STRING(payload),
                                  (size_t)PyBytes_GET_SIZE(payload));
  } else {
    result = lmpy_pack_parts(pack, ext, payload);
  }
  if (result == 0)
    pack->depth--;
done:
  Py_DECREF(answer);
  return result;
}

int
lmpy_pack_value(struct lmpy_pack *pack, PyObject *value)
{
  PyTypeObject *type = Py_TYPE(value);
  if (type == &PyUnicode_Type)
    return encode_value_str(pack, value);
  if (type == &PyLong_Type)
    return encode_value_int(pack, value);
  if (type == &PyFloat_Type)
    return encode_value_float(pack, PyFloat_AS_DOUBLE(value));
  if (type == &PyDict_Type)
    return encode_value_dict(pack, value);
  if (type == &PyList_Type)
    return encode_value_list(pack, value);
  if (value == Py_None)
    return lmpy_put(pack, "\xc0", 1);
  if (type == &PyBool_Type)
    return lmpy_put(pack, value == Py_True ? "\xc3" : "\xc2", 1);
  if (type == &PyTuple_Type)
    return encode_value_tuple(pack, value);
  if (type == &PyBytes_Type)
    return encode_value_bytes(pack, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  if (type == &PyByteArray_Type)
    return encode_value_put_ext(pack, LM_EXT_BYTEARRAY, PyByteArray_AS_STRING(value),
                                (size_t)PyByteArray_GET_SIZE(value));
  if (type == &PySet_Type || type == &PyFrozenSet_Type)
    return encode_value_set(pack, value);
  return encode_value_kind(pack, value);
}
