"""The context that a map is called in: an invocation of Lambda, a web request.

A map that is called in an invocation ends before Lambda kills it. A web framework's integration
registers once per process how to find the current `Scope`. A map that is called in a scope takes
options from it, is registered with it, and ends with it, so that no map outlives its request.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

from lambdamap.errors import DeadlineError

__all__ = ["FUNCTION_TIMEOUT", "Maps", "Running", "Scope", "adopt", "limit", "options", "register"]

FUNCTION_TIMEOUT = "raise the Lambda function's timeout"


class Running(Protocol):
    """The part of a map in flight that a scope uses."""

    @property
    def closed(self) -> bool: ...
    def abandon(self, why: str) -> None: ...


class Maps:
    """The maps that a scope has started and that are still referenced. The scope owns none of them."""

    def __init__(self) -> None:
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, engine: Running) -> None:
        self._live.add(engine)

    def abandon(self, why: str) -> int:
        """Cancel the maps that have not ended, and return their number."""
        running = [engine for engine in self._live if not engine.closed]
        for engine in running:
            engine.abandon(why)
        return len(running)


class Scope(Protocol):
    """The context of a map."""

    def options(self) -> Mapping[str, Any]:
        """Return options that override those of the process and are overridden by those of the call."""

    def deadline(self) -> tuple[float, str] | None:
        """Return the `time.monotonic` by which maps must end, and what to do if that is too soon."""

    def adopt(self, engine: Running) -> None:
        """Register a map that was started in this scope."""


_finders: list[Callable[[], Scope | None]] = []


def register(finder: Callable[[], Scope | None]) -> None:
    """Register a function that returns the current scope or None. Idempotent."""
    if finder not in _finders:
        _finders.append(finder)


def _current() -> Scope | None:
    for finder in _finders:
        scope = finder()
        if scope is not None:
            return scope
    return None


def options() -> Mapping[str, Any]:
    """Return the options of the current scope."""
    scope = _current()
    return {} if scope is None else scope.options()


def _deadline() -> tuple[float, str] | None:
    scope = _current()
    found = [] if scope is None else [scope.deadline()]
    # Loaded if there is an invocation; lacks `ends` while another thread is loading it.
    known = getattr(sys.modules.get("lambdamap.worker.deadline"), "ends", None)
    ends = None if known is None else known.get()
    if ends is None and "AWS_LAMBDA_RUNTIME_API" in os.environ:
        from lambdamap.worker.deadline import of_runtime

        ends = of_runtime()  # a handler that is not wrapped
    if ends is not None:
        found.append((ends, FUNCTION_TIMEOUT))
    return min((known for known in found if known is not None), default=None)


def limit(timeout: float | None) -> float | None:
    """Return a map's timeout, in seconds, cut to the time left in the current scope and invocation.

    Raises
    ------
    DeadlineError
        No time is left.
    """
    found = _deadline()
    if found is None:
        return timeout
    left = found[0] - monotonic()
    if left <= 0:
        raise DeadlineError(f"no time left to start a map [nothing ran; {found[1]}]")
    return left if timeout is None else min(timeout, left)


def adopt(engine: Running) -> None:
    """Register a map that was started with the current scope."""
    scope = _current()
    if scope is not None:
        scope.adopt(engine)
