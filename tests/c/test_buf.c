/* base/buf, base/error and base/alloc. */
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "check.h"

static void
appends(void)
{
  struct lm_buf buf;
  struct lm_error err;
  lm_buf_init(&buf, 1000);
  CHECK(lm_buf_check(&buf, "it", &err) == 0 && buf.data == NULL);
  lm_buf_append(&buf, NULL, 0);
  CHECK(buf.data == NULL && buf.failed == LM_OK);
  lm_buf_str(&buf, "abc");
  lm_buf_byte(&buf, '-');
  lm_buf_uint(&buf, 0);
  lm_buf_uint(&buf, ULLONG_MAX);
  lm_buf_append(&buf, "\0x", 2);
  CHECK(buf.len == 27 && memcmp(buf.data, "abc-018446744073709551615\0x", 27) == 0);
  lm_buf_clear(&buf);
  CHECK(buf.len == 0 && buf.cap > 0);
  lm_buf_clean_up(&buf);
  CHECK(buf.data == NULL && buf.cap == 0 && buf.max == 1000);
  lm_buf_clean_up(&buf);
}

static void
bounded(void)
{
  struct lm_buf buf;
  struct lm_error err;
  for (size_t max = 0; max < 600; max++) { /* byte by byte, exactly up to the limit */
    lm_buf_init(&buf, max);
    for (size_t i = 0; i < max; i++)
      lm_buf_byte(&buf, (uint8_t)i);
    CHECK(buf.failed == LM_OK && buf.len == max && buf.cap <= (max > 0 ? max : 1));
    CHECK(lm_buf_reserve(&buf, 0) != NULL);
    lm_buf_byte(&buf, 'x');
    CHECK(buf.failed == LM_E_LIMIT && buf.len == max);
    lm_buf_clear(&buf);
    CHECK(buf.failed == LM_OK);
    lm_buf_clean_up(&buf);
  }
  lm_buf_init(&buf, 10);
  lm_buf_str(&buf, "0123456789a"); /* all or nothing */
  CHECK(buf.failed == LM_E_LIMIT && buf.len == 0);
  lm_buf_str(&buf, "a"); /* the failure is sticky */
  CHECK(buf.len == 0 && lm_buf_reserve(&buf, 1) == NULL);
  CHECK(lm_buf_check(&buf, "the thing", &err) == -1 && err.code == LM_E_LIMIT);
  CHECK(strcmp(err.text, "the thing is larger than 10 bytes") == 0);
  lm_buf_clear(&buf);
  lm_buf_str(&buf, "0123456789");
  CHECK(buf.failed == LM_OK);
  buf.max = 5; /* may be lowered by the owner: nothing fits then */
  CHECK(lm_buf_reserve(&buf, 0) == NULL && buf.failed == LM_E_LIMIT);
  lm_buf_clean_up(&buf);
  lm_buf_init(&buf, SIZE_MAX);
  lm_buf_byte(&buf, 'x');
  CHECK(lm_buf_reserve(&buf, SIZE_MAX) == NULL && buf.failed == LM_E_LIMIT);
  lm_buf_clean_up(&buf);
}

static void
moves(void)
{
  struct lm_buf from, to;
  lm_buf_init(&from, 100);
  lm_buf_init(&to, 50);
  lm_buf_str(&from, "abc");
  const uint8_t *data = from.data;
  lm_buf_move(&to, &from);
  CHECK(to.data == data && to.len == 3 && to.max == 100);
  CHECK(from.data == NULL && from.len == 0 && from.max == 100 && from.failed == LM_OK);
  lm_buf_clean_up(&to);
  lm_buf_clean_up(&from);
}

static void
grow_with_little_memory(void)
{
  struct lm_buf buf;
  struct lm_error err;
  size_t kept = 0;
  lm_buf_init(&buf, 100000);
  for (int i = 0; i < 1000; i++) {
    lm_buf_str(&buf, "0123456789");
    if (buf.failed == LM_OK)
      kept = buf.len;
  }
  CHECK(buf.len == kept && (kept == 0 || memcmp(buf.data + kept - 10, "0123456789", 10) == 0));
  if (lm_buf_check(&buf, "it", &err) != 0)
    CHECK(err.code == LM_E_NOMEM);
  else
    CHECK(kept == 10000);
  lm_buf_clean_up(&buf);
}

static void
errors(void)
{
  struct lm_error err;
  char text[400];
  CHECK(lm_error_at(&err, LM_E_FORMAT, 7, "at %d", 7) == -1);
  CHECK(err.code == LM_E_FORMAT && err.offset == 7 && strcmp(err.text, "at 7") == 0);
  CHECK(lm_error_set(&err, LM_E_LIMIT, "x") == -1 && err.offset == 0 && err.os_errno == 0);
  CHECK(lm_error_system(&err, ENOENT, "open") == -1);
  CHECK(err.os_errno == ENOENT && strcmp(err.text, "open: No such file or directory") == 0);
  CHECK(lm_error_nomem(&err, 12) == -1 && err.code == LM_E_NOMEM);
  /* Truncated to fit, never within a character. */
  static const char *const letters[] = {"x", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
  for (size_t size = 1; size <= 4; size++)
    for (size_t first = 0; first < 5; first++) {
      memset(text, 'a', first);
      for (size_t i = first; i + size < sizeof text; i += size)
        memcpy(text + i, letters[size - 1], size + 1);
      lm_error_set(&err, LM_E_FORMAT, "%s", text);
      size_t len = strlen(err.text);
      CHECK(len < LM_ERROR_TEXT_SIZE && len >= LM_ERROR_TEXT_SIZE - 4);
      CHECK((len - first) % size == 0 && memcmp(err.text, text, len) == 0);
    }
}

static void
allocations(void)
{
  long live = lm_alloc_live();
  CHECK(lm_alloc(0) == NULL && lm_alloc_zero(0, 5) == NULL && lm_alloc_zero(5, 0) == NULL);
  CHECK(lm_alloc_zero(SIZE_MAX / 2, 3) == NULL);
  unsigned char *block = lm_alloc_zero(10, 10);
  CHECK(block != NULL && lm_alloc_live() == live + 1);
  for (int i = 0; i < 100; i++)
    CHECK(block[i] == 0);
  CHECK(lm_realloc(block, 0) == NULL);
  lm_alloc_fail_from(1);
  CHECK(lm_realloc(block, 200) == NULL && lm_alloc(1) == NULL && lm_alloc_count() == 2);
  lm_alloc_fail_from(0);
  block[99] = 1; /* still there */
  block = lm_realloc(block, 200);
  CHECK(block != NULL && block[99] == 1);
  lm_free(block);
  lm_free(NULL);
  lm_free_secret(NULL);
  char *secret = lm_alloc(4);
  CHECK(secret != NULL);
  memcpy(secret, "abc", 4);
  lm_free_secret(secret);
  CHECK(lm_alloc_live() == live);
}

int
main(void)
{
  appends();
  bounded();
  moves();
  check_every_allocation(grow_with_little_memory);
  errors();
  allocations();
  return 0;
}
