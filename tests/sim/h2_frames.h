/* Where the frames of HTTP/2 lie in the bytes of one direction. */
#ifndef LM_SIM_H2_FRAMES_H
#define LM_SIM_H2_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_frames {
  size_t at, left; /* bytes seen; of a frame, to be skipped */
  uint8_t head[9];
  unsigned n_head;
};

struct sim_frame {
  int type, flags;
  uint32_t id;
  size_t begin, end; /* in the bytes of that direction */
};

/* `preface`: bytes before the first frame. */
void sim_frames_begin(struct sim_frames *frames, size_t preface);
/* The next frame whose head ends in these bytes, which move on; false: there is none. */
bool sim_frames_next(struct sim_frames *frames, const uint8_t **bytes, size_t *n,
                     struct sim_frame *out);

#endif
