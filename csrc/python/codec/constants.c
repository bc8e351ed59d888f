#include "codec/constants.h"

#include "base/limits.h"
#include "wire/envelope.h"
#include "wire/frame.h"
#include "wire/kinds.h"
#include "wire/rules.h"

#define NUMBER(name) #name, LM_##name
static const struct {
  const char *name;
  long value;
} constants[] = {
    /* Versions, and limits of base/limits.h */
    {NUMBER(WIRE_VERSION)},
    {NUMBER(PROTOCOL)},
    {NUMBER(MAX_REPLY_BYTES)},
    {NUMBER(MAX_RESULTS_TEXT)},
    /* wire/rules.h */
    {NUMBER(COST_KIND)},
    {NUMBER(COST_SLOT)},
    {NUMBER(COST_PAIR)},
    {NUMBER(COST_FRAME)},
    /* wire/kinds.h */
    {NUMBER(EXT_LIST)},
    {NUMBER(EXT_BIG_INT)},
    {NUMBER(EXT_TUPLE)},
    {NUMBER(EXT_DATETIME)},
    {NUMBER(EXT_NDARRAY)},
    {NUMBER(EXT_DECIMAL)},
    {NUMBER(EXT_WIDE_STR)},
    {NUMBER(EXT_BYTEARRAY)},
    {NUMBER(EXT_SET)},
    {NUMBER(EXT_NAMED)},
    {NUMBER(EXT_PANDAS)},
    {NUMBER(EXT_NUMPY)},
    {NUMBER(EXT_BUFFER)},
    {NUMBER(EXT_FRAMES)},
    {NUMBER(EXT_PICKLE)},
    {NUMBER(COLUMN_ANY)},
    {NUMBER(COLUMN_FLOAT)},
    {NUMBER(COLUMN_INT)},
    {NUMBER(COLUMN_TEXT)},
    {NUMBER(COLUMN_CONST)},
    {NUMBER(COLUMN_LIST)},
    {NUMBER(COLUMN_DICT)},
    {NUMBER(COLUMN_BOOL)},
    {NUMBER(COLUMN_NULLABLE)},
    {NUMBER(COLUMN_DECIMAL)},
    {NUMBER(COLUMN_UNIQUE)},
    {NUMBER(COLUMN_TUPLE)},
    {NUMBER(COLUMN_SPLIT)},
    {NUMBER(COLUMN_RAW)},
    {NUMBER(COLUMN_FRAMES)},
    {NUMBER(TIME_DATE)},
    {NUMBER(TIME_TIME)},
    {NUMBER(TIME_DATETIME)},
    {NUMBER(TIME_TIMEDELTA)},
    {NUMBER(TIME_TIMEZONE)},
    {NUMBER(TIME_ZONEINFO)},
};
#undef NUMBER

int
lmpy_add_constants(PyObject *module)
{
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
    if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0)
      return -1;
  return 0;
}
