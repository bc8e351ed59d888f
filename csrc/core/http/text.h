/* Characters, words and numbers in the text of a head. */
#ifndef LM_HTTP_TEXT_H
#define LM_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool
lm_text_is_digit(char c)
{
  return c >= '0' && c <= '9';
}

static inline bool
lm_text_is_blank(char c)
{
  return c == ' ' || c == '\t';
}

static inline char
lm_text_lower(char c)
{
  return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* Decimal digits only, at most 15 of them; -1 for anything else. */
static inline int64_t
lm_text_to_number(const char *text, size_t len)
{
  int64_t n = 0;
  if (len == 0 || len > 15)
    return -1;
  for (size_t i = 0; i < len; i++) {
    if (!lm_text_is_digit(text[i]))
      return -1;
    n = n * 10 + (text[i] - '0');
  }
  return n;
}

/* Whether the text is the word, which is in lower case; the text may be in either. */
bool lm_text_is_word(const char *text, size_t len, const char *word);

/* Remove blanks at both ends. */
void lm_text_trim(const char **text, size_t *len);

#endif
