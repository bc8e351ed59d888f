/* Byte planes as lm_huffman_write writes them: zlib and lm_huffread inflate the same, and no more bytes than stored
 * blocks take.
 * The input is the planes themselves, or runs of them, so that a short one makes several sections. */
#include <stdlib.h>
#include <string.h>

#include "wire/deflate.h"
#include "wire/huffman.h"
#include "wire/huffread.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MOST = 1 << 17 };

/* Append to `made`: bytes as they are, or pairs of a byte and how often it stands there, perhaps with a ramp added. */
static size_t
expand(const uint8_t *bytes, size_t len, unsigned how, uint8_t *made)
{
  size_t n = 0;
  if ((how & 3) == 0) {
    n = len < MOST ? len : MOST;
    memcpy(made, bytes, n);
    return n;
  }
  for (size_t i = 0; i + 1 < len; i += 2) {
    size_t run = (size_t)bytes[i + 1] << ((how & 3) == 1 ? 0 : 4);
    for (size_t j = 0; j < run && n < MOST; j++)
      made[n++] = (uint8_t)(bytes[i] + ((how & 3) == 3 ? j * j % 13 : 0));
  }
  return n;
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
  static struct lm_inflate *inflater;
  static uint8_t made[MOST];
  struct lm_error err;
  if (inflater == NULL && (inflater = lm_inflate_new()) == NULL)
    abort();
  if (len == 0)
    return 0;
  size_t planes = 1 + bytes[0] / 4 % 3;
  size_t plane = expand(bytes + 1, len - 1, bytes[0], made) / planes, n = plane * planes;
  size_t bound = lm_huffman_bound(plane, planes);
  uint8_t *own = malloc(n + 1), *out = malloc(bound), *again = malloc(n + LM_HUFFREAD_SLACK);
  if (own == NULL || out == NULL || again == NULL)
    abort();
  memcpy(own, made, n);
  size_t written = lm_huffman_write(own, plane, planes, out);
  if (written + sizeof(uint64_t) > bound ||
      lm_inflate_run(inflater, out, written, again, n, &err) != 0 || memcmp(own, again, n) != 0)
    abort();
  memset(again, 0, n);
  if (lm_huffread(out, written, again, n) && memcmp(own, again, n) != 0)
    abort();
  free(again);
  free(out);
  free(own);
  return 0;
}
