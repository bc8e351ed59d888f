#include "codec/constants.h"

#include "wire/envelope.h"
#include "wire/frame.h"
#include "wire/kinds.h"

#define CONSTANT(name)                                                                             \
  {                                                                                                \
#name, LM_##name                                                                               \
  }
static const struct {
  const char *name;
  long value;
} constants[] = {
    CONSTANT(WIRE_VERSION),  CONSTANT(PROTOCOL),        CONSTANT(EXT_LIST),
    CONSTANT(EXT_BIG_INT),   CONSTANT(EXT_TUPLE),       CONSTANT(EXT_DATETIME),
    CONSTANT(EXT_NDARRAY),   CONSTANT(EXT_DECIMAL),     CONSTANT(EXT_WIDE_STR),
    CONSTANT(EXT_BYTEARRAY), CONSTANT(EXT_SET),         CONSTANT(EXT_NAMED),
    CONSTANT(EXT_PANDAS),    CONSTANT(EXT_NUMPY),       CONSTANT(EXT_BUFFER),
    CONSTANT(EXT_FRAMES),    CONSTANT(EXT_PICKLE),      CONSTANT(COLUMN_ANY),
    CONSTANT(COLUMN_FLOAT),  CONSTANT(COLUMN_INT),      CONSTANT(COLUMN_TEXT),
    CONSTANT(COLUMN_CONST),  CONSTANT(COLUMN_LIST),     CONSTANT(COLUMN_DICT),
    CONSTANT(COLUMN_BOOL),   CONSTANT(COLUMN_NULLABLE), CONSTANT(COLUMN_DECIMAL),
    CONSTANT(COLUMN_UNIQUE), CONSTANT(COLUMN_TUPLE),    CONSTANT(COLUMN_SPLIT),
    CONSTANT(COLUMN_RAW),    CONSTANT(COLUMN_FRAMES),   CONSTANT(TIME_DATE),
    CONSTANT(TIME_TIME),     CONSTANT(TIME_DATETIME),   CONSTANT(TIME_TIMEDELTA),
    CONSTANT(TIME_TIMEZONE), CONSTANT(TIME_ZONEINFO),
};
#undef CONSTANT

int
lmpy_add_constants(PyObject *module)
{
  for (size_t i = 0; i < sizeof constants / sizeof constants[0]; i++)
    if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0)
      return -1;
  return 0;
}
