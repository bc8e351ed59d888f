"""A deployed function: the three kinds of handler, with no variable set.

A local Lambda trusts its caller and tells its sandboxes so; this undoes that.
"""

from __future__ import annotations

import os
import sys
from typing import Any

for _name in ("LAMBDAMAP_ALLOW", "LAMBDAMAP_BY_VALUE"):
    if os.environ.get(f"DEPLOYED_{_name}") is None:
        os.environ.pop(_name, None)
    else:
        os.environ[_name] = os.environ[f"DEPLOYED_{_name}"]

from lambdamap.worker import handler as plain  # noqa: E402
from lambdamap.worker import wrap  # noqa: E402
from lambdamap.worker.entry import zappa_task  # noqa: E402

__all__ = ["plain", "without_pandas", "wrapped", "zappa"]


@wrap
def wrapped(event: Any, context: Any) -> Any:
    return "not lambdamap's"


def zappa(event: Any, context: Any) -> Any:
    """Do what zappa's handler does with an event that has a command."""
    assert event["command"] == "lambdamap.worker.entry.zappa_task"
    return zappa_task(event, context)


def without_pandas(event: Any, context: Any) -> Any:
    sys.modules["pandas"] = None  # type: ignore[assignment]  # as if it were not installed
    return plain(event, context)
