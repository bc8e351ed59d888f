"""Maps with a journal: what is there is returned without running it, and what comes is added to it.

`keep` puts itself around a `Link`, so that engine and sender work as for every map. Its packer reads
all items, and makes chunks without a frame of those whose outcome is in the journal. Its port answers
these itself, and others wait in it, like replies do, until the journal has been committed. That happens
every few milliseconds, and at once when the map has nothing else to return.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, cast

from lambdamap import _codec, errors
from lambdamap.flight import failures
from lambdamap.flight.journal import DONE, FAILED, MAYBE, MIXED, Journal, Row
from lambdamap.flight.ports import Link
from lambdamap.flight.replay import Replay, ReplayCoding
from lambdamap.shipping import canonical, envelope
from lambdamap.shipping.functions import modules_sent

if TYPE_CHECKING:
    from lambdamap.flight.ports import Bill, Completion, Packer
    from lambdamap.options import Options
    from lambdamap.shipping.functions import Shipment

__all__ = ["JournalPort", "head_of", "head_of_payloads", "keep"]

_log = logging.getLogger("lambdamap")

_COMMIT_S: Final = (
    0.005  # for which a reply or a chunk waits for others, if results are being returned
)
_END: Final = 1 << 62  # a position after every item


def head_of(
    function: Callable[..., Any], shipment: Shipment, options: Options, calls: str
) -> dict[str, object]:
    """Return what a map of a function is, for its journal."""
    head: dict[str, object] = {
        "wire": _codec.WIRE_VERSION,
        "function": shipment.path,
        "calls": calls,
        **_of_options(options),
    }
    if shipment.by_value:
        bound: tuple[object, object] = (), {}
        if isinstance(function, functools.partial):
            bound = function.args, function.keywords
        head["arguments"] = canonical.of_value(bound).hex()
        body = canonical.of_function(function, modules_sent(function, options.by_value)).hex()
        # Two lambdas have one name, so a changed lambda is another function.
        head["body" if "<lambda>" in shipment.path else "code"] = body
    else:
        from lambdamap.worker.source import source_digest

        head["arguments"] = canonical.of_value((shipment.args, shipment.kwargs)).hex()
        head["code"] = None if shipment.source is None else source_digest(shipment.source)
    return head


def head_of_payloads(function: str, options: Options) -> dict[str, object]:
    """Return what a map of payloads is, for its journal."""
    return {"wire": 0, "function": function, "calls": "payload", **_of_options(options)}


def _of_options(options: Options) -> dict[str, object]:
    context = options.client_context
    return {
        "codec": options.codec,
        "tenant_id": options.tenant_id,
        "client_context": None if context is None else canonical.of_value(context).hex(),
    }


def keep(link: Link, options: Options, head: dict[str, object]) -> Link:
    """Return a link that keeps the journal of ``options.journal``.

    Raises
    ------
    ConfigError
        The journal cannot be used; see `Journal`.
    """
    path = os.fspath(options.journal or "")
    journal = Journal(path, head, options.journal_strict)
    counts = journal.counts()
    if counts:
        _log.info(
            "map %s: %s has the results of %d items; %d failed, %d may have run",
            link.map_id[:8],
            path,
            counts.get(DONE, 0) + counts.get(MIXED, 0),
            counts.get(FAILED, 0),
            counts.get(MAYBE, 0),
        )
    coding = ReplayCoding(link.coding)
    coding.packer = packer = _Packer(link.coding.packer, coding, journal, options, path)
    mixed = options.on_error == "return" or options.retries > 0
    port = JournalPort(link, journal, packer, mixed)
    return dataclasses.replace(link, port=port, coding=coding, journal=port)


class _Packer:
    """Packs the items that have no outcome in the journal. The others become chunks without a frame."""

    def __init__(
        self,
        inner: Packer,
        coding: ReplayCoding,
        journal: Journal,
        options: Options,
        path: str,
    ) -> None:
        self._inner = inner
        self._coding = coding
        self._journal = journal
        self._path = path
        self._reruns_maybe = options.idempotent or options.rerun_maybe
        self._reruns_failed = options.idempotent or options.rerun_failed
        self._reruns_raised = options.retries > 0
        self._splits = self._reruns_failed or self._reruns_raised or options.on_error == "raise"
        self._rows: deque[Row] = deque()  # of the journal, in order, from the current position on
        self._all_read = False
        self._items: _codec.Digester | None = (
            None  # the input; it has the digests of the open chunk
        )
        self._compared: Iterator[Any] = iter(())  # the same, items compared with the journal's
        self._replayed = 0  # items in chunks without a frame
        self._start = 0  # first item of the open chunk
        self._end = 0  # where it ends at the latest; its start: no chunk is open
        self._row: Row | None = None  # that has it; None: it is sent
        self._reruns = False  # although the journal has something of its items
        self._ended = False
        self.chunks = 0  # without a frame
        # By first item: replays that were not submitted yet.
        self.stored: dict[int, Replay] = {}
        self.digests: dict[int, bytes] = {}  # by first item: of chunks that were not submitted yet
        self.again: set[int] = set()  # the first items of those that are run again

    @property
    def exhausted(self) -> bool:
        return self._ended or self._inner.exhausted

    @property
    def items_packed(self) -> int:
        return self._replayed + self._inner.items_packed

    @property
    def chunk_bytes(self) -> int:
        return 0 if self._row is not None else self._inner.chunk_bytes

    @property
    def items_from_journal(self) -> int:
        return self._replayed

    def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int:
        if self._items is None:
            self._items = canonical.taking(iterator)
            self._compared = map(self._compare, self._items)
        if self._end == self._start:
            self._open()
        most = min(max_items, self._end - self._start)
        if self._row is None:
            items = self._compared if self._reruns else self._items
            self._inner.fill(items, most, max_bytes)
        else:
            while self.items_packed - self._start < most:
                try:
                    next(self._compared)
                except StopIteration:
                    self._ended = True
                    break
                self._replayed += 1
        return self.items_packed - self._start

    def take(self) -> bytes:
        start, count = self._start, self.items_packed - self._start
        row, self._row = self._row, None
        self._start = self._end = start + count
        digests = self._taken(count)
        if row is not None:
            self.stored[start] = Replay(self._journal, row, start, count)
            self.chunks += 1
            return b""
        self.digests[start] = digests
        if self._reruns:
            self.again.add(start)
        return self._inner.take()

    def skip(self) -> None:
        self._taken(1)
        self._inner.skip()
        self._start = self._end = self.items_packed

    def _taken(self, count: int) -> bytes:
        return b"" if self._items is None else self._items.take(count)

    def _open(self) -> None:
        """Decide what the next chunk is made of."""
        self._start = position = self.items_packed
        row = self._next_row(position)
        self._row, self._reruns = None, False
        if row is None:
            self._end = _END
        elif row.first > position:
            self._end = row.first
        else:
            self._end = row.end
            self._reruns = self._is_run_again(row)
            if not self._reruns:
                self._row = row

    def _is_run_again(self, row: Row) -> bool:
        if row.state == MAYBE:
            return self._reruns_maybe
        if row.state == FAILED:
            return self._reruns_failed or (self._reruns_raised and _raised(row))
        return False

    def _next_row(self, position: int) -> Row | None:
        """Return the row that covers a position, or else the next one after it."""
        while True:
            while self._rows and self._rows[0].end <= position:
                self._rows.popleft()
            if not self._rows and not self._all_read:
                self._rows.extend(self._journal.rows(position))
                self._all_read = not self._rows
            if not self._rows:
                return None
            row = self._rows[0]
            if row.state != MIXED or not self._splits or row.first > position:
                return row
            self._split(row)
            self._rows.clear()

    def _split(self, row: Row) -> None:
        """Give the errors among a row's results rows of their own."""
        completion = Replay(self._journal, row, row.first, row.count)
        failed = {}
        try:
            _, described = self._coding.unpack(completion, None)
            for at, error in described.items():
                failed[row.first + at] = json.dumps({"body": json.dumps({**error, "index": 0})})
        except _codec.DecodeFailure:  # reported when its turn comes
            pass
        self._journal.split(row, failed)

    def take_up(self, first: int, count: int) -> bytes:
        """Return the digests of items that failed and are tried again; an error gets its own row."""
        self._journal.commit()
        row = self._journal.rows(first)[0]
        if row.state == MIXED:
            self._split(row)
        start = (first - row.first) * canonical.SIZE
        return row.digests[start : start + count * canonical.SIZE]

    def _compare(self, item: Any) -> Any:
        """Raise ConfigError if an item that the journal has is another one."""
        position, row = self.items_packed, self._rows[0]
        if self._items is not None and row.digest(position) != self._items.last:
            raise errors.ConfigError(
                f"item {position} is not the one whose outcome is in the journal {self._path!r}; "
                "use another path, or delete the file",
                indices=(position,),
            )
        return item


