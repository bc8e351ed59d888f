#include "codec/state.h"

void
lmpy_state_keep(struct lm_buf *spare, struct lm_buf *buf)
{
  if (spare->data == NULL && buf->cap <= LMPY_KEPT_BYTES) {
    lm_buf_move(spare, buf);
    lm_buf_clear(spare);
  } else {
    lm_buf_clean_up(buf);
  }
}

struct lm_coder *
lmpy_state_take_coder(struct lmpy_codec_state *state)
{
  struct lm_coder *coder = state->spare_coder;
  state->spare_coder = NULL;
  return coder != NULL ? coder : lm_coder_new();
}

void
lmpy_state_give_coder(struct lmpy_codec_state *state, struct lm_coder *coder)
{
  if (state->spare_coder == NULL)
    state->spare_coder = coder;
  else
    lm_coder_destroy(coder);
}
