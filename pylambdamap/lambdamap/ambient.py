"""What surrounds a map without being said in its call: an invocation of Lambda, a web request.

A map that is called in an invocation ends before Lambda kills it. A web framework's integration
registers once per process how to find the present `Scope`; a map that is called in one takes options
from it, ends with it, and is known to it, so that nothing goes on behind a request that is over.
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
    """What a scope needs of a map in flight."""

    @property
    def closed(self) -> bool: ...
    def abandon(self, why: str) -> None: ...


class Maps:
    """The maps that a scope has started and that are still referenced."""

    def __init__(self) -> None:
        self._live: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, engine: Running) -> None:
        self._live.add(engine)

    def abandon(self, why: str) -> int:
        """Cancel those that have not ended; how many that are."""
        running = [engine for engine in self._live if not engine.closed]
        for engine in running:
            engine.abandon(why)
        return len(running)


class Scope(Protocol):
    """What a map is called in."""

    def options(self) -> Mapping[str, Any]:
        """Options that stand between the call's and the process's."""

    def deadline(self) -> tuple[float, str] | None:
        """`time.monotonic` when maps must have ended, and the setting that moves it."""

    def adopt(self, engine: Running) -> None:
        """A map has been started in it."""


_finders: list[Callable[[], Scope | None]] = []


def register(finder: Callable[[], Scope | None]) -> None:
    """Ask this for the present scope from now on. Idempotent."""
    if finder not in _finders:
        _finders.append(finder)


def _current() -> Scope | None:
    for finder in _finders:
        scope = finder()
        if scope is not None:
            return scope
    return None


def options() -> Mapping[str, Any]:
    """Options of the present scope."""
    scope = _current()
    return {} if scope is None else scope.options()


def _deadline() -> tuple[float, str] | None:
    scope = _current()
    found = [] if scope is None else [scope.deadline()]
    invocation = sys.modules.get("lambdamap.worker.deadline")  # loaded where there is one
    ends = None if invocation is None else invocation.ends.get()
    if ends is None and "AWS_LAMBDA_RUNTIME_API" in os.environ:
        from lambdamap.worker.deadline import of_runtime

        ends = of_runtime()  # a plain handler
    if ends is not None:
        found.append((ends, FUNCTION_TIMEOUT))
    return min((known for known in found if known is not None), default=None)


def limit(timeout: float | None) -> float | None:
    """A map's timeout, in seconds, cut to what is left of the present scope and invocation.

    Raises
    ------
    DeadlineError
        Nothing is left.
    """
    found = _deadline()
    if found is None:
        return timeout
    left = found[0] - monotonic()
    if left <= 0:
        raise DeadlineError(f"no time left to start a map [nothing ran; {found[1]}]")
    return left if timeout is None else min(timeout, left)


def adopt(engine: Running) -> None:
    """Tell the present scope of a map that has been started."""
    scope = _current()
    if scope is not None:
        scope.adopt(engine)
