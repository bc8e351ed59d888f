"""codec="json": chunks and results as JSON, for a worker in any language.

A chunk is ``{"items": [...]}``, results are ``{"results": [...], "errors": {...}}``; see
docs/wire-format.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from lambdamap import _codec
from lambdamap._codec import DecodeFailure
from lambdamap.shipping import envelope

__all__ = ["JsonPacker", "items_of", "results_of"]


class JsonPacker:
    """`ChunkPacker` for JSON: each item is encoded as soon as it is read."""

    def __init__(self, star: bool) -> None:
        self._star = star
        self._items: list[bytes] = []
        self._held: bytes | None = None  # the first item of the next chunk
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
                # The arguments of one call are a tuple here and a list in JSON.
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

    def skip(self) -> None:
        self.items_packed += 1


def items_of(chunk: bytes) -> list[Any]:
    """Return the items of a chunk that was packed here, to be packed again."""
    items: list[Any] = json.loads(chunk)["items"]
    return items


_INDEX = re.compile("0|[1-9][0-9]{0,9}")


def results_of(frame: Any) -> tuple[list[Any], dict[int, Any]]:
    """Return the results of a reply, and the errors among them by index.

    Raises
    ------
    DecodeFailure
        The reply does not follow docs/wire-format.md.
    """
    try:
        # A reply from this process was never JSON text.
        text = _codec.encode_json(frame) if isinstance(frame, dict) else bytes(frame)
        found = envelope.load(text)
    except envelope.Malformed as wrong:
        raise DecodeFailure(f"the results are not valid JSON: {wrong}") from None
    except _codec.EncodeFailure as error:
        raise DecodeFailure(f"the results are not valid JSON: {error.args[0]}") from None
    results = found.get("results") if isinstance(found, dict) else None
    errors = found.get("errors", {}) if isinstance(found, dict) else None
    if not isinstance(results, list) or not isinstance(errors, dict):
        raise DecodeFailure("'results' is not an array, or 'errors' is not an object")
    if not all(_INDEX.fullmatch(index) for index in errors):
        raise DecodeFailure("a key of 'errors' is not the index of an item")
    return results, {int(index): error for index, error in errors.items()}
