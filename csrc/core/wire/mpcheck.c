#include "wire/mpcheck.h"

#include <string.h>

#include "wire/columns.h"
#include "wire/mpread.h"
#include "wire/rules.h"

struct walk {
  const uint8_t *start, *end; /* of the structure */
  struct lm_sections sections;
  size_t estimate, max;
  unsigned max_depth;
  struct lm_error *err;
};

static int
mpcheck_refuse(struct walk *walk, const uint8_t *at, const char *why)
{
  size_t offset = (size_t)(at - walk->start);
  return lm_error_at(walk->err, LM_E_FORMAT, offset, "malformed frame at byte %zu: %s", offset,
                     why);
}

static int
mpcheck_refuse_column(struct walk *walk, const uint8_t *at, const char *why,
                      const struct lm_column *column)
{
  if (!column->unknown)
    return mpcheck_refuse(walk, at, why);
  return lm_error_at(walk->err, LM_E_VERSION, (size_t)(at - walk->start),
                     "the frame contains %s (%u.%u; kinds 0 to %d are supported)", why,
                     (unsigned)column->kind, column->element, LM_COLUMN_KINDS - 1);
}

static int
mpcheck_charge(struct walk *walk, uint64_t bytes)
{
  if (bytes > walk->max - walk->estimate)
    return lm_error_set(walk->err, LM_E_LIMIT, "the value would take more than %zu bytes",
                        walk->max);
  walk->estimate += (size_t)bytes;
  return 0;
}

/* Valid UTF-8; lone surrogates allowed when `wide`. */
static bool
mpcheck_is_utf8(const uint8_t *at, size_t len, bool wide)
{
  const uint8_t *end = at + len;
  while (at < end) {
    uint64_t eight;
    if (end - at >= 8 && (memcpy(&eight, at, 8), (eight & 0x8080808080808080u) == 0)) {
      at += 8;
      continue;
    }
    uint8_t c = *at++;
    if (c < 0x80)
      continue;
    int more = c >= 0xc2 && c <= 0xdf   ? 1
               : c >= 0xe0 && c <= 0xef ? 2
               : c >= 0xf0 && c <= 0xf4 ? 3
                                        : 0;
    if (more == 0 || end - at < more)
      return false;
    for (int i = 0; i < more; i++)
      if ((at[i] & 0xc0) != 0x80)
        return false;
    if ((c == 0xe0 && at[0] < 0xa0) || (c == 0xed && at[0] > 0x9f && !wide) ||
        (c == 0xf0 && at[0] < 0x90) || (c == 0xf4 && at[0] > 0x8f))
      return false;
    at += more;
  }
  return true;
}

static int
mpcheck_too_deep(struct walk *walk, const uint8_t *from)
{
  return lm_error_at(walk->err, LM_E_LIMIT, (size_t)(from - walk->start),
                     "the value is nested deeper than %u levels", walk->max_depth);
}

static int mpcheck_walk_value(struct walk *walk, const uint8_t **at, const uint8_t *end,
                              unsigned depth);

/* An ext whose payload is exactly one array. */
static int
mpcheck_walk_inner(struct walk *walk, const struct lm_mp_token *token, unsigned depth)
{
  const uint8_t *at = token->data, *end = token->data + token->len;
  if (at == end || ((*at & 0xf0) != 0x90 && *at != 0xdc && *at != 0xdd))
    return mpcheck_refuse(walk, at, LM_WRONG_ARRAY);
  if (mpcheck_walk_value(walk, &at, end, depth) != 0)
    return -1;
  return at == end ? 0 : mpcheck_refuse(walk, at, LM_WRONG_EXT_TAIL);
}

static int mpcheck_walk_column(struct walk *walk, const uint8_t **at, const uint8_t *end,
                               uint64_t n, unsigned depth, enum lm_place place);

static int
mpcheck_walk_texts(struct walk *walk, const uint8_t *from, const struct lm_column *column,
                   uint64_t n)
{
  const uint8_t *at = column->data;
  if (column->element != LM_TEXT_UTF8)
    return 0;
  for (uint64_t i = 0; i < n; i++) {
    uint32_t len = lm_length_at(&column->lengths, i);
    if (!mpcheck_is_utf8(at, len, false))
      return mpcheck_refuse(walk, from, "text is not UTF-8");
    at += len;
  }
  return 0;
}

