/* Where and how maps invoke: endpoint, path, credentials, function state, limits. Reference-counted;
 * everything but the credentials is immutable after lm_target_new. */
#ifndef LM_TRANSPORT_TARGET_H
#define LM_TRANSPORT_TARGET_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/threads.h"
#include "sched/renewal.h"
#include "transport/endpoint.h"

/* One set of keys. Immutable, reference-counted; overwritten when the last reference is released. */
struct lm_credentials {
  atomic_uint refs;
  char *access_key, *secret_key;
  char *token;         /* NULL: none */
  int64_t expires_s;   /* seconds since 1970; INT64_MAX: never */
  uint64_t generation; /* incremented by each lm_target_set_credentials */
};

struct lm_function; /* sched.h */

struct lm_header { /* owned strings */
  char *name, *value;
};

struct lm_target_spec { /* borrowed for the call */
  const char *path, *query, *region;
  const char *access_key, *secret_key, *token;
  int64_t expires_s;
  const char *const *headers; /* name, value, name, value, ..., NULL */
  unsigned max_attempts;
  unsigned max_concurrency;    /* attempts in flight of one map */
  int64_t connect_timeout_ms;  /* of one attempt to connect */
  int64_t connect_patience_ms; /* how long connecting is retried */
};

enum { LM_MAX_SIGNED_HEADERS = 16 };

struct lm_target {
  atomic_uint refs;
  struct lm_endpoint *endpoint; /* strong */
  struct lm_function *function; /* borrowed from the scheduler, which never frees it */
  char *path, *query, *region;
  char *head; /* owned; request line and constant headers, each with CR LF */
  size_t head_len;
  const char **signed_headers; /* x-amz-* names (lower case) and values, sorted, NULL at the end, at
                                  most LM_MAX_SIGNED_HEADERS pairs; the array is owned, the
                                  strings belong to headers */
  struct lm_header *headers;
  size_t n_headers;
  unsigned max_attempts;
  unsigned max_concurrency;
  int64_t connect_timeout_ms, connect_patience_ns;
  struct lm_mutex lock;
  struct lm_credentials *credentials; /* guarded by lock */
  struct lm_renewal renewal;          /* of the credentials */
};

/* Takes a reference to `endpoint`; `function` must outlive it. */
struct lm_target *lm_target_new(struct lm_endpoint *endpoint, struct lm_function *function,
                                const struct lm_target_spec *spec, struct lm_error *err);
struct lm_target *lm_target_ref(struct lm_target *target);
void lm_target_unref(struct lm_target *target); /* NULL is allowed */

/* Set the credentials for all attempts that are signed from now on. */
int lm_target_set_credentials(struct lm_target *target, const char *access_key,
                              const char *secret_key, const char *token, int64_t expires_s,
                              struct lm_error *err);
struct lm_credentials *lm_target_credentials(struct lm_target *target); /* a new reference */
void lm_credentials_unref(struct lm_credentials *credentials);

#endif
