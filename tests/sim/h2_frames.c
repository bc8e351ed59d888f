#include "h2_frames.h"

void
sim_frames_begin(struct sim_frames *frames, size_t preface)
{
  *frames = (struct sim_frames){.left = preface};
}

bool
sim_frames_next(struct sim_frames *frames, const uint8_t **bytes, size_t *n, struct sim_frame *out)
{
  while (*n > 0) {
    if (frames->left > 0) {
      size_t some = *n < frames->left ? *n : frames->left;
      frames->left -= some;
      frames->at += some;
      *bytes += some;
      *n -= some;
      continue;
    }
    frames->head[frames->n_head++] = **bytes;
    ++*bytes, --*n, frames->at++;
    if (frames->n_head < sizeof frames->head)
      continue;
    const uint8_t *head = frames->head;
    frames->n_head = 0;
    frames->left = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    *out = (struct sim_frame){
        .type = head[3],
        .flags = head[4],
        .id = (uint32_t)(head[5] & 0x7f) << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 |
              head[8],
        .begin = frames->at - sizeof frames->head,
        .end = frames->at + frames->left,
    };
    return true;
  }
  return false;
}