/* The columns of a DICT, each after its key, or of a TUPLE. */
static int
mpcheck_walk_fields(struct walk *walk, const uint8_t **at, const uint8_t *end, uint64_t n,
                    const struct lm_column *column, unsigned depth)
{
  for (uint64_t i = 0; i < column->inner; i++) {
    if (column->kind == LM_COLUMN_DICT) {
      const uint8_t *from = *at;
      struct lm_mp_token key = {0};
      const char *wrong = lm_column_read_key(at, end, &key);
      if (wrong == NULL && !mpcheck_is_utf8(key.data, key.len, false))
        wrong = "text is not UTF-8";
      if (wrong != NULL)
        return mpcheck_refuse(walk, from, wrong);
      if (mpcheck_charge(walk, LM_COST_OBJECT + (uint64_t)key.len * 4) != 0)
        return -1;
    }
    if (mpcheck_walk_column(walk, at, end, n, depth, LM_AT_FIELD) != 0)
      return -1;
  }
  return 0;
}

static int
mpcheck_walk_column(struct walk *walk, const uint8_t **at, const uint8_t *end, uint64_t n,
                    unsigned depth, enum lm_place place)
{
  struct lm_column column;
  const uint8_t *from = *at, *indices;
  const char *wrong = lm_column_read(at, end, n, place, &walk->sections, &column);
  if (wrong != NULL)
    return mpcheck_refuse_column(walk, from, wrong, &column);
  if (mpcheck_charge(walk, lm_column_cost(&column, n)) != 0)
    return -1;
  switch (column.kind) {
  case LM_COLUMN_ANY:
    for (uint64_t i = 0; i < n; i++)
      if (mpcheck_walk_value(walk, at, end, depth) != 0)
        return -1;
    return 0;
  case LM_COLUMN_CONST:
    return mpcheck_walk_value(walk, at, end, 0);
  case LM_COLUMN_FRAMES:
    return mpcheck_walk_value(walk, at, end, depth);
  case LM_COLUMN_TEXT:
    return mpcheck_walk_texts(walk, from, &column, n);
  case LM_COLUMN_NULLABLE:
    return mpcheck_walk_column(walk, at, end, column.inner, depth, LM_AT_PRESENT);
  case LM_COLUMN_SPLIT:
    if (mpcheck_walk_column(walk, at, end, column.inner, depth, LM_AT_PART) != 0)
      return -1;
    return mpcheck_walk_column(walk, at, end, n - column.inner, depth, LM_AT_PART);
  case LM_COLUMN_UNIQUE:
    if (mpcheck_walk_column(walk, at, end, column.inner, depth, LM_AT_PRESENT) != 0)
      return -1;
    wrong = lm_column_read_indices(at, end, n, &column, &indices);
    return wrong == NULL ? 0 : mpcheck_refuse(walk, from, wrong);
  case LM_COLUMN_LIST:
  case LM_COLUMN_DICT:
  case LM_COLUMN_TUPLE:
    if (depth == 0)
      return mpcheck_too_deep(walk, from);
    if (column.kind == LM_COLUMN_LIST)
      return mpcheck_walk_column(walk, at, end, column.inner, depth - 1, LM_AT_FIELD);
    return mpcheck_walk_fields(walk, at, end, n, &column, depth - 1);
  case LM_COLUMN_FLOAT:
  case LM_COLUMN_INT:
  case LM_COLUMN_DECIMAL:
  case LM_COLUMN_BOOL:
  case LM_COLUMN_RAW:
    break;
  }
  return 0;
}

static int
mpcheck_walk_list(struct walk *walk, const struct lm_mp_token *token, unsigned depth)
{
  const uint8_t *at = token->data, *end = token->data + token->len;
  uint64_t n;
  const char *wrong = lm_list_read(&at, end, &n);
  if (wrong != NULL)
    return mpcheck_refuse(walk, at, wrong);
  if (mpcheck_charge(walk, n * LM_COST_SLOT) != 0 ||
      mpcheck_walk_column(walk, &at, end, n, depth, LM_AT_FIELD) != 0)
    return -1;
  return at == end ? 0 : mpcheck_refuse(walk, at, LM_WRONG_EXT_TAIL);
}

static int
mpcheck_walk_buffer(struct walk *walk, const struct lm_mp_token *token)
{
  struct lm_buffer buffer;
  const char *wrong =
      lm_buffer_read(token->data, token->data + token->len, &walk->sections, &buffer);
  if (wrong != NULL)
    return mpcheck_refuse_column(walk, token->data, wrong, &buffer.column);
  return mpcheck_charge(walk, buffer.n * buffer.item);
}

