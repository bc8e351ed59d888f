"""Processes that f forks and that do not end by themselves.

Only the original answers. A copy that came back from f would run the rest of the items again,
answer a second time, and ask for more work on the original's connection.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["call_once", "end_copy"]


def end_copy(error: BaseException | None = None) -> NoReturn:
    """End this process as Python would end a script's: f has returned in it, or raised `error`."""
    code = 0
    if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
        code = error.code or 0
    elif error is not None:
        code = 1
        with contextlib.suppress(BaseException):
            import traceback

            traceback.print_exception(type(error), error, error.__traceback__)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    os._exit(code & 0xFF)


def call_once(handler: Callable[[Any, Any], Any], event: Any, context: Any) -> Any:
    """Call a handler; what returns or raises in another process ends there."""
    pid = os.getpid()
    try:
        result = handler(event, context)
    except BaseException as error:
        if os.getpid() != pid:
            end_copy(error)
        raise
    if os.getpid() != pid:
        end_copy()
    return result
