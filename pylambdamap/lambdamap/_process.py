"""What whoever calls f knows of the process that it runs in.

f may fork, and return or raise in both processes. Only the original answers: a copy that came back
from f would run the rest of the items again, answer a second time, and ask for more work on the
original's connection. And the process may end at any time, with what f has printed in its memory.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["call_once", "end_copies", "end_copy", "keep_printed"]

# Set where output survives a crash: told of each text that f prints, and of its item's position in
# the map; what it keeps is shown when there is no reply to show it.
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
    """End this process unless it is the original, `pid`; for after a call has returned."""
    if os.getpid() != pid:
        end_copy()


def call_once(handler: Callable[[Any, Any], Any], event: Any, context: Any) -> Any:
    """Call a handler; what returns or raises in another process ends there."""
    pid = os.getpid()
    try:
        result = handler(event, context)
    except BaseException as error:
        if os.getpid() != pid:
            end_copy(error)
        raise
    end_copies(pid)
    return result