static int
mpcheck_walk_ext(struct walk *walk, const struct lm_mp_token *token, unsigned depth)
{
  if (!lm_ext_is_known(token->ext))
    return lm_error_at(walk->err, LM_E_VERSION, (size_t)(token->data - walk->start), LM_WRONG_EXT,
                       token->ext, LM_EXT_FRAMES, LM_EXT_PICKLE);
  switch ((enum lm_ext)token->ext) {
  case LM_EXT_LIST:
    return mpcheck_walk_list(walk, token, depth);
  case LM_EXT_BUFFER:
    return mpcheck_walk_buffer(walk, token);
  case LM_EXT_SET:
    /* A set's table is larger than the list charged below. */
    return mpcheck_charge(walk, (uint64_t)token->len * LM_COST_MEMBER) != 0
               ? -1
               : mpcheck_walk_inner(walk, token, depth);
  case LM_EXT_WIDE_STR:
    if (!mpcheck_is_utf8(token->data, token->len, true))
      return mpcheck_refuse(walk, token->data, "text is not UTF-8");
    return mpcheck_charge(walk, (uint64_t)token->len * 4);
  case LM_EXT_BIG_INT:
    return token->len > 0 ? mpcheck_charge(walk, (uint64_t)token->len * 2)
                          : mpcheck_refuse(walk, token->data, LM_WRONG_BIG_INT);
  case LM_EXT_BYTEARRAY:
    return mpcheck_charge(walk, token->len);
  case LM_EXT_PICKLE: /* size unknown; the caller decides whether pickles are allowed */
    return mpcheck_charge(walk, (uint64_t)token->len * 8);
  case LM_EXT_TUPLE:
  case LM_EXT_DATETIME:
  case LM_EXT_NDARRAY:
  case LM_EXT_DECIMAL:
  case LM_EXT_NAMED:
  case LM_EXT_PANDAS:
  case LM_EXT_NUMPY:
  case LM_EXT_FRAMES:
    break;
  }
  return mpcheck_walk_inner(walk, token, depth);
}

static int
mpcheck_walk_value(struct walk *walk, const uint8_t **at, const uint8_t *end, unsigned depth)
{
  struct lm_mp_token token = {0};
  const uint8_t *from = *at;
  lm_mp_next(at, end, &token);
  if (mpcheck_charge(walk, LM_COST_OBJECT) != 0)
    return -1;
  switch (token.kind) {
  case LM_MP_BAD:
    return mpcheck_refuse(walk, from, LM_WRONG_TOKEN);
  case LM_MP_STR:
    if (!mpcheck_is_utf8(token.data, token.len, false))
      return mpcheck_refuse(walk, from, "text is not UTF-8");
    return mpcheck_charge(walk, (uint64_t)token.len * 4);
  case LM_MP_BIN:
    return mpcheck_charge(walk, token.len);
  case LM_MP_ARRAY:
  case LM_MP_MAP:
  case LM_MP_EXT:
    if (depth == 0)
      return mpcheck_too_deep(walk, from);
    if (token.kind == LM_MP_EXT)
      return mpcheck_walk_ext(walk, &token, depth - 1);
    if (mpcheck_charge(walk, (uint64_t)token.count *
                                 (token.kind == LM_MP_ARRAY ? LM_COST_SLOT : LM_COST_PAIR)) != 0)
      return -1;
    for (uint64_t n = (uint64_t)token.count << (token.kind == LM_MP_MAP); n > 0; n--)
      if (mpcheck_walk_value(walk, at, end, depth - 1) != 0)
        return -1;
    return 0;
  case LM_MP_NIL:
  case LM_MP_FALSE:
  case LM_MP_TRUE:
  case LM_MP_UINT:
  case LM_MP_INT:
  case LM_MP_FLOAT:
    break;
  }
  return 0;
}

int
lm_mpcheck(const struct lm_frame_view *view, const struct lm_frame_limits *limits, size_t *estimate,
           struct lm_error *err)
{
  unsigned depth = limits->max_depth < 512 ? limits->max_depth : 512;
  struct walk walk = {view->structure,
                      view->structure + view->structure_len,
                      {*view, 0, 0, 0},
                      0,
                      limits->max_output_bytes,
                      depth,
                      err};
  const uint8_t *at = view->structure;
  if (mpcheck_walk_value(&walk, &at, walk.end, depth) != 0)
    return -1;
  if (at != walk.end)
    return mpcheck_refuse(&walk, at, LM_WRONG_TAIL);
  if (!lm_sections_used(&walk.sections))
    return mpcheck_refuse(&walk, at, LM_WRONG_SECTIONS);
  *estimate = walk.estimate;
  return 0;
}
