"""codec="json": chunks and results as plain JSON, for a worker in any language.

A chunk is ``{"items": [...]}``, results are ``{"results": [...], "errors": {...}}``.
docs/wire-format.md has the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lambdamap import _codec
from lambdamap._codec import DecodeFailure

__all__ = ["JsonPacker", "is_plain", "items_of", "results_of"]


def is_plain(chunk: Any) -> bool:
    """Whether a chunk or a result is JSON rather than a frame."""
    return isinstance(chunk, dict) or (not isinstance(chunk, str) and bytes(chunk[:1]) == b"{")


class JsonPacker:
    """`ChunkPacker` for JSON: each item is written when it comes."""

    def __init__(self, star: bool) -> None:
        self._star = star
        self._items: list[bytes] = []
        self._held: bytes | None = None  # an item that belongs to the next chunk
        self._ended = False
        self.items_packed = 0
        self.chunk_bytes = 0

    @property
    def exhausted(self) -> bool:
        return self._ended and self._held is None

    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int:
        while len(self._items) < max_items and (not self._items or self.chunk_bytes < max_bytes):
            text, self._held = self._held, None
            if text is None:
                if self._ended:
                    break
                try:
                    item = next(iterator)
                except StopIteration:
                    self._ended = True
                    break
                # The arguments of one call are a tuple only here, and a list in JSON.
                text = _codec.encode_json(list(item) if self._star else item)
            if self._items and self.chunk_bytes + len(text) > max_bytes:
                self._held = text
                break
            self._items.append(text)
            self.chunk_bytes += len(text) + 1
            self.items_packed += 1
        return len(self._items)

    def take(self) -> bytes:
        chunk = b'{"items":[' + b",".join(self._items) + b"]}"
        self._items = []
        self.chunk_bytes = 0
        return chunk


def items_of(chunk: bytes) -> list[Any]:
    """The items of a chunk that was packed here, to be packed again."""
    items: list[Any] = json.loads(chunk)["items"]
    return items


def results_of(frame: Any) -> tuple[list[Any], dict[int, Any]]:
    """A reply's results, and by index the errors among them.

    Raises
    ------
    DecodeFailure
        It is not what the format says.
    """
    try:
        # A reply out of this process has been through no JSON yet.
        found = json.loads(_codec.encode_json(frame) if isinstance(frame, dict) else bytes(frame))
        results = found["results"]
        errors = {int(index): error for index, error in found.get("errors", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeFailure(
            f"the results are no such JSON ({type(error).__name__}: {error})"
        ) from None
    except _codec.EncodeFailure as error:
        raise DecodeFailure(f"the results are no JSON: {error.args[0]}") from None
    return results, errors
