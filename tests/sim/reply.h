/* The bytes of a simulated Lambda's replies: HTTP in its odder spellings, bodies in each form. */
#ifndef LM_SIM_REPLY_H
#define LM_SIM_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_peer;
struct sim_stream;

enum sim_form { SIM_BARE, SIM_JSON, SIM_FRAME }; /* of a request's payload, and of its reply's */

/* The contents of a reply whose status and headers report success. */
enum sim_word {
  SIM_RESULTS,
  SIM_ITEM_FAILED, /* results, and an error of the item after them */
  SIM_REFUSED,     /* an error in band: the worker has called no function */
  SIM_UNMARKED, /* not a lambdamap worker, or an emulator that drops the headers of a function error */
  SIM_HOSTILE /* it replies, but the contents cannot be true */
};

/* One request, from when it was read until its end. */
struct sim_call {
  struct sim_peer *peer;
  struct sim_stream *stream; /* of HTTP/2; NULL: HTTP/1.1 */
  unsigned map;
  uint64_t first_item;
  uint32_t n_items, done;
  enum sim_form form;
  enum sim_word word;
  int status;
  const char *type;   /* of an error; NULL: none, "(empty)": no body, either */
  const char *reason; /* of a throttle; NULL: none */
  bool function_error;
  bool scripted;
  bool garbage;  /* its reply is not HTTP */
  bool asks_log; /* for the end of the log */
  uint64_t us;   /* reported duration */
};

/* How this world's replies are spelled; set before a run. One in 0: never. */
struct sim_reply_options {
  unsigned large_one_in;   /* more than 64 KB */
  unsigned huge_one_in;    /* of these, more than a megabyte: more than is reserved in advance */
  unsigned odd_one_in;     /* everything that HTTP/1.1 allows */
  unsigned garbage_one_in; /* something other than HTTP */
};
extern struct sim_reply_options sim_reply;

struct sim_written {
  const uint8_t *at;    /* in the run's memory */
  size_t len, head_len; /* 0: it has no head that ends */
  bool until_close;     /* only the end of the connection ends its body */
};
void sim_reply_write(const struct sim_call *call, bool close, struct sim_written *out);

/* A reply over HTTP/2: its head as the text of HTTP/1.1, status line included, and its body. */
struct sim_parts {
  const char *head; /* the run's memory */
  size_t head_len;
  const uint8_t *body;
  size_t body_len;
  bool odd; /* 1xx before it, trailers after it */
};
void sim_reply_write_parts(const struct sim_call *call, struct sim_parts *out);

/* Whether a request's payload is that of its chunk. */
bool sim_payload_is_own(const struct sim_call *call, const char *payload, size_t len);

/* The contents of a chunk: a text that names it, followed by this many letters. NUL-terminated;
 * returns its length. */
size_t sim_payload_name(char name[48], unsigned map, uint64_t first_item, uint32_t n_items);

/* Once, before the first run. */
void sim_reply_prepare(void);

#endif