def _raised(row: Row) -> bool:
    """Return whether a FAILED row has an exception of f."""
    known = json.loads(row.error or "{}")
    if known.get("failure"):
        return bool(known["failure"] == "remote")
    return bool(json.loads(known["body"]).get("kind") == "function")


class JournalPort:
    """A port whose chunks and replies wait for the journal, and that answers what is in it."""

    def __init__(self, link: Link, journal: Journal, packer: _Packer, mixed: bool) -> None:
        self._port = link.port
        self._for_worker = link.coding.for_worker
        self._journal = journal
        self._packer = packer
        self._mixed = mixed
        self._unsent: deque[tuple[bytes, int, int]] = deque()
        self._full = False  # the port has refused the first of them for now
        self._held: list[Completion] = []
        self._free: deque[Completion] = deque()
        self._committed = 0.0  # when
        self._cancelled = False

    @property
    def outstanding(self) -> int:
        waiting = len(self._unsent) + len(self._held) + len(self._free)
        return self._port.outstanding + waiting

    @property
    def wants_credentials(self) -> bool:
        return self._port.wants_credentials

    @property
    def stats(self) -> dict[str, int]:
        return self._port.stats

    @property
    def latency(self) -> tuple[float, float, float, float] | None:
        return self._port.latency

    @property
    def bill(self) -> Bill | None:
        return self._port.bill

    def record(self, limit: int, /) -> None:
        self._port.record(limit)

    def records(self) -> tuple[bytes, int]:
        return self._port.records()

    def notes(self) -> list[dict[str, Any]]:
        return self._port.notes()

    def fileno(self) -> int:
        return self._port.fileno()

    def quiesce(self, timeout_s: float, /) -> bool:
        return self._port.quiesce(timeout_s)

    @property
    def items(self) -> int:
        """The number of items that were taken from the journal so far."""
        return self._packer.items_from_journal

    @property
    def chunks(self) -> int:
        """The number of chunks that were answered from the journal."""
        return self._packer.chunks

    def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool:
        packer = self._packer
        if (replay := packer.stored.pop(first_item, None)) is not None:
            self._free.append(replay)
            return True
        if self._full:
            return False
        digests = packer.digests.pop(first_item, None)
        if digests is None:  # the journal has their failure
            digests = packer.take_up(first_item, n_items)
            packer.again.add(first_item)
        size = n_items * canonical.SIZE
        if len(digests) > size:  # a part of a chunk that is sent again
            packer.digests[first_item + n_items] = digests[size:]
        again = first_item in packer.again
        packer.again.discard(first_item)
        self._journal.begin(first_item, n_items, digests[:size], again)
        self._unsent.append((frame, first_item, n_items))
        return True

    def take(self) -> Completion | None:
        while (completion := self._port.take()) is not None:
            self._settle(completion)
            self._held.append(completion)
        if self._cancelled and self._held:
            self.flush()
        return self._free.popleft() if self._free else None

    def flush_if_due(self) -> None:
        """Flush if the last time was a while ago."""
        if self._journal.pending and monotonic() - self._committed >= _COMMIT_S:
            self.flush()

    def flush(self) -> bool:
        """Commit the journal, send what waits, and return whether there is something to take.

        Raises
        ------
        OSError
            The journal cannot be written. Nothing more is sent, and what waits can be taken.
        """
        try:
            self._journal.commit()
        finally:
            self._committed = monotonic()
            self._free.extend(self._held)
            self._held.clear()
            if self._journal.broken:
                self._unsent.clear()
        self._full = False
        while self._unsent and not self._full:
            chunk = self._unsent.popleft()
            if not self._port.submit(*chunk):
                self._unsent.appendleft(chunk)
                self._full = True
        return bool(self._free)

    def wait(self, timeout_s: float, /) -> bool:
        return bool(self._free) or self._port.wait(timeout_s)

    def cancel(self) -> None:
        self._cancelled = True
        self._port.cancel()

    def close(self) -> None:
        """Write the last outcomes and close the journal. Idempotent."""
        for _, first, _ in self._unsent:
            self._journal.settle(first)
        self._unsent.clear()
        self._journal.close()

    def _settle(self, completion: Completion) -> None:
        """Add a reply to the journal."""
        first, count = completion.first_item, completion.n_items
        before = cast(errors.Ran, completion.worst_ran)
        if completion.failure:
            ran = failures.stronger(cast(errors.Ran, completion.ran), before)
            if ran == "RAN":
                self._left(first, 0, self._journal.settle(
                    first, failed=count, error=_described(completion)
                ))  # fmt: skip
            else:
                self._left(first, 0, self._journal.settle(first, maybe=ran == "MAYBE"))
            return
        frame: object = completion.frame if self._for_worker else completion.body
        if isinstance(frame, dict):
            frame = _codec.encode_json(frame)
        ran, done, failed = before, completion.done, 0
        error: str | None = None
        if done == count and completion.error is None:
            self._journal.finish(first, frame, completion.worker_us, self._mixed)
            return
        if completion.error is not None:
            try:
                said = envelope.read_error(completion.error, count, done)
            except envelope.Malformed as wrong:
                # The engine discards all of such a reply.
                text = json.dumps({"failure": "protocol", "message": str(wrong)})
                self._journal.settle(first, failed=count, error=text)
                return
            ran = failures.stronger(said["ran"], before)
            if said["ran"] == "RAN":
                failed = count - done if said["index"] is None else 1
                error = _described(completion, whole=said["index"] is None)
                ran = before
        left = self._journal.settle(
            first, done=done, frame=frame, worker_us=completion.worker_us, mixed=self._mixed,
            failed=failed, error=error, maybe=ran != "NOT",
        )  # fmt: skip
        self._left(first, done + failed, left)

    def _left(self, first: int, settled: int, digests: bytes) -> None:
        """Keep the digests of items that may be sent again."""
        if digests:
            self._packer.digests[first + settled] = digests


def _described(completion: Completion, whole: bool = True) -> str:
    """Return the error of a chunk, or of its first item without a result, as JSON."""
    known: dict[str, Any] = {
        "failure": completion.failure,
        "ran": "RAN",
        "message": completion.message,
        "attempts": completion.attempts,
        "request_id": completion.request_id,
    }
    if completion.error is not None:
        body = completion.error.decode(errors="replace")
        if not whole:
            body = json.dumps({**json.loads(body), "index": 0})
        known["body"] = body
    return json.dumps(known)
