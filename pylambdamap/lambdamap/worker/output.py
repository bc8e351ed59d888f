"""Captures what the items of a chunk print, for the reply.

Only the context that runs f is captured. Other threads, those that f starts included, write to the
original streams.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lambdamap import _process

__all__ = ["Output", "captured", "cut"]

_LAST_CHARS = 16384  # kept per chunk
_JSON_BYTES = 65536  # limit for the output in the reply
_PER_ITEM = 16  # bytes of JSON for an item's index and brackets


def cut(text: str, most: int, keep_end: bool = False) -> str:
    """Return the start (or the end) of a text that takes at most `most` bytes as JSON.

    Lone surrogates, which JSON cannot contain, become question marks.
    """
    text = text[-most:] if keep_end else text[:most]
    text = text.encode("utf-8", "replace").decode("utf-8")
    while (size := len(json.dumps(text))) > most:
        left = len(text) * most // size
        text = text[len(text) - left :] if keep_end else text[:left]
    return text


class Output:
    """The last 16 K characters that the items of a chunk printed, with the items' indices.

    Parameters
    ----------
    first
        Index in the map of the chunk's first item.

    Attributes
    ----------
    index : int
        Position in the chunk of the item that runs now.
    """

    def __init__(self, first: int = 0) -> None:
        self.index = 0
        self._first = first
        self._pieces: list[tuple[int, str]] = []
        self._kept = 0

    def write(self, text: str) -> int:
        """Add text of the current item, and return its length."""
        if text:
            if _process.keep_printed is not None:
                _process.keep_printed(self._first + self.index, text)
            self._pieces.append((self.index, text[-_LAST_CHARS:]))
            self._kept += len(self._pieces[-1][1])
            if self._kept > 2 * _LAST_CHARS or len(self._pieces) > _LAST_CHARS:
                self._trim()
        return len(text)

    def _trim(self) -> None:
        """Join the pieces of each item, and drop all but the last characters."""
        joined: list[tuple[int, str]] = []
        left = _LAST_CHARS
        for index, text in reversed(self._merged()):
            if left <= 0:
                break
            joined.append((index, text[-left:]))
            left -= len(joined[-1][1])
        self._pieces = joined[::-1]
        self._kept = _LAST_CHARS - max(0, left)

    def _merged(self) -> list[tuple[int, str]]:
        texts: dict[int, list[str]] = {}
        for index, text in self._pieces:
            texts.setdefault(index, []).append(text)
        return [(index, "".join(parts)) for index, parts in texts.items()]

    def joined(self) -> list[list[Any]]:
        """Return ``[[index, text], ...]`` for the reply; of too much text, the end."""
        self._trim()
        kept: list[list[Any]] = []
        left = _JSON_BYTES
        for index, text in reversed(self._pieces):
            left -= _PER_ITEM
            shown = cut(text, left, keep_end=True) if left > 2 else ""
            if not shown:
                break
            kept.append([index, shown])
            left -= len(json.dumps(shown))
        return kept[::-1]


_current: ContextVar[Output | None] = ContextVar("lambdamap_output", default=None)


class _Router:
    """Replaces a stream: text goes to the context's `Output`, everything else to the stream."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        output = _current.get()
        if output is not None:
            if not isinstance(text, str):
                raise TypeError(f"write() argument must be str, not {type(text).__name__}")
            return output.write(text)
        return int(self._stream.write(text) or 0) if self._stream is not None else len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_lock = threading.Lock()
_users = 0


def _release() -> None:
    """In the child of a fork, write to the streams: its copy of the output is never read."""
    global _lock
    _lock = threading.Lock()
    _current.set(None)


os.register_at_fork(after_in_child=_release)


@contextmanager
def captured(output: Output) -> Iterator[None]:
    """Send what this context writes to sys.stdout and sys.stderr to `output`, within the block."""
    global _users
    token = _current.set(output)
    with _lock:
        _users += 1
        if _users == 1:
            sys.stdout, sys.stderr = _Router(sys.stdout), _Router(sys.stderr)
    try:
        yield
    finally:
        _current.reset(token)
        with _lock:
            _users -= 1
            if _users == 0:
                # A stream that f has assigned stays.
                if isinstance(sys.stdout, _Router):
                    sys.stdout = sys.stdout._stream
                if isinstance(sys.stderr, _Router):
                    sys.stderr = sys.stderr._stream
