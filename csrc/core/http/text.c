#include "http/text.h"

bool
lm_text_is_word(const char *text, size_t len, const char *word)
{
  size_t i = 0;
  for (; i < len && word[i] != '\0'; i++)
    if (lm_text_lower(text[i]) != word[i])
      return false;
  return i == len && word[i] == '\0';
}

void
lm_text_trim(const char **text, size_t *len)
{
  while (*len > 0 && lm_text_is_blank(**text))
    ++*text, --*len;
  while (*len > 0 && lm_text_is_blank((*text)[*len - 1]))
    --*len;
}
