#include "transport/target.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "os/seams.h"
#include "os/threads.h"

enum { MAX_HEAD = 32768 };

static char *
target_copy(const char *text)
{
  size_t size = strlen(text) + 1;
  char *copied = lm_alloc(size);
  return copied == NULL ? NULL : memcpy(copied, text, size);
}

void
lm_credentials_unref(struct lm_credentials *credentials)
{
  if (credentials == NULL || atomic_fetch_sub(&credentials->refs, 1) != 1)
    return;
  lm_free_secret(credentials->token);
  lm_free_secret(credentials->secret_key);
  lm_free_secret(credentials->access_key);
  lm_free(credentials);
}

static struct lm_credentials *
target_new_credentials(const char *access_key, const char *secret_key, const char *token,
                       int64_t expires_s, struct lm_error *err)
{
  struct lm_credentials *made = lm_alloc_zero(1, sizeof *made);
  if (made == NULL) {
    lm_error_nomem(err, sizeof *made);
    return NULL;
  }
  atomic_init(&made->refs, 1);
  made->access_key = target_copy(access_key);
  made->secret_key = target_copy(secret_key);
  made->token = token == NULL ? NULL : target_copy(token);
  made->expires_s = expires_s;
  if (made->access_key == NULL || made->secret_key == NULL ||
      (token != NULL && made->token == NULL)) {
    lm_credentials_unref(made);
    lm_error_nomem(err, sizeof *made);
    return NULL;
  }
  return made;
}

/* When to request newer credentials: refresh_before_ns before they expire, or after half of the time left if
 * that has passed. At least a second from now, or they would be looked for again and again while there are
 * none; at once if they have expired. */
static int64_t
target_refresh_time(int64_t expires_s)
{
  if (expires_s == INT64_MAX)
    return 0;
  int64_t now = lm_seams.unix_s(), left = expires_s - now;
  int64_t early = expires_s - lm_periods.refresh_before_ns / 1000000000;
  int64_t when = early > now ? early : left < 0 ? now : now + (left > 1 ? left / 2 : 1);
  return when > 0 ? when : 1;
}

static int
target_by_name(const void *a, const void *b)
{
  return strcmp(((const struct lm_header *)a)->name, ((const struct lm_header *)b)->name);
}

static int
target_take_headers(struct lm_target *target, const char *const *headers)
{
  size_t n = 0;
  while (headers[2 * n] != NULL)
    n++;
  if (n == 0)
    return 0;
  target->headers = lm_alloc_zero(n, sizeof *target->headers);
  if (target->headers == NULL)
    return -1;
  for (; target->n_headers < n; target->n_headers++) {
    struct lm_header *header = &target->headers[target->n_headers];
    header->name = target_copy(headers[2 * target->n_headers]);
    header->value = target_copy(headers[2 * target->n_headers + 1]);
    if (header->name == NULL || header->value == NULL) {
      target->n_headers++;
      return -1;
    }
    for (char *at = header->name; *at != '\0'; at++)
      *at = (char)tolower((unsigned char)*at);
  }
  qsort(target->headers, n, sizeof *target->headers, target_by_name);
  return 0;
}

static bool
target_is_signed(const struct lm_header *header)
{
  return strncmp(header->name, "x-amz-", 6) == 0;
}

static int
target_build_head(struct lm_target *target, struct lm_error *err)
{
  struct lm_buf head;
  lm_buf_init(&head, MAX_HEAD);
  lm_buf_str(&head, "POST ");
  lm_buf_str(&head, target->path);
  if (target->query[0] != '\0') {
    lm_buf_byte(&head, '?');
    lm_buf_str(&head, target->query);
  }
  lm_buf_str(&head, " HTTP/1.1\r\nHost: ");
  lm_buf_str(&head, target->endpoint->authority);
  lm_buf_str(&head, "\r\nContent-Type: application/json\r\n");
  size_t n_signed = 0;
  for (size_t i = 0; i < target->n_headers; i++) {
    lm_buf_str(&head, target->headers[i].name);
    lm_buf_str(&head, ": ");
    lm_buf_str(&head, target->headers[i].value);
    lm_buf_str(&head, "\r\n");
    n_signed += target_is_signed(&target->headers[i]);
  }
  target->signed_headers = lm_alloc_zero(2 * n_signed + 1, sizeof *target->signed_headers);
  if (n_signed > LM_MAX_SIGNED_HEADERS)
    head.failed = LM_E_LIMIT;
  else if (target->signed_headers == NULL)
    head.failed = LM_E_NOMEM;
  else
    for (size_t i = 0, at = 0; i < target->n_headers; i++)
      if (target_is_signed(&target->headers[i])) {
        target->signed_headers[at++] = target->headers[i].name;
        target->signed_headers[at++] = target->headers[i].value;
      }
  if (lm_buf_check(&head, "the request head", err) != 0) {
    lm_buf_clean_up(&head);
    return -1;
  }
  target->head = (char *)head.data;
  target->head_len = head.len;
  return 0;
}

