"""Trying items again whose function raised: which, when, and what is said of the earlier attempts."""

from __future__ import annotations

import heapq
from random import random
from time import monotonic
from typing import TYPE_CHECKING

from lambdamap import errors

if TYPE_CHECKING:
    from lambdamap.options import Options

__all__ = ["Retrier"]

_LONGEST_S = 60.0  # to which delays double, unless retry_delay is longer
_TEXT = 500  # characters of a note on an earlier exception


class Retrier:
    """The items of one map that wait to be tried again. For its engine's thread only.

    Parameters
    ----------
    options
        Those of the map: ``retries``, ``retry_on``, ``retry_delay``.
    deadline
        Of the map, on the clock of `time.monotonic`: an item is not tried again after it.
    """

    def __init__(self, options: Options, deadline: float | None) -> None:
        self._retries = options.retries
        self._types = Exception if options.retry_on is None else options.retry_on
        self._delay = options.retry_delay
        self._deadline = deadline
        self._earlier: dict[int, list[str]] = {}  # the exceptions of unfinished items, by index
        self._waiting: list[tuple[float, int, bytes]] = []  # a heap: when, index, chunk

    def __len__(self) -> int:
        return len(self._waiting)

    def when(self, index: int, error: BaseException) -> float | None:
        """Return when to try an item again after f has raised; None: not any more."""
        kind = type(error)
        own = not issubclass(kind, errors.LambdaMapError) or issubclass(kind, errors.RemoteError)
        done = len(self._earlier.get(index, ()))
        if not own or not issubclass(kind, self._types) or done >= self._retries:
            return None
        delay = min(self._delay * 2**done, max(_LONGEST_S, self._delay))
        due = monotonic() + delay * (0.5 + random())
        return None if self._deadline is not None and due >= self._deadline else due

    def add(self, index: int, error: BaseException, chunk: bytes, when: float) -> None:
        """Try an item again at a time returned by `when`. chunk: it alone, packed."""
        earlier = self._earlier.setdefault(index, [])
        try:
            text = f"{type(error).__name__}: {error}"
        except Exception:  # its __str__ raised
            text = type(error).__name__
        earlier.append(f"attempt {len(earlier) + 1}: {text[:_TEXT]}")
        heapq.heappush(self._waiting, (when, index, chunk))

    def take(self) -> list[tuple[int, bytes]]:
        """Remove and return the items whose time has come, each with its chunk."""
        due = []
        while self._waiting and self._waiting[0][0] <= monotonic():
            _, index, chunk = heapq.heappop(self._waiting)
            due.append((index, chunk))
        return due

    def left_s(self) -> float | None:
        """Return in how many seconds the next item is due; None: none waits."""
        return max(0.0, self._waiting[0][0] - monotonic()) if self._waiting else None

    def ended(self, index: int, error: BaseException | None = None) -> None:
        """Forget an item. Its last error gets the earlier ones as notes."""
        earlier = self._earlier.pop(index, ())
        if error is not None:
            for text in earlier:
                errors.note(error, text)

    def clear(self) -> None:
        self._waiting.clear()
