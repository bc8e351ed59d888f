/* The same structure to lm_mpcheck and to msgpack-c's own unpacker: on plain msgpack, nested at most 32
 * deep and with no count beyond the bytes that are left, both take it or neither does. */
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "wire/mpcheck.h"
#include "wire/mpread.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { DEEP = 32 };

/* Whether the two may be compared on it: no extension, and texts that are UTF-8, which msgpack-c does
 * not look at. */
static bool
is_plain(const msgpack_object *object, unsigned depth)
{
  if (depth > DEEP)
    return false;
  switch ((int)object->type) { /* what is nested, and texts */
  case MSGPACK_OBJECT_EXT:
    return false;
  case MSGPACK_OBJECT_STR:
    for (uint32_t i = 0; i < object->via.str.size; i++)
      if ((uint8_t)object->via.str.ptr[i] >= 0x80)
        return false;
    return true;
  case MSGPACK_OBJECT_ARRAY:
    for (uint32_t i = 0; i < object->via.array.size; i++)
      if (!is_plain(&object->via.array.ptr[i], depth + 1))
        return false;
    return true;
  case MSGPACK_OBJECT_MAP:
    for (uint32_t i = 0; i < object->via.map.size; i++)
      if (!is_plain(&object->via.map.ptr[i].key, depth + 1) ||
          !is_plain(&object->via.map.ptr[i].val, depth + 1))
        return false;
    return true;
  default:
    return true;
  }
}

/* Whether every count is one that the bytes behind it can hold; msgpack-c allocates for any. */
static bool
is_bounded(const uint8_t *bytes, size_t len)
{
  const uint8_t *at = bytes, *end = bytes + len;
  uint64_t left = 1;
  for (; left > 0 && at < end; left--) {
    struct lm_mp_token token = {0};
    const uint8_t *from = at;
    lm_mp_next(&at, end, &token);
    if (token.kind == LM_MP_BAD)
      return *from != 0xdd && *from != 0xdf && *from != 0xdc && *from != 0xde &&
             (*from < 0x80 || *from > 0x9f);
    if (token.kind == LM_MP_ARRAY)
      left += token.count;
    else if (token.kind == LM_MP_MAP)
      left += (uint64_t)token.count * 2;
  }
  return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
  struct lm_frame_view view = {bytes, len, NULL, 0, NULL, 0, NULL, 0};
  struct lm_frame_limits limits = {64 << 20, 512};
  struct lm_error err = {LM_OK, 0, 0, ""};
  size_t estimate = 0, offset = 0;
  if (len == 0 || len > 4096 || !is_bounded(bytes, len))
    return 0;
  bool ours = lm_mpcheck(&view, &limits, &estimate, &err) == 0;
  msgpack_unpacked unpacked;
  msgpack_unpacked_init(&unpacked);
  msgpack_unpack_return said = msgpack_unpack_next(&unpacked, (const char *)bytes, len, &offset);
  bool theirs = said == MSGPACK_UNPACK_SUCCESS && offset == len;
  if (theirs && is_plain(&unpacked.data, 1) && !ours && err.code != LM_E_LIMIT)
    abort();
  /* What ours takes is msgpack, so theirs takes it, unless it is deeper than theirs goes. */
  if (ours && !theirs && said != MSGPACK_UNPACK_NOMEM_ERROR)
    abort();
  msgpack_unpacked_destroy(&unpacked);
  return 0;
}
