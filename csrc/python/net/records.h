/* Records of a map's finished chunks, for a timeline: bounded, and sampled beyond the bound.
 *
 * The lock is a leaf; no Python object is made or used under it. */
#ifndef LMPY_NET_RECORDS_H
#define LMPY_NET_RECORDS_H

#include <stddef.h>
#include <stdint.h>

#include "lmpy.h"

#include "job/job.h"
#include "os/threads.h"

/* One chunk, in native byte order. backends/records.py reads and writes the same. */
struct lmpy_record {
  uint64_t first_item;
  double queued_s, sent_s, done_s; /* since the map was opened; sent: its last attempt */
  uint32_t n_items;
  uint16_t attempts; /* at most 65535 are told apart */
  uint8_t failed;    /* it ended without results */
  uint8_t start;     /* of the sandbox: 0 unknown, 1 warm, 2 cold */
};

struct lmpy_records {
  struct lm_mutex lock;
  int64_t opened_ns;
  size_t limit;  /* 0: nothing is recorded */
  size_t stride; /* one in so many chunks is kept: a power of 2 */
  size_t seen;   /* chunks */
  size_t n, room;
  struct lmpy_record *kept; /* owned; n of room */
};

void lmpy_records_init(struct lmpy_records *records);
void lmpy_records_clean_up(struct lmpy_records *records);

/* Keep from now on; at most `limit` chunks. For the thread that takes. */
void lmpy_records_start(struct lmpy_records *records, size_t limit);

/* Record a job that was taken. Out of memory: it is counted, not kept. */
void lmpy_records_add(struct lmpy_records *records, const struct lm_job *job);

/* A tuple of the records as bytes and of the number of chunks seen; NULL and an exception. */
PyObject *lmpy_records_copy(struct lmpy_records *records);

#endif
