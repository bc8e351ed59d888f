#include "http/report.h"

#include <string.h>

#include "base/base64.h"
#include "http/text.h"

struct line {
  const char *at;
  size_t len;
};

/* How the two formats spell the same. A number ends with `end`, or with ',' in JSON. */
static const struct format {
  const char *begins, *has, *end;
  const char *billed, *memory, *max_memory, *init, *restore, *billed_restore;
} FORMATS[] = {
    {"REPORT RequestId: ", "", " ", "\tBilled Duration: ", "\tMemory Size: ", "\tMax Memory Used: ",
     "\tInit Duration: ", "\tRestore Duration: ", "\tBilled Restore Duration: "},
    {"{", "\"platform.report\"", "}",
     "\"billedDurationMs\":", "\"memorySizeMB\":", "\"maxMemoryUsedMB\":", "\"initDurationMs\":",
     "\"restoreDurationMs\":", "\"billedRestoreDurationMs\":"},
};

/* What follows the word in the line; NULL: it is not there. */
static const char *
report_after(const struct line *line, const char *word)
{
  size_t n = strlen(word);
  for (size_t i = 0; i + n <= line->len; i++)
    if (memcmp(line->at + i, word, n) == 0)
      return line->at + i + n;
  return NULL;
}

/* Thousandths of the number after the word: 0 if the word is not there, -1 for an invalid or larger one. */
static int64_t
report_number(const struct line *line, const char *word, const char *end)
{
  const char *at = report_after(line, word), *stop = line->at + line->len;
  int64_t n = 0;
  if (at == NULL)
    return 0;
  if (at < stop && *at == ' ') /* after a colon of JSON */
    at++;
  if (at == stop || !lm_text_is_digit(*at))
    return -1;
  for (; at < stop && lm_text_is_digit(*at); at++)
    if ((n = n * 10 + (*at - '0')) > LM_REPORT_MOST)
      return -1;
  n *= 1000;
  if (at < stop && *at == '.') {
    at++;
    for (int64_t unit = 100; at < stop && lm_text_is_digit(*at); at++, unit /= 10)
      n += unit * (*at - '0');
  }
  return at < stop && (*at == *end || *at == ',') ? n : -1;
}

static bool
report_read_line(struct lm_report *report, const struct line *line, const struct format *format)
{
  const char *end = format->end;
  int64_t billed = report_number(line, format->billed, end);
  int64_t memory = report_number(line, format->memory, end);
  int64_t max_memory = report_number(line, format->max_memory, end);
  int64_t init = report_number(line, format->init, end);
  int64_t restore = report_number(line, format->restore, end);
  int64_t billed_restore = report_number(line, format->billed_restore, end);
  if (billed <= 0 || memory < 1000 || max_memory < 0 || init < 0 || restore < 0 ||
      billed_restore < 0)
    return false;
  int64_t billed_ms = (billed + billed_restore + 999) / 1000, start_us = init + restore;
  report->known = true;
  report->cold = start_us > 0;
  report->billed_ms = billed_ms < LM_REPORT_MOST ? (uint32_t)billed_ms : LM_REPORT_MOST;
  report->memory_mb = (uint32_t)(memory / 1000);
  report->max_memory_mb = (uint32_t)(max_memory / 1000);
  report->init_us = start_us < LM_REPORT_MOST ? (uint32_t)start_us : LM_REPORT_MOST;
  return true;
}

/* Take the last line off the text. False: none is left. */
static bool
report_last_line(struct line *text, struct line *line)
{
  if (text->len == 0)
    return false;
  size_t end = text->len, start;
  while (end > 0 && (text->at[end - 1] == '\n' || text->at[end - 1] == '\r'))
    end--;
  for (start = end; start > 0 && text->at[start - 1] != '\n';)
    start--;
  line->at = text->at + start;
  line->len = end - start;
  text->len = start;
  return true;
}

void
lm_report_read(struct lm_report *report, const char *base64, size_t len)
{
  uint8_t bytes[LM_REPORT_LOG_BYTES];
  struct lm_error err;
  size_t size;
  if (lm_base64_decoded_size(base64, len, &size, &err) != 0 || size > sizeof bytes ||
      lm_base64_decode(base64, len, bytes, &err) != 0)
    return;
  struct line text = {(const char *)bytes, size}, line;
  while (report_last_line(&text, &line))
    for (size_t i = 0; i < sizeof FORMATS / sizeof FORMATS[0]; i++) {
      size_t n = strlen(FORMATS[i].begins);
      if (line.len >= n && memcmp(line.at, FORMATS[i].begins, n) == 0 &&
          report_after(&line, FORMATS[i].has) != NULL) {
        (void)report_read_line(report, &line, &FORMATS[i]);
        return;
      }
    }
}
