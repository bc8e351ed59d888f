/* http/report: REPORT lines in both formats, and everything that is none. */
#include <stdio.h>
#include <string.h>

#include "base/base64.h"
#include "check.h"
#include "http/head.h"
#include "http/report.h"

#define ID "8f5347e0-2a4c-4f4e-8a51-52e3ba2fdd3b"
#define START "START RequestId: " ID " Version: $LATEST\n"
#define END "END RequestId: " ID "\n"
#define REPORT(rest) "REPORT RequestId: " ID "\tDuration: 1.23 ms\t" rest
#define WARM REPORT("Billed Duration: 2 ms\tMemory Size: 1769 MB\tMax Memory Used: 57 MB\t\n")
#define JSON(metrics)                                                                              \
  "{\"time\":\"2026-11-22T00:00:00Z\",\"type\":\"platform.report\",\"record\":{\"requestId\":"     \
  "\"" ID "\",\"metrics\":{\"durationMs\":1.23," metrics "},\"status\":\"success\"}}\n"

/* What is read of a log, through a header as it arrives. */
static struct lm_report
read_log(const char *log, size_t len)
{
  static char text[LM_HEAD_MAX_LINE + 8];
  struct lm_reply_head head;
  struct lm_error err;
  CHECK(lm_base64_encoded_size(len) <= sizeof text);
  lm_base64_encode((const uint8_t *)log, len, text);
  lm_head_init(&head);
  struct lm_field field = {.name = "x-amz-log-result",
                           .name_len = 16,
                           .value = text,
                           .value_len = lm_base64_encoded_size(len)};
  CHECK(lm_head_read(&head, &field, &err) == 0);
  return head.report;
}

static struct lm_report
read_text(const char *log)
{
  return read_log(log, strlen(log));
}

static void
test_text(void)
{
  struct lm_report report = read_text(START "a line\n" END WARM);
  CHECK(report.known && !report.cold);
  CHECK(report.billed_ms == 2 && report.memory_mb == 1769 && report.max_memory_mb == 57);
  CHECK(report.init_us == 0);
  report = read_text(REPORT("Billed Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 57 MB\t"
                            "Init Duration: 123.456 ms\t\nXRAY TraceId: 1-2\tSampled: true\t\n"));
  CHECK(report.known && report.cold && report.billed_ms == 3 && report.init_us == 123456);
  report = read_text(REPORT("Billed Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 57 MB"
                            "\tStatus: timeout"));
  CHECK(report.known && report.billed_ms == 3000);
  report = read_text(REPORT("Billed Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 57 MB\t"
                            "Restore Duration: 500.5 ms\tBilled Restore Duration: 4 ms\n"));
  CHECK(report.cold && report.billed_ms == 7 && report.init_us == 500500);
}

static void
test_json(void)
{
  struct lm_report report =
      read_text(JSON("\"billedDurationMs\":2,\"memorySizeMB\":128,\"maxMemoryUsedMB\":57,"
                     "\"initDurationMs\":99.9"));
  CHECK(report.known && report.cold && report.billed_ms == 2);
  CHECK(report.memory_mb == 128 && report.max_memory_mb == 57 && report.init_us == 99900);
  report = read_text("{\"type\": \"platform.report\", \"billedDurationMs\": 2.0, "
                     "\"memorySizeMB\": 128, \"maxMemoryUsedMB\": 1}");
  CHECK(report.known && !report.cold && report.billed_ms == 2 && report.max_memory_mb == 1);
  report = read_text("{\"level\":\"INFO\",\"message\":\"\\\"billedDurationMs\\\":7\"}\n");
  CHECK(!report.known);
}

static void
test_the_last_line_counts(void)
{
  static const char fake[] = "REPORT RequestId: fake\tBilled Duration: 9 ms\tMemory Size: 9 MB\n";
  static char log[4096];
  size_t n = strlen("\n" WARM);
  memset(log, 'x', sizeof log);
  memcpy(log, fake, sizeof fake - 1);
  memcpy(log + sizeof log - n, "\n" WARM, n);
  struct lm_report report = read_log(log, sizeof log);
  CHECK(report.known && report.billed_ms == 2);
}

static void
test_what_is_no_report(void)
{
  static const char *const logs[] = {
      "",
      "\n\n\r\n",
      START END,
      "REPORT RequestId: ",
      " " WARM,
      REPORT("Memory Size: 128 MB\tMax Memory Used: 57 MB\n"),
      REPORT("Billed Duration: 2 ms\tMax Memory Used: 57 MB\n"),
      REPORT("Billed Duration: 2ms\tMemory Size: 128 MB\n"),
      REPORT("Billed Duration:  2 ms\tMemory Size: x MB\n"),
      REPORT("Billed Duration: -2 ms\tMemory Size: 128 MB\n"),
      REPORT("Billed Duration: 0 ms\tMemory Size: 128 MB\n"),
      REPORT("Billed Duration: 2 ms\tMemory Size: 1000000001 MB\n"),
      REPORT("Billed Duration: 99999999999999999999999999999 ms\tMemory Size: 128 MB\n"),
      REPORT("Billed Duration: 2 ms\tMemory Size: 128 MB\tInit Duration: 1e9 ms\n"),
      REPORT("Billed Duration: 2 ms\tMemory Size: 128"),
      JSON("\"billedDurationMs\":null,\"memorySizeMB\":128"),
      JSON("\"billedDurationMs\":\"2\",\"memorySizeMB\":128"),
      "{\"type\":\"platform.report\"}",
      "{",
  };
  for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++)
    CHECK(!read_text(logs[i]).known);
  struct lm_report report =
      read_text(REPORT("Billed Duration: 1000000000 ms\tMemory Size: 1000000000 MB\tInit Duration: "
                       "1000000000.999999999999 ms\tBilled Restore Duration: 1000000000 ms\n"));
  CHECK(report.known && report.memory_mb == LM_REPORT_MOST);
  CHECK(report.billed_ms == LM_REPORT_MOST && report.init_us == LM_REPORT_MOST);
}

static void
test_what_is_no_log(void)
{
  static const char *const texts[] = {"", "=", "====", "UkVQ*A==", "UkVQT1J", "\xff\xff\xff\xff"};
  static char large[20000];
  struct lm_report report = {0};
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
    lm_report_read(&report, texts[i], strlen(texts[i]));
  memset(large, 'A', sizeof large);
  for (size_t n = LM_REPORT_LOG_BYTES / 3 * 4; n <= sizeof large; n += 4)
    lm_report_read(&report, large, n);
  CHECK(!report.known && report.billed_ms == 0);
}

/* Every text is read within its bounds, whatever is cut off or changed in it (ASan watches). */
static void
test_damaged_lines(void)
{
  static const char line[] = START END REPORT(
      "Billed Duration: 3 ms\tMemory Size: 128 MB\tMax Memory Used: 57 MB\t"
      "Init Duration: 123.45 ms\t\n") JSON("\"billedDurationMs\":2,\"memorySizeMB\":128");
  size_t len = sizeof line - 1;
  char copy[sizeof line];
  for (size_t from = 0; from < len; from++) {
    read_log(line + from, len - from);
    read_log(line, from);
    for (int c = 0; c < 256; c += 17) {
      memcpy(copy, line, len);
      copy[from] = (char)c;
      struct lm_report report = read_log(copy, len);
      CHECK(!report.known || (report.billed_ms > 0 && report.billed_ms <= LM_REPORT_MOST));
    }
  }
}

int
main(void)
{
  test_text();
  test_json();
  test_the_last_line_counts();
  test_what_is_no_report();
  test_what_is_no_log();
  test_damaged_lines();
  return 0;
}
