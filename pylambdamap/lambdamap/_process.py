"""The process that f runs in, which f may fork or end.

f may fork, and return or raise in both processes. Only the original replies: a copy in which f
returns would run the remaining items again, reply a second time, and ask for more work on the
original's connection. The process may also end while output of f is still in its memory.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["call_once", "end_copies", "end_copy", "keep_printed"]

# Set where output can survive a crash: called with an item's position in the map and each text that f
# prints for it. What it keeps is shown if no reply contains it.
keep_printed: Callable[[int, str], None] | None = None


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


def end_copies(pid: int) -> None:
    """End this process unless it is the original, `pid`. Called after f has returned."""
    if os.getpid() != pid:
        end_copy()


def call_once(handler: Callable[[Any, Any], Any], event: Any, context: Any) -> Any:
    """Call a handler. A process that it has forked ends when the handler returns or raises there."""
    pid = os.getpid()
    try:
        result = handler(event, context)
    except BaseException as error:
        if os.getpid() != pid:
            end_copy(error)
        raise
    end_copies(pid)
    return result
