/* Hostile streams: what lm_huffread reads, zlib inflates to the same bytes. The first two bytes are the length to
 * inflate to. */
#include <stdlib.h>
#include <string.h>

#include "wire/deflate.h"
#include "wire/huffread.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
  static struct lm_inflate *inflater;
  struct lm_error err;
  if (inflater == NULL && (inflater = lm_inflate_new()) == NULL)
    abort();
  if (len < 2)
    return 0;
  size_t n = bytes[0] | (size_t)bytes[1] << 8, stream_len = len - 2;
  uint8_t *stream = malloc(len), *ours = malloc(n + LM_HUFFREAD_SLACK), *theirs = malloc(n + 1);
  if (stream == NULL || ours == NULL || theirs == NULL)
    abort();
  memcpy(stream, bytes + 2, stream_len);
  if (lm_huffread(stream, stream_len, ours, n) &&
      (lm_inflate_run(inflater, stream, stream_len, theirs, n, &err) != 0 ||
       memcmp(ours, theirs, n) != 0))
    abort();
  free(theirs);
  free(ours);
  free(stream);
  return 0;
}
