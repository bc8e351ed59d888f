"""The deadline of the current Lambda invocation, which limits the maps called in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

__all__ = ["ends", "of_runtime", "time_left", "until"]

_RESERVE_S, _RESERVE_SHARE = 0.5, 0.05  # of an invocation's time, for sending its reply
_RUNTIMES = ("awslambdaric.bootstrap", "lambdamap.local.sandbox")  # modules that call handlers

# The deadline of the current invocation on the clock of `time.monotonic`; None outside of one.
ends: ContextVar[float | None] = ContextVar("lambdamap_invocation_ends", default=None)


def time_left(context: object) -> float | None:
    """Return the seconds left in an invocation, less a reserve; None if `context` is not Lambda's.

    The reserve, for sending the reply, is half a second or a twentieth of the time, whichever is
    more.
    """
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return None
    left = float(remaining()) / 1000
    return left - max(_RESERVE_S, _RESERVE_SHARE * left)


def of_runtime() -> float | None:
    """Return the deadline of the invocation that this thread serves; None outside an invocation.

    For handlers that are not wrapped: the context object is found in the stack frame of the runtime
    client. The deadline is on the clock of `time.monotonic`.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        spec = frame.f_globals.get("__spec__")
        if getattr(spec, "name", None) in _RUNTIMES:
            for value in frame.f_locals.values():
                if (left := time_left(value)) is not None:
                    return monotonic() + left
    return None


@contextmanager
def until(context: object, end: float | None = None) -> Iterator[None]:
    """Limit the maps called in this block to Lambda's deadline, and to `end` (monotonic) if given."""
    left = time_left(context)
    if left is not None:
        end = monotonic() + left if end is None else min(end, monotonic() + left)
    if end is None:
        yield
        return
    token = ends.set(end)
    try:
        yield
    finally:
        ends.reset(token)
