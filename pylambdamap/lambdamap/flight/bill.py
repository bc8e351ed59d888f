"""What a map cost, estimated from the REPORT lines of some of its invocations."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from lambdamap.flight.ports import Bill

__all__ = ["Part", "billed"]


class Part(NamedTuple):
    """Some of a map's replies, and those of them with a REPORT line; as struct lm_bill_part in C."""

    replies: int
    worker_us: int  # spent in f
    reports: int
    reported_worker_us: int  # of worker_us
    billed_ms: int


def _estimate(part: Part, per_reply_ms: float) -> float:
    """Return the billed milliseconds of a part.

    Without a REPORT line an invocation counts as its time in f, which each reply says, and what the
    others were billed on top of theirs."""
    unknown = part.replies - part.reports
    unknown_ms = (part.worker_us - part.reported_worker_us) / 1000
    return part.billed_ms + unknown_ms + unknown * per_reply_ms


def _per_reply_ms(*parts: Part) -> float:
    """Return the mean of what reported invocations were billed beyond their time in f, in ms."""
    reports = sum(part.reports for part in parts)
    billed_ms = sum(part.billed_ms for part in parts)
    worker_us = sum(part.reported_worker_us for part in parts)
    return max(0.0, billed_ms - worker_us / 1000) / reports


def billed(bill: Bill | None) -> dict[str, float | int | None]:
    """Return the fields of `Stats` that REPORT lines give; {} if there was none."""
    if bill is None:
        return {}
    first, later = Part(*bill[0]), Part(*bill[1])
    cold, init_us, memory_mb, max_memory_mb = bill[2:]
    reports = first.reports + later.reports
    if reports == 0:
        return {}
    both = _per_reply_ms(first, later)
    billed_ms = sum(
        _estimate(part, _per_reply_ms(part) if part.reports else both) for part in (first, later)
    )
    return {
        "reports": reports,
        "billed_ms": billed_ms,
        "gb_seconds": billed_ms / 1000 * memory_mb / 1024,
        "memory_mb": memory_mb,
        "max_memory_mb": max_memory_mb,
        "cold_starts": cold,
        "init_seconds": init_us / 1e6,
    }
