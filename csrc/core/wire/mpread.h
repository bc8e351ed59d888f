/* The bounded msgpack reader shared by lm_mpcheck and the binding: reads one token at a time and
 * checks every length against the bytes left. Uses msgpack-c's load macros, not its library.
 */
#ifndef LM_WIRE_MPREAD_H
#define LM_WIRE_MPREAD_H

#include <msgpack/sysdep.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum lm_mp {
  LM_MP_BAD, /* truncated, or an invalid type byte */
  LM_MP_NIL,
  LM_MP_FALSE,
  LM_MP_TRUE,
  LM_MP_UINT,
  LM_MP_INT, /* negative */
  LM_MP_FLOAT,
  LM_MP_STR,
  LM_MP_BIN,
  LM_MP_EXT,
  LM_MP_ARRAY,
  LM_MP_MAP
};

struct lm_mp_token {
  enum lm_mp kind;
  int8_t ext;
  uint32_t count;      /* ARRAY: items; MAP: pairs */
  const uint8_t *data; /* STR, BIN, EXT */
  uint32_t len;
  union {
    uint64_t u;
    int64_t i;
    double f;
  } value;
};

static inline uint32_t
lm_mp_load16(const uint8_t *at)
{
  uint16_t n; /* the macro reads sizeof n bytes */
  _msgpack_load16(uint16_t, at, &n);
  return n;
}

/* Read one token; *at moves past it (past the header of an ARRAY or MAP). A count never exceeds what
 * the bytes left can contain. */
static inline void
lm_mp_next(const uint8_t **at, const uint8_t *end, struct lm_mp_token *token)
{
  const uint8_t *p = *at;
  token->kind = LM_MP_BAD;
  if (p == end)
    return;
  size_t left = (size_t)(end - p) - 1;
  uint8_t c = *p++;
  uint32_t n;
#define NEED(bytes)                                                                                \
  if (left < (bytes))                                                                              \
  return
  if (c < 0x80) {
    token->kind = LM_MP_UINT;
    token->value.u = c;
  } else if (c >= 0xe0) {
    token->kind = LM_MP_INT;
    token->value.i = (int8_t)c;
  } else if (c >= 0xa0 && c < 0xc0) {
    n = c & 0x1f;
    goto str;
  } else if (c < 0x90) {
    n = c & 0x0f;
    goto map;
  } else if (c < 0xa0) {
    n = c & 0x0f;
    goto array;
  } else {
    switch (c) {
    case 0xc0:
      token->kind = LM_MP_NIL;
      break;
    case 0xc2:
    case 0xc3:
      token->kind = c == 0xc2 ? LM_MP_FALSE : LM_MP_TRUE;
      break;
    case 0xc4: /* bin */
    case 0xd9: /* str */
    case 0xc7: /* ext */
      NEED(1);
      n = *p++;
      left -= 1;
      if (c == 0xd9)
        goto str;
      if (c == 0xc7)
        goto ext;
      goto bin;
    case 0xc5:
    case 0xda:
    case 0xc8:
      NEED(2);
      n = lm_mp_load16(p);
      p += 2;
      left -= 2;
      if (c == 0xda)
        goto str;
      if (c == 0xc8)
        goto ext;
      goto bin;
    case 0xc6:
    case 0xdb:
    case 0xc9:
      NEED(4);
      _msgpack_load32(uint32_t, p, &n);
      p += 4;
      left -= 4;
      if (c == 0xdb)
        goto str;
      if (c == 0xc9)
        goto ext;
      goto bin;
    case 0xca: {
      NEED(4);
      uint32_t bits;
      float f;
      _msgpack_load32(uint32_t, p, &bits);
      memcpy(&f, &bits, 4);
      token->kind = LM_MP_FLOAT;
      token->value.f = f;
      p += 4;
      break;
    }
    case 0xcb: {
      NEED(8);
      uint64_t bits;
      _msgpack_load64(uint64_t, p, &bits);
      token->kind = LM_MP_FLOAT;
      memcpy(&token->value.f, &bits, 8);
      p += 8;
      break;
    }
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf: {
      uint32_t width = 1u << (c - 0xcc);
      NEED(width);
      uint64_t u = 0;
      for (uint32_t i = 0; i < width; i++)
        u = u << 8 | p[i];
      token->kind = LM_MP_UINT;
      token->value.u = u;
      p += width;
      break;
    }
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3: {
      uint32_t width = 1u << (c - 0xd0);
      NEED(width);
      uint64_t u = p[0] & 0x80 ? UINT64_MAX : 0;
      for (uint32_t i = 0; i < width; i++)
        u = u << 8 | p[i];
      memcpy(&token->value.i, &u, 8);
      token->kind = token->value.i < 0 ? LM_MP_INT : LM_MP_UINT;
      p += width;
      break;
    }
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      n = 1u << (c - 0xd4);
      goto ext;
    case 0xdc:
      NEED(2);
      n = lm_mp_load16(p);
      p += 2;
      left -= 2;
      goto array;
    case 0xdd:
      NEED(4);
      _msgpack_load32(uint32_t, p, &n);
      p += 4;
      left -= 4;
      goto array;
    case 0xde:
      NEED(2);
      n = lm_mp_load16(p);
      p += 2;
      left -= 2;
      goto map;
    case 0xdf:
      NEED(4);
      _msgpack_load32(uint32_t, p, &n);
      p += 4;
      left -= 4;
      goto map;
    default:
      return;
    }
  }
  *at = p;
  return;

ext:
  NEED((size_t)n + 1);
  token->ext = (int8_t)*p++;
  token->kind = LM_MP_EXT;
  goto bytes;
str:
  NEED(n);
  token->kind = LM_MP_STR;
  goto bytes;
bin:
  NEED(n);
  token->kind = LM_MP_BIN;
bytes:
  token->data = p;
  token->len = n;
  *at = p + n;
  return;
array:
  NEED(n);
  token->kind = LM_MP_ARRAY;
  token->count = n;
  *at = p;
  return;
map:
  NEED((uint64_t)n * 2);
  token->kind = LM_MP_MAP;
  token->count = n;
  *at = p;
#undef NEED
}

/* Write the header of a str of n bytes, at most 5 bytes. Returns their number. */
static inline size_t
lm_mp_write_text_head(uint8_t *at, uint32_t n)
{
  if (n < 32) {
    at[0] = (uint8_t)(0xa0 | n);
    return 1;
  }
  unsigned bytes = n < 256 ? 1 : n < 65536 ? 2 : 4;
  at[0] = bytes == 1 ? 0xd9 : bytes == 2 ? 0xda : 0xdb;
  for (unsigned i = bytes; i > 0; i--, n >>= 8)
    at[i] = (uint8_t)n;
  return 1 + bytes;
}

#endif
