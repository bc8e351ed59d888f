"""Replies that were kept: completions and outcomes from the rows of a journal."""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lambdamap import errors
from lambdamap.flight import failures, packers
from lambdamap.flight.engine import Raised
from lambdamap.flight.journal import DONE, MAYBE, MIXED, Reader, Row
from lambdamap.flight.replies import results_of
from lambdamap.shipping import envelope

if TYPE_CHECKING:
    from lambdamap.flight.ports import Coding, Completion, Packer

__all__ = ["Replay", "ReplayCoding", "outcomes"]


class Replay:
    """A chunk as completed before: the attributes of `_net.Completion`, from a row of the journal."""

    worst_ran = "NOT"
    split = stops_map = False
    stale_code = output = None
    status = 0
    seconds = 0.0
    bytes_sent = bytes_received = 0

    def __init__(self, journal: Reader, row: Row, first: int, count: int) -> None:
        self._journal = journal
        self.row = row
        self.first_item = first
        self.n_items = count
        self.done = count if row.state in (DONE, MIXED) else 0
        self.worker_us = row.worker_us * count // row.count
        known = {} if row.error is None else json.loads(row.error)
        self.failure: str = known.get("failure", "")
        self.ran: str = known.get("ran", "RAN")
        self.message: str = known.get("message", "")
        self.attempts: int = known.get("attempts", 0)
        self.request_id: str | None = known.get("request_id")
        body = known.get("body")
        self.error: bytes | None = None if body is None else body.encode()
        if row.state == MAYBE:
            self.failure, self.ran = "interrupted", "MAYBE"
            self.message = "the map was interrupted before its reply came"

    @property
    def frame(self) -> Any:
        """The results of the whole row, read anew each time: many replays may wait for their turn."""
        return self._journal.frame(self.row.source) if self.done else None

    @property
    def body(self) -> Any:
        return self.frame

    def request_frame(self) -> bytes:
        raise ValueError("not sent")


def outcomes(reader: Reader, allow_pickle: bool) -> Iterator[tuple[int, Any]]:
    """Yield position and outcome of each item in a journal: its result, or its error as `Raised`."""
    head = reader.head
    coding = ReplayCoding(
        packers.reader_of(head["codec"], head["calls"] == "payload", allow_pickle)
    )
    for row in heapq.merge(_all_rows(reader), reader.unsettled(), key=lambda row: row.first):
        replay = Replay(reader, row, row.first, row.count)
        try:
            found = _outcomes_of(replay, coding)
        except errors.LambdaMapError as unread:
            found = [Raised(unread)] * row.count
        yield from enumerate(found, row.first)


def _all_rows(reader: Reader) -> Iterator[Row]:
    position = 0
    while rows := reader.rows(position):
        yield from rows
        position = rows[-1].end


def _outcomes_of(replay: Replay, coding: ReplayCoding) -> list[Any]:
    if replay.done:
        results, failed = results_of(replay, coding, guarded=True)
        for at, error in failed.items():
            results[at] = Raised(error)
        return results
    if replay.failure:
        return [Raised(failures.of_chunk(replay, at=at)) for at in range(replay.n_items)]
    said = envelope.read_error(replay.error, replay.n_items, 0)
    return [
        Raised(failures.of_reply(said, replay, coding.allow_pickle, at=at))
        for at in range(replay.n_items)
    ]


class ReplayCoding:
    """A coding that also decodes replays."""

    packer: Packer

    def __init__(self, inner: Coding) -> None:
        self._inner = inner
        self._last: tuple[int, tuple[list[Any], dict[int, Any]]] | None = None
        self.for_worker = inner.for_worker
        self.allow_pickle = inner.allow_pickle
        self.parts = inner.parts
        self.pick = inner.pick

    def unpack(
        self, completion: Completion, check: Callable[[], None] | None
    ) -> tuple[list[Any], dict[int, Any]]:
        if not isinstance(completion, Replay):
            return self._inner.unpack(completion, check)
        row, count = completion.row, completion.n_items
        if (
            self._last is None or self._last[0] != row.source
        ):  # parts of a row come one after another
            self._last = (row.source, self._inner.unpack(completion, check))
        results, failed = self._last[1]
        start = row.start + completion.first_item - row.first
        if start + count >= len(results):
            self._last = None
        part = {
            at - start: {**error, "index": at - start}
            for at, error in failed.items()
            if start <= at < start + count
        }
        return results[start : start + count], part
