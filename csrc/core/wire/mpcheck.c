#include "wire/mpcheck.h"

#include <string.h>

#include "wire/mpread.h"

/* What CPython takes for an object, rounded up: the estimate need not be close, only not below. */
enum { OBJECT = 64, LIST_ITEM = 8, DICT_PAIR = 104, SET_ITEM = 80 };

struct walk {
  const uint8_t *start, *end; /* of the structure */
  uint64_t cells_left;        /* of the numeric section */
  size_t estimate, max;
  unsigned max_depth;
  struct lm_error *err;
};

static int
refuse(struct walk *walk, const uint8_t *at, const char *why)
{
  size_t offset = (size_t)(at - walk->start);
  return lm_error_at(walk->err, LM_E_FORMAT, offset, "the frame is broken at byte %zu: %s", offset,
                     why);
}

static int
charge(struct walk *walk, uint64_t bytes)
{
  if (bytes > walk->max - walk->estimate)
    return lm_error_set(walk->err, LM_E_LIMIT, "the value would take more than %zu bytes",
                        walk->max);
  walk->estimate += (size_t)bytes;
  return 0;
}

/* Valid UTF-8; lone surrogates allowed when `wide`. */
static bool
is_utf8(const uint8_t *at, size_t len, bool wide)
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

static int walk_value(struct walk *walk, const uint8_t **at, const uint8_t *end, unsigned depth);

/* An ext whose payload is exactly one value; an array where `array`. */
static int
walk_inner(struct walk *walk, const struct lm_mp_token *token, unsigned depth, bool array)
{
  const uint8_t *at = token->data, *end = token->data + token->len;
  if (array && (at == end || ((*at & 0xf0) != 0x90 && *at != 0xdc && *at != 0xdd)))
    return refuse(walk, at, "an extension that is no array");
  if (walk_value(walk, &at, end, depth) != 0)
    return -1;
  return at == end ? 0 : refuse(walk, at, "an extension with something behind its value");
}

static int
walk_block(struct walk *walk, const struct lm_mp_token *token)
{
  struct lm_block_head head;
  if (!lm_block_read(token->data, token->len, &head))
    return refuse(walk, token->data, "a block of numbers of an unknown kind");
  if (head.cells > walk->cells_left)
    return refuse(walk, token->data, "a block that is longer than its section");
  walk->cells_left -= head.cells;
  uint64_t each = head.element == LM_BLOCK_BYTES ? 1 : 40;
  return charge(walk, head.count * each);
}

static int
walk_ext(struct walk *walk, const struct lm_mp_token *token, unsigned depth)
{
  switch (token->ext) {
  case LM_EXT_BLOCK:
    return walk_block(walk, token);
  case LM_EXT_TUPLE:
  case LM_EXT_DATETIME:
  case LM_EXT_NDARRAY:
  case LM_EXT_DECIMAL:
  case LM_EXT_NAMED:
  case LM_EXT_PANDAS:
  case LM_EXT_NUMPY:
    return walk_inner(walk, token, depth, true);
  case LM_EXT_SET:
    /* A set's table is larger than the list that is charged below. */
    return charge(walk, (uint64_t)token->len * SET_ITEM) != 0
               ? -1
               : walk_inner(walk, token, depth, true);
  case LM_EXT_WIDE_STR:
    if (!is_utf8(token->data, token->len, true))
      return refuse(walk, token->data, "a text that is not UTF-8");
    return charge(walk, (uint64_t)token->len * 4);
  case LM_EXT_BIG_INT:
    return token->len > 0 ? charge(walk, (uint64_t)token->len * 2)
                          : refuse(walk, token->data, "an integer without digits");
  case LM_EXT_BYTEARRAY:
    return charge(walk, token->len);
  case LM_EXT_PICKLE: /* what it becomes nobody can say; whether it may is the caller's word */
    return charge(walk, (uint64_t)token->len * 8);
  default:
    return lm_error_at(walk->err, LM_E_VERSION, (size_t)(token->data - walk->start),
                       "the frame holds extension type %d, which this side does not know",
                       token->ext);
  }
}

static int
walk_value(struct walk *walk, const uint8_t **at, const uint8_t *end, unsigned depth)
{
  struct lm_mp_token token = {0};
  const uint8_t *from = *at;
  lm_mp_next(at, end, &token);
  if (charge(walk, OBJECT) != 0)
    return -1;
  switch (token.kind) {
  case LM_MP_BAD:
    return refuse(walk, from, "it ends in its middle, or a byte that begins nothing");
  case LM_MP_STR:
    if (!is_utf8(token.data, token.len, false))
      return refuse(walk, from, "a text that is not UTF-8");
    return charge(walk, (uint64_t)token.len * 4);
  case LM_MP_BIN:
    return charge(walk, token.len);
  case LM_MP_ARRAY:
  case LM_MP_MAP:
  case LM_MP_EXT:
    if (depth == 0)
      return lm_error_at(walk->err, LM_E_LIMIT, (size_t)(from - walk->start),
                         "the value is nested deeper than %u levels", walk->max_depth);
    if (token.kind == LM_MP_EXT)
      return walk_ext(walk, &token, depth - 1);
    if (charge(walk, (uint64_t)token.count * (token.kind == LM_MP_ARRAY ? LIST_ITEM : DICT_PAIR)) !=
        0)
      return -1;
    for (uint64_t n = (uint64_t)token.count << (token.kind == LM_MP_MAP); n > 0; n--)
      if (walk_value(walk, at, end, depth - 1) != 0)
        return -1;
    return 0;
  default:
    return 0;
  }
}

int
lm_mpcheck(const struct lm_frame_view *view, const struct lm_frame_limits *limits, size_t *estimate,
           struct lm_error *err)
{
  unsigned depth = limits->max_depth < 512 ? limits->max_depth : 512;
  struct walk walk = {view->structure,
                      view->structure + view->structure_len,
                      view->numeric_len / LM_WORD,
                      0,
                      limits->max_output_bytes,
                      depth,
                      err};
  const uint8_t *at = view->structure;
  if (walk_value(&walk, &at, walk.end, depth) != 0)
    return -1;
  if (at != walk.end)
    return refuse(&walk, at, "something follows its end");
  if (walk.cells_left != 0)
    return refuse(&walk, at, "numbers that nothing refers to");
  *estimate = walk.estimate;
  return 0;
}
