#include "wire/names.h"

#include <stdint.h>
#include <string.h>

enum { MAX_PARTS = 8, ACCOUNT_DIGITS = 12 };

static bool
is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static bool
is_lower(char c)
{
  return c >= 'a' && c <= 'z';
}

static bool
is_word(char c) /* of names, versions and aliases */
{
  return is_digit(c) || is_lower(c) || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
}

static bool
is(const struct lm_span *span, const char *text)
{
  return span->len == strlen(text) && memcmp(span->at, text, span->len) == 0;
}

/* --- one part each: the length of what is allowed from the beginning --- */

static size_t
region_len(const char *text, size_t len)
{
  size_t i = 0;
  while (i < len && (is_lower(text[i]) || is_digit(text[i]) ||
                     (text[i] == '-' && i > 0 && i + 1 < len && text[i - 1] != '-')))
    i++;
  return i;
}

static size_t
qualifier_len(const char *text, size_t len)
{
  struct lm_span all = {text, len};
  if (is(&all, "$LATEST") || is(&all, "$LATEST.PUBLISHED"))
    return len;
  size_t i = 0;
  while (i < len && is_word(text[i]))
    i++;
  return i;
}

static size_t
name_len(const char *text, size_t len)
{
  size_t i = 0;
  while (i < len && (is_word(text[i]) || text[i] == '.'))
    i++;
  return i;
}

static size_t
partition_len(const char *text, size_t len)
{
  size_t i = 0;
  while (i < len && (i < 3 ? text[i] == "aws"[i] : is_lower(text[i]) || text[i] == '-'))
    i++;
  return i >= 3 ? i : 0;
}

/* A region as AWS names its own, e.g. us-gov-west-1: words, and a digit as the last. */
static bool
is_aws_region(const struct lm_span *span)
{
  size_t hyphens = 0;
  if (span->len > LM_NAME_MAX_REGION)
    return false;
  for (size_t i = 0; i + 1 < span->len; i++) {
    if (span->at[i] == '-')
      hyphens++;
    else if (!is_lower(span->at[i]))
      return false;
  }
  return hyphens >= 2 && region_len(span->at, span->len) == span->len &&
         is_digit(span->at[span->len - 1]) && span->at[span->len - 2] == '-' &&
         is_lower(span->at[1]);
}

static bool
is_account(const struct lm_span *span)
{
  for (size_t i = 0; i < span->len; i++)
    if (!is_digit(span->at[i]))
      return false;
  return span->len == ACCOUNT_DIGITS;
}

/* --- function names --- */

static int
bad_function(const char *text, const char *at, struct lm_error *err)
{
  return lm_error_at(err, LM_E_INVALID, (size_t)(at - text),
                     "the function must be NAME, NAME:ALIAS, ACCOUNT:function:NAME or an ARN, of "
                     "letters, digits, '-', '_' and '.' (wrong at character %zu)",
                     (size_t)(at - text) + 1);
}

/* The text's parts between colons, or 0 when they are too many. */
static size_t
split(const char *text, size_t len, struct lm_span parts[MAX_PARTS])
{
  size_t n = 0, from = 0;
  for (size_t i = 0; i <= len; i++) {
    if (i < len && text[i] != ':')
      continue;
    if (n == MAX_PARTS)
      return 0;
    parts[n++] = (struct lm_span){text + from, i - from};
    from = i + 1;
  }
  return n;
}

/* The parts in front of the name. Returns how many there are. */
static size_t
take_front(const struct lm_span parts[], size_t n, struct lm_name *name)
{
  size_t at = 0;
  if (n >= 7 && is(&parts[0], "arn") && is(&parts[2], "lambda")) {
    name->partition = parts[1];
    name->region = parts[3];
    name->account = parts[4];
    return is(&parts[5], "function") ? 6 : 5;
  }
  if (n >= 3 && (is_account(&parts[1]) || is(&parts[1], "function")) && is_aws_region(&parts[0]))
    name->region = parts[at++];
  if (n - at >= 2 && is_account(&parts[at]))
    name->account = parts[at++];
  if (n - at >= 2 && is(&parts[at], "function"))
    at++;
  return at;
}

/* NULL, or the place from which a part is wrong. */
static const char *
wrong_in(const struct lm_span *part, size_t good)
{
  return good == part->len && good > 0 ? NULL : part->at + good;
}

