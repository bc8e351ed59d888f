"""A shared budget of bytes, and a queue for it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

__all__ = ["Budget", "Grant"]


class Grant:
    """Some bytes of a `Budget`, or a place in its queue, until `release`."""

    __slots__ = ("_budget", "_on_given", "given", "size")

    def __init__(self, budget: Budget, size: int, on_given: Callable[[], None]) -> None:
        self._budget: Budget | None = budget
        self._on_given = on_given
        self.size = size
        self.given = False

    def shrink(self, size: int) -> None:
        """Return the bytes above `size`."""
        if self._budget is not None and self.given and size < self.size:
            excess, self.size = self.size - size, size
            self._budget._returned(excess)

    def release(self) -> None:
        """Return the bytes, or leave the queue. Idempotent."""
        budget, self._budget = self._budget, None
        if budget is None:
            return
        if self.given:
            budget._returned(self.size)
        else:
            budget._left(self)


class Budget:
    """Bytes given out in order of request. For one event loop.

    A request asks for all the bytes that it will need. So each grant can be used and returned, and
    there is no deadlock of holders that wait for more.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._queue: deque[Grant] = deque()

    def ask(self, size: int, on_given: Callable[[], None]) -> Grant:
        """Ask for `size` bytes, at most `limit`.

        If they are not available yet, `on_given` is called from the loop when they are.
        """
        grant = Grant(self, min(size, self.limit), on_given)
        if not self._queue and self.used + grant.size <= self.limit:
            self._give(grant)
        else:
            self._queue.append(grant)
        return grant

    def take(self, size: int) -> Grant:
        """Take `size` bytes at once, above the limit if necessary: they are in memory already."""
        grant = Grant(self, size, lambda: None)
        self._give(grant)
        return grant

    @property
    def is_exhausted(self) -> bool:
        return bool(self._queue) or self.used >= self.limit

    def _give(self, grant: Grant) -> None:
        grant.given = True
        self.used += grant.size

    def _returned(self, size: int) -> None:
        self.used -= size
        self._serve_queue()

    def _left(self, grant: Grant) -> None:
        self._queue.remove(grant)
        self._serve_queue()

    def _serve_queue(self) -> None:
        while self._queue and self.used + self._queue[0].size <= self.limit:
            grant = self._queue.popleft()
            self._give(grant)
            asyncio.get_running_loop().call_soon(grant._on_given)
