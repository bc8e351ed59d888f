#include "codec/encode/json.h"

#include <string.h>

#include "codec/encode/pack.h"

enum { MAX_DEPTH = 56 /* json.h accepts 64 levels, including the envelope */ };

static int encode_json_value(struct lmpy_pack *pack, PyObject *object);

static int
encode_json_put_str(struct lmpy_pack *pack, const char *text)
{
  return lmpy_put(pack, text, strlen(text));
}

static int
encode_json_text(struct lmpy_pack *pack, PyObject *object)
{
  static const char hex[] = "0123456789abcdef";
  Py_ssize_t n;
  const char *at = PyUnicode_AsUTF8AndSize(object, &n);
  if (at == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
      return -1;
    PyErr_Clear();
    return lmpy_pack_refuse(pack, "JSON cannot represent lone surrogates");
  }
  if ((size_t)n > SIZE_MAX / 8)
    return lmpy_pack_refuse(pack, "the text is too long");
  uint8_t *out = lm_buf_reserve(&pack->structure, (size_t)n * 6 + 2), *start = out;
  if (out == NULL)
    return lmpy_pack_no_memory(pack);
  *out++ = '"';
  for (Py_ssize_t i = 0; i < n; i++) {
    uint8_t c = (uint8_t)at[i];
    if (c == '"' || c == '\\') {
      *out++ = '\\';
      *out++ = c;
    } else if (c < 0x20) {
      const uint8_t escape[] = {'\\', 'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
      memcpy(out, escape, sizeof escape);
      out += sizeof escape;
    } else {
      *out++ = c;
    }
  }
  *out++ = '"';
  pack->structure.len += (size_t)(out - start);
  return 0;
}

static int
encode_json_number(struct lmpy_pack *pack, PyObject *object)
{
  if (PyFloat_CheckExact(object)) {
    double x = PyFloat_AS_DOUBLE(object);
    if (x != x || x - x != 0)
      return lmpy_pack_refuse(
          pack, "JSON cannot represent NaN or infinity: pass None or use another codec");
    char *digits = PyOS_double_to_string(x, 'r', 0, Py_DTSF_ADD_DOT_0, NULL);
    if (digits == NULL)
      return -1;
    int result = encode_json_put_str(pack, digits);
    PyMem_Free(digits);
    return result;
  }
  PyObject *digits = PyObject_Str(object);
  if (digits == NULL) {
    if (!PyErr_ExceptionMatches(PyExc_ValueError))
      return -1;
    PyErr_Clear();
    return lmpy_pack_refuse(pack,
                            "the integer has more digits than sys.get_int_max_str_digits() allows");
  }
  int result = lmpy_put(pack, PyUnicode_1BYTE_DATA(digits), (size_t)PyUnicode_GET_LENGTH(digits));
  Py_DECREF(digits);
  return result;
}

static int
encode_json_enter(struct lmpy_pack *pack)
{
  if (pack->depth == MAX_DEPTH)
    return lmpy_pack_refuse(pack, "the value is nested deeper than %d levels or contains itself",
                            MAX_DEPTH);
  pack->depth++;
  return 0;
}

/* Nothing below runs Python code, so containers do not change. */
static int
encode_json_list(struct lmpy_pack *pack, PyObject *object)
{
  if (encode_json_enter(pack) != 0 || lmpy_put(pack, "[", 1) != 0)
    return -1;
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(object); i++) {
    if (i > 0 && lmpy_put(pack, ",", 1) != 0)
      return -1;
    if (encode_json_value(pack, PyList_GET_ITEM(object, i)) != 0) {
      lmpy_pack_index_step(pack, i);
      return -1;
    }
  }
  pack->depth--;
  return lmpy_put(pack, "]", 1);
}

static int
encode_json_dict(struct lmpy_pack *pack, PyObject *object)
{
  PyObject *key, *cell;
  Py_ssize_t at = 0, seen = 0;
  if (encode_json_enter(pack) != 0 || lmpy_put(pack, "{", 1) != 0)
    return -1;
  while (PyDict_Next(object, &at, &key, &cell)) {
    if (!PyUnicode_CheckExact(key))
      return lmpy_pack_refuse(pack, "JSON keys must be str, not %s (%R): pass a list of pairs",
                              Py_TYPE(key)->tp_name, key);
    if ((seen++ > 0 && lmpy_put(pack, ",", 1) != 0) || encode_json_text(pack, key) != 0 ||
        lmpy_put(pack, ":", 1) != 0)
      return -1;
    if (encode_json_value(pack, cell) != 0) {
      lmpy_pack_key_step(pack, key);
      return -1;
    }
  }
  pack->depth--;
  return lmpy_put(pack, "}", 1);
}

static int
encode_json_value(struct lmpy_pack *pack, PyObject *object)
{
  PyTypeObject *type = Py_TYPE(object);
  if (object == Py_None)
    return lmpy_put(pack, "null", 4);
  if (type == &PyBool_Type)
    return object == Py_True ? lmpy_put(pack, "true", 4) : lmpy_put(pack, "false", 5);
  if (type == &PyUnicode_Type)
    return encode_json_text(pack, object);
  if (type == &PyLong_Type || type == &PyFloat_Type)
    return encode_json_number(pack, object);
  if (type == &PyList_Type)
    return encode_json_list(pack, object);
  if (type == &PyDict_Type)
    return encode_json_dict(pack, object);
  if (type == &PyTuple_Type)
    return lmpy_pack_refuse(pack, "JSON cannot represent a tuple: pass a list");
  return lmpy_pack_refuse(
      pack, "JSON cannot represent %s: pass None, bool, int, float, str, list or dict",
      type->tp_name);
}

PyObject *
lmpy_encode_json(PyObject *module, PyObject *object)
{
  struct lmpy_pack pack;
  PyObject *bytes = NULL;
  lmpy_pack_init(&pack, PyModule_GetState(module), false, false);
  if (encode_json_value(&pack, object) != 0)
    lmpy_pack_path_error(&pack);
  else
    bytes = PyBytes_FromStringAndSize((const char *)pack.structure.data,
                                      (Py_ssize_t)pack.structure.len);
  lmpy_pack_clean_up(&pack);
  return bytes;
}