static const char *
wrong_place(const struct lm_span parts[], size_t n, struct lm_name *name)
{
  size_t at = take_front(parts, n, name);
  const char *wrong = NULL;
  if (name->partition.at != NULL)
    wrong = wrong_in(&name->partition, partition_len(name->partition.at, name->partition.len));
  if (wrong == NULL && name->region.at != NULL && !is_aws_region(&name->region))
    wrong = name->region.at;
  if (wrong == NULL && name->account.at != NULL && !is_account(&name->account))
    wrong = name->account.at;
  if (wrong != NULL)
    return wrong;
  if (name->partition.at != NULL && at != 6)
    return parts[5].at; /* an ARN, of something else than a function */
  name->function = parts[at++];
  wrong = wrong_in(&name->function, name_len(name->function.at, name->function.len));
  if (wrong != NULL)
    return wrong;
  if (is(&name->function, ".") || is(&name->function, ".."))
    return name->function.at;
  if (at == n)
    return NULL;
  name->qualifier = parts[at++];
  wrong = wrong_in(&name->qualifier, qualifier_len(name->qualifier.at, name->qualifier.len));
  if (wrong == NULL && name->qualifier.len > LM_NAME_MAX_QUALIFIER)
    wrong = name->qualifier.at + LM_NAME_MAX_QUALIFIER;
  return wrong != NULL ? wrong : at < n ? parts[at].at : NULL;
}

int
lm_name_check_function(const char *text, size_t len, struct lm_name *name, struct lm_error *err)
{
  struct lm_span parts[MAX_PARTS];
  struct lm_name own;
  memset(&own, 0, sizeof own);
  if (len == 0 || len > LM_NAME_MAX_FUNCTION)
    return lm_error_set(err, LM_E_INVALID, "the function must have 1 to %d characters",
                        LM_NAME_MAX_FUNCTION);
  size_t n = split(text, len, parts);
  const char *wrong = n == 0 ? text + len : wrong_place(parts, n, &own);
  if (wrong != NULL)
    return bad_function(text, wrong, err);
  if (name != NULL)
    *name = own;
  return 0;
}

int
lm_name_check_qualifier(const char *text, size_t len, struct lm_error *err)
{
  if (len == 0 || len > LM_NAME_MAX_QUALIFIER)
    return lm_error_set(err, LM_E_INVALID, "the qualifier must have 1 to %d characters",
                        LM_NAME_MAX_QUALIFIER);
  size_t good = qualifier_len(text, len);
  if (good < len)
    return lm_error_at(err, LM_E_INVALID, good,
                       "the qualifier must be $LATEST, a version's number or an alias of letters, "
                       "digits, '-' and '_' (wrong at character %zu)",
                       good + 1);
  return 0;
}

int
lm_name_check_region(const char *text, size_t len, struct lm_error *err)
{
  if (len == 0 || len > LM_NAME_MAX_REGION)
    return lm_error_set(err, LM_E_INVALID, "the region must have 1 to %d characters",
                        LM_NAME_MAX_REGION);
  size_t good = region_len(text, len);
  if (good < len)
    return lm_error_at(err, LM_E_INVALID, good,
                       "the region must be lower-case letters, digits and single hyphens between "
                       "them, as in eu-central-1 (wrong at character %zu)",
                       good + 1);
  return 0;
}

int
lm_name_check_header(const char *what, const char *text, size_t len, size_t max_len,
                     struct lm_error *err)
{
  if (len > max_len)
    return lm_error_set(err, LM_E_INVALID, "%s is longer than %zu bytes", what, max_len);
  for (size_t i = 0; i < len; i++)
    if (text[i] < ' ' || text[i] >= 0x7f)
      return lm_error_at(err, LM_E_INVALID, i, "%s must be plain ASCII text (wrong at byte %zu)",
                         what, i + 1);
  return 0;
}

/* --- writing --- */

void
lm_name_append_encoded(struct lm_buf *out, const char *text, size_t len)
{
  static const char digits[] = "0123456789ABCDEF";
  for (size_t i = 0; i < len; i++) {
    unsigned char c = (unsigned char)text[i];
    if (is_word(text[i]) || c == '.' || c == '~') {
      lm_buf_byte(out, c);
    } else {
      char escape[3] = {'%', digits[c >> 4], digits[c & 15]};
      lm_buf_append(out, escape, sizeof escape);
    }
  }
}

void
lm_name_append_path(struct lm_buf *out, const char *function, size_t len)
{
  lm_buf_str(out, "/2015-03-31/functions/");
  lm_name_append_encoded(out, function, len);
  lm_buf_str(out, "/invocations");
}

void
lm_name_append_query(struct lm_buf *out, const char *qualifier, size_t len)
{
  if (len == 0)
    return;
  lm_buf_str(out, "Qualifier=");
  lm_name_append_encoded(out, qualifier, len);
}
