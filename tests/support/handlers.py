"""Handlers of Lambda functions that map over themselves: one wrapped, one that forgot."""

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
