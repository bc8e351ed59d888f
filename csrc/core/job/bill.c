#include "job/bill.h"

#include "job/job.h"

void
lm_bill_add(struct lm_bill *bill, const struct lm_job *job)
{
  const struct lm_report *report = &job->head.report;
  struct lm_bill_part *part = job->number < LM_BILL_FIRST ? &bill->first : &bill->later;
  part->replies++;
  part->worker_us += job->view.worker_us;
  if (!report->known)
    return;
  part->reports++;
  part->reported_worker_us += job->view.worker_us;
  part->billed_ms += report->billed_ms;
  bill->cold += report->cold;
  bill->init_us += report->init_us;
  if (report->memory_mb > bill->memory_mb)
    bill->memory_mb = report->memory_mb;
  if (report->max_memory_mb > bill->max_memory_mb)
    bill->max_memory_mb = report->max_memory_mb;
}