struct lm_target *
lm_target_new(struct lm_endpoint *endpoint, struct lm_function *function,
              const struct lm_target_spec *spec, struct lm_error *err)
{
  struct lm_target *target = lm_alloc_zero(1, sizeof *target);
  if (target == NULL) {
    lm_error_nomem(err, sizeof *target);
    return NULL;
  }
  atomic_init(&target->refs, 1);
  lm_mutex_init(&target->lock);
  target->endpoint = lm_endpoint_ref(endpoint);
  target->function = function;
  target->path = target_copy(spec->path);
  target->query = target_copy(spec->query);
  target->region = target_copy(spec->region);
  target->max_attempts = spec->max_attempts;
  target->max_concurrency = spec->max_concurrency;
  target->connect_timeout_ms = spec->connect_timeout_ms;
  target->connect_patience_ns = spec->connect_patience_ms * 1000000;
  if (target->path == NULL || target->query == NULL || target->region == NULL ||
      target_take_headers(target, spec->headers) != 0) {
    lm_error_nomem(err, sizeof *target);
    goto err_target;
  }
  if (target_build_head(target, err) != 0)
    goto err_target;
  target->credentials =
      target_new_credentials(spec->access_key, spec->secret_key, spec->token, spec->expires_s, err);
  if (target->credentials == NULL)
    goto err_target;
  atomic_init(&target->renewal.refresh_s, target_refresh_time(spec->expires_s));
  return target;

err_target:
  lm_target_unref(target);
  return NULL;
}

struct lm_target *
lm_target_ref(struct lm_target *target)
{
  atomic_fetch_add(&target->refs, 1);
  return target;
}

void
lm_target_unref(struct lm_target *target)
{
  if (target == NULL || atomic_fetch_sub(&target->refs, 1) != 1)
    return;
  lm_credentials_unref(target->credentials);
  for (size_t i = 0; i < target->n_headers; i++) {
    lm_free(target->headers[i].name);
    lm_free(target->headers[i].value);
  }
  lm_free(target->headers);
  lm_free(target->signed_headers);
  lm_free(target->head);
  lm_free(target->region);
  lm_free(target->query);
  lm_free(target->path);
  lm_endpoint_unref(target->endpoint);
  lm_mutex_destroy(&target->lock);
  lm_free(target);
}

int
lm_target_set_credentials(struct lm_target *target, const char *access_key, const char *secret_key,
                          const char *token, int64_t expires_s, struct lm_error *err)
{
  struct lm_credentials *made =
      target_new_credentials(access_key, secret_key, token, expires_s, err);
  if (made == NULL)
    return -1;
  lm_mutex_lock(&target->lock);
  struct lm_credentials *before = target->credentials;
  made->generation = before->generation + 1;
  target->credentials = made;
  atomic_store(&target->renewal.generation, made->generation);
  atomic_store(&target->renewal.refresh_s, target_refresh_time(expires_s));
  atomic_store(&target->renewal.wants, LM_WANTS_NOTHING);
  lm_mutex_unlock(&target->lock);
  lm_credentials_unref(before);
  return 0;
}

struct lm_credentials *
lm_target_credentials(struct lm_target *target)
{
  lm_mutex_lock(&target->lock);
  struct lm_credentials *credentials = target->credentials;
  atomic_fetch_add(&credentials->refs, 1);
  lm_mutex_unlock(&target->lock);
  return credentials;
}
