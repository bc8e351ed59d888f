"""Handlers of Lambda functions that map over themselves: one wrapped, one not."""

from __future__ import annotations

from typing import Any

import lambdamap
import tasks
from lambdamap.worker import wrap


def forgetful(event: Any, context: Any) -> Any:
    try:
        return list(lambdamap.map(tasks.square, event["items"], chunksize=2))
    except lambdamap.ConfigError as error:
        return {"refused": str(error)}


go = wrap(forgetful)


def slow(event: Any, context: Any) -> Any:
    """Map for longer than the function may run."""
    results: list[float] = []
    try:
        for nap in lambdamap.map(tasks.sleep, event["naps"], chunksize=1, max_concurrency=1):
            results.append(nap)
    except lambdamap.DeadlineError as error:
        return {"finished": len(results) + len(error.partial), "says": str(error)}
    return {"finished": len(results)}


slow = wrap(slow)


def nested_naps(naps: list[float]) -> list[float]:
    """An f that calls a map itself."""
    return list(lambdamap.map(tasks.sleep, naps, chunksize=1))
