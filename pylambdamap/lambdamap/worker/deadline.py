"""When an invocation of Lambda must be over: what maps that are called in it may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic

__all__ = ["ends", "of_runtime", "time_left", "until"]

_RESERVE_S, _RESERVE_SHARE = 0.5, 0.05  # of an invocation's time, for its answer

# `time.monotonic` of the end of the present invocation; None outside of one.
ends: ContextVar[float | None] = ContextVar("lambdamap_invocation_ends", default=None)


def time_left(context: object) -> float | None:
    """Seconds until Lambda ends the invocation of this context object, less a reserve for the
    answer: half a second, and a twentieth of it at least. None for what is no such object."""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return None
    left = float(remaining()) / 1000
    return left - max(_RESERVE_S, _RESERVE_SHARE * left)


_RUNTIMES = ("awslambdaric.bootstrap", "lambdamap.local.sandbox")


def of_runtime() -> float | None:
    """`time.monotonic` of the end of the invocation that this thread is called in, out of the frame
    of the runtime client that called: for handlers that are not wrapped. None elsewhere."""
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
    """While it is open, maps are over before Lambda ends this invocation, and by `end` (monotonic)."""
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
