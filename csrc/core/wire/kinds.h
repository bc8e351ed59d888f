/* The numbers of the wire format. docs/wire-format.md explains them, and a test compares its tables
 * with these; _codec exports them to Python as EXT_..., COLUMN_... and TIME_.... The meaning of a
 * number never changes. */
#ifndef LM_WIRE_KINDS_H
#define LM_WIRE_KINDS_H

#include <stdbool.h>

/* Extension types of msgpack. */
enum lm_ext {
  LM_EXT_LIST = 1,     /* a list as one column: a count and the column */
  LM_EXT_BIG_INT = 2,  /* two's complement, little-endian */
  LM_EXT_TUPLE = 3,    /* one array */
  LM_EXT_DATETIME = 4, /* one array, which begins with an lm_time_kind */
  LM_EXT_NDARRAY = 5,
  LM_EXT_DECIMAL = 6,
  LM_EXT_WIDE_STR = 7, /* UTF-8 with lone surrogates */
  LM_EXT_BYTEARRAY = 8,
  LM_EXT_SET = 9, /* one array: whether frozen, then the items */
  LM_EXT_NAMED = 10,
  LM_EXT_PANDAS = 11,
  LM_EXT_NUMPY = 12,
  LM_EXT_BUFFER = 13, /* an array's bytes as one column: item size, count, column */
  LM_EXT_FRAMES = 14, /* one array; rows of one pandas frame or Series */
  LM_EXT_PICKLE = 127
};

static inline bool
lm_ext_is_known(int ext)
{
  return (ext >= LM_EXT_LIST && ext <= LM_EXT_FRAMES) || ext == LM_EXT_PICKLE;
}

/* Kinds of column. The word before the colon is the name of the files, in encode/ and decode/ of the
 * codec, that handle the kind. */
enum lm_column_kind {
  LM_COLUMN_ANY = 0,      /* columns: a msgpack value for each cell */
  LM_COLUMN_FLOAT = 1,    /* numbers: doubles in the section of words */
  LM_COLUMN_INT = 2,      /* numbers: `width` bytes above a minimum, packed */
  LM_COLUMN_TEXT = 3,     /* text: lengths, then bytes */
  LM_COLUMN_CONST = 4,    /* columns: one msgpack scalar for all cells */
  LM_COLUMN_LIST = 5,     /* rows: lengths, then one column of all items */
  LM_COLUMN_DICT = 6,     /* rows: keys, then a column for each */
  LM_COLUMN_BOOL = 7,     /* numbers: bits */
  LM_COLUMN_NULLABLE = 8, /* columns: bits, which cells are not None; then a column of those */
  LM_COLUMN_DECIMAL = 9,  /* numbers: floats as integers over a power of ten, packed */
  LM_COLUMN_UNIQUE = 10,  /* text: a column of different values, then an index for each cell */
  LM_COLUMN_TUPLE = 11,   /* rows: tuples of one length, a column for each place */
  LM_COLUMN_SPLIT = 12,   /* columns: two columns, one after the other */
  LM_COLUMN_RAW = 13,     /* arrays: the items' bytes, at an lm_raw_place; only in buffers */
  LM_COLUMN_FRAMES = 14   /* rows: one LM_EXT_FRAMES, which is all cells: pandas frames or Series */
};
enum { LM_COLUMN_KINDS = LM_COLUMN_FRAMES + 1 };

/* What a cell of FLOAT and DECIMAL, INT, or TEXT is. */
enum lm_column_element {
  LM_FLOAT = 0,
  LM_FLOAT_NUMPY = 1, /* numpy.float64 */
  LM_FLOAT_ELEMENTS,
  LM_INT = 0,
  LM_INT_NUMPY = 1,    /* numpy.int64 */
  LM_INT_DATE = 2,     /* datetime.date: days, 1 is 0001-01-01 */
  LM_INT_DATETIME = 3, /* naive datetime.datetime: microseconds since 0001-01-01 */
  LM_INT_ELEMENTS,
  LM_TEXT_ASCII = 0,
  LM_TEXT_UTF8 = 1,
  LM_TEXT_BYTES = 2,
  LM_TEXT_DECIMAL = 3, /* decimal.Decimal, as ASCII */
  LM_TEXT_ELEMENTS
};

/* The section that holds a RAW column. */
enum lm_raw_place { LM_RAW_WORDS = 0, LM_RAW_BLOBS = 1, LM_RAW_PACKED = 2 };
enum { LM_RAW_PLACES = LM_RAW_PACKED + 1 };

/* The first part of LM_EXT_DATETIME. */
enum lm_time_kind {
  LM_TIME_DATE = 0,
  LM_TIME_TIME = 1,
  LM_TIME_DATETIME = 2,
  LM_TIME_TIMEDELTA = 3,
  LM_TIME_TIMEZONE = 4,
  LM_TIME_ZONEINFO = 5
};

#endif
