/* Hostile frames: opened or refused, within the limits, whatever the bytes. What was opened is
 * checked again, joined and split: the same. */
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/mpcheck.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
  static struct lm_coder *coder;
  struct lm_frame_limits limits = {1 << 20, 512};
  struct lm_frame_view view;
  struct lm_buf out;
  struct lm_error err;
  size_t estimate = 0, again = 0;
  if (coder == NULL && (coder = lm_coder_new()) == NULL)
    abort();
  lm_buf_init(&out, 4 << 20);
  if (lm_frame_open(coder, bytes, len, &limits, &out, &estimate, &err) == 0) {
    if (estimate > limits.max_output_bytes || !lm_frame_is_raw(out.data, out.len) ||
        lm_frame_split(out.data, out.len, &view, &err) != 0 ||
        lm_mpcheck(&view, &limits, &again, &err) != 0 || again != estimate)
      abort();
  } else if (err.code == LM_OK || err.text[0] == '\0') {
    abort();
  }
  lm_buf_clean_up(&out);
  return 0;
}
