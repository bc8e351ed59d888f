"""Records of finished chunks, from which a timeline is made.

csrc/python/net/records.h has the same layout, and records.c the same rule for what is kept.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["LIMIT", "RECORD", "ChunkTimes", "Records", "read"]

LIMIT = 100_000  # records of a map; of more chunks than that, one in two, four, ... is kept
# First item; seconds from the map's start to when the chunk was queued, sent and done; number of items;
# attempts; whether it failed; the sandbox's start: 0 unknown, 1 warm, 2 cold.
RECORD = struct.Struct("=QdddIHBB")
_STARTS = (None, False, True)


class ChunkTimes(NamedTuple):
    """When one chunk was queued, sent and done, in seconds from the map's start.

    Attributes
    ----------
    first_item, n_items : int
        Its items.
    queued, sent, done : float
        When it was packed and submitted; when its last attempt started, connecting included; when
        that attempt ended. A chunk that was never sent has ``sent == done``.
    attempts : int
        As in the log: not counting those answered with 429 or 409. 0: it was never sent.
    failed : bool
        It ended without results for all its items.
    cold : bool or None
        Whether its sandbox was started for it. None: unknown.
    """

    first_item: int
    n_items: int
    queued: float
    sent: float
    done: float
    attempts: int
    failed: bool
    cold: bool | None


def read(records: bytes) -> list[ChunkTimes]:
    """Return the chunks of some records."""
    return [
        ChunkTimes(first, n, queued, sent, done, attempts, bool(failed), _STARTS[start])
        for first, queued, sent, done, n, attempts, failed, start in RECORD.iter_unpack(records)
    ]


class Records:
    """The records of a map in this process. For its thread only."""

    def __init__(self) -> None:
        self._limit = 0
        self._kept: list[bytes] = []
        self._seen = 0
        self._stride = 1

    def start(self, limit: int) -> None:
        """Keep from now on; at most `limit` records."""
        self._limit = limit

    def add(
        self, first_item: int, n_items: int, queued: float, sent: float, done: float, failed: bool
    ) -> None:
        if self._limit == 0:
            return
        if self._seen % self._stride == 0 and len(self._kept) >= self._limit:
            del self._kept[1::2]
            self._stride *= 2
        if self._seen % self._stride == 0:
            self._kept.append(RECORD.pack(first_item, queued, sent, done, n_items, 1, failed, 0))
        self._seen += 1

    def copy(self) -> tuple[bytes, int]:
        """Return the records, and how many chunks they were selected from."""
        return b"".join(self._kept), self._seen
