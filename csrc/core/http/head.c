#include "http/head.h"

#include <string.h>

#include "http/text.h"

void
lm_head_init(struct lm_reply_head *head)
{
  memset(head, 0, sizeof *head);
  head->content_length = head->retry_after_ms = head->date_s = -1;
}

static bool
head_is_shown(char c) /* visible ASCII or a blank */
{
  return c >= 0x20 && c < 0x7f;
}

static void
head_keep_text(char *to, size_t size, const char *text, size_t len)
{
  if (len >= size)
    len = size - 1;
  for (size_t i = 0; i < len; i++)
    to[i] = head_is_shown(text[i]) ? text[i] : '?';
  to[len] = '\0';
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", the only form that a sender may use; -1 for any other. */
static int64_t
head_read_date(const char *text, size_t len)
{
  static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
  if (len != 29 || memcmp(text + 25, " GMT", 4) != 0 || text[3] != ',' || text[4] != ' ' ||
      text[7] != ' ' || text[11] != ' ' || text[16] != ' ' || text[19] != ':' || text[22] != ':')
    return -1;
  int64_t day = lm_text_to_number(text + 5, 2), year = lm_text_to_number(text + 12, 4);
  int64_t hour = lm_text_to_number(text + 17, 2), minute = lm_text_to_number(text + 20, 2);
  int64_t second = lm_text_to_number(text + 23, 2), month = 0;
  while (month < 12 && memcmp(months + 3 * month, text + 8, 3) != 0)
    month++;
  if (day < 1 || day > 31 || year < 1970 || hour < 0 || hour > 23 || minute < 0 || minute > 59 ||
      second < 0 || second > 60 || month == 12)
    return -1;
  /* Days since 1970-01-01 in the Gregorian calendar, the year counted from March. */
  int64_t m = (month + 10) % 12, y = year - (month < 2);
  int64_t days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468;
  return days * 86400 + hour * 3600 + minute * 60 + second;
}

static void
head_keep_error_type(struct lm_reply_head *head, const char *text, size_t len)
{
  const char *colon = memchr(text, ':', len);
  if (colon != NULL)
    len = (size_t)(colon - text);
  const char *hash = memchr(text, '#', len);
  if (hash != NULL) {
    len -= (size_t)(hash + 1 - text);
    text = hash + 1;
  }
  head_keep_text(head->error_type, sizeof head->error_type, text, len);
}

static int
head_read_content_length(struct lm_reply_head *head, const char *text, size_t len,
                         struct lm_error *err)
{
  int64_t length = lm_text_to_number(text, len);
  if (length < 0 || head->content_length >= 0)
    return lm_error_set(err, LM_E_FORMAT,
                        "invalid Content-Length in the reply: expected one number");
  head->content_length = length;
  return 0;
}

static void
head_read_retry_after(struct lm_reply_head *head, const char *text, size_t len, bool is_ms)
{
  int64_t number = lm_text_to_number(text, len);
  if (number < 0 || (head->retry_after_is_ms && !is_ms))
    return;
  head->retry_after_ms = is_ms ? number : number * 1000;
  head->retry_after_is_ms = is_ms;
}

int
lm_head_read(struct lm_reply_head *head, const struct lm_field *field, struct lm_error *err)
{
  const char *value = field->value;
  size_t value_len = field->value_len;
  if (lm_field_is(field, "content-length"))
    return head_read_content_length(head, value, value_len, err);
  if (lm_field_is(field, "content-encoding")) {
    head->content_encoded = head->content_encoded || !lm_text_is_word(value, value_len, "identity");
  } else if (lm_field_is(field, "x-amzn-requestid")) {
    head_keep_text(head->request_id, sizeof head->request_id, value, value_len);
  } else if (lm_field_is(field, "x-amzn-errortype")) {
    head_keep_error_type(head, value, value_len);
  } else if (lm_field_is(field, "x-amz-function-error")) {
    head->has_function_error = true;
  } else if (lm_field_is(field, "x-amz-log-result")) {
    lm_report_read(&head->report, value, value_len);
  } else if (lm_field_is(field, "x-amz-executed-version")) {
    head_keep_text(head->executed_version, sizeof head->executed_version, value, value_len);
  } else if (lm_field_is(field, "x-amz-retry-after")) {
    head_read_retry_after(head, value, value_len, true);
  } else if (lm_field_is(field, "retry-after")) {
    head_read_retry_after(head, value, value_len, false);
  } else if (lm_field_is(field, "date")) {
    head->date_s = head_read_date(value, value_len);
  } else if (lm_field_is(field, "age")) {
    head->has_age = true;
  } else if (lm_field_is(field, "content-type") && head->status != 200) {
    const char *parameters = memchr(value, ';', value_len);
    head_keep_text(head->content_type, sizeof head->content_type, value,
                   parameters == NULL ? value_len : (size_t)(parameters - value));
  }
  return 0;
}
