"""Sending: what is packed next, how much of it, and what is resent."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from lambdamap import _codec, errors
from lambdamap.flight import failures

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion, Link
    from lambdamap.options import Options

__all__ = ["Feed", "Sender"]


class Feed:
    """An input that arrives asynchronously: the items so far, and whether more may arrive.

    For its engine's thread only. Owned by whoever appends to it.
    """

    windows_ahead = 2  # of chunks that may be packed before the first reply

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.ended = False
        self.error: BaseException | None = None  # what ended it; raised after its last item
        self._taken = 0

    def __iter__(self) -> Feed:
        return self

    def __next__(self) -> Any:
        if self.items:
            self._taken += 1
            return self.items.popleft()
        if self.error is not None:
            raise self.error
        raise StopIteration

    def room(self, packed: int, wanted: int) -> int:
        """Return how many of the wanted items a chunk can get without waiting.

        packed: items in this and earlier chunks; the packer may hold one more that did not fit."""
        return wanted if self.ended else min(wanted, len(self.items) + self._taken - packed)


class Sender:
    """Packs a map's items and submits the chunks. For its engine's thread only.

    skips: an item that cannot be sent is left out, and its error added to `unsent`; otherwise the
    error ends the input.
    """

    def __init__(
        self,
        link: Link,
        source: Iterator[Any],
        options: Options,
        total: int | None,
        skips: bool = False,
    ) -> None:
        self._port = link.port
        self._coding = link.coding
        self._packer = link.coding.packer
        self._window = link.window
        self._source = source
        self._feed = source if isinstance(source, Feed) else None
        self._ahead = (self._feed or Feed).windows_ahead
        self._total = total
        self._buffersize = options.buffersize
        self._fixed = 0 if options.chunksize == "auto" else int(options.chunksize)
        self._chunker = _codec.Chunker(self._fixed)
        self.deadline = None if options.timeout is None else monotonic() + options.timeout
        self._open_items = 0  # items in the packer's open chunk, which waits for its feed
        self._wanted = 0  # target size of the open chunk, in items; 0: none is open
        self._backlog: deque[tuple[bytes, int, int]] = (
            deque()
        )  # packed, not yet submitted: frame, first item, number of items
        self._skips = skips
        self._skipped: errors.EncodeError | None = None  # of the item after the open chunk
        self.unsent: list[tuple[int, errors.EncodeError]] = []  # by index; emptied by the engine
        self.ends = False  # no more input is packed: the end or an error
        self.error: BaseException | None = None  # the input's error, to be raised after its items
        self.chunks = 0
        self._ran_before: dict[int, errors.Ran] = {}  # of resent chunks, by first item; never "NOT"
        self.items_resent = 0  # not started by the worker, in chunks that were partly done

    @property
    def items(self) -> int:
        """Return the number of items packed so far, which is the position of the next one."""
        return self._packer.items_packed

    @property
    def idle(self) -> bool:
        """Return whether nothing is in flight and nothing more will be sent."""
        return self.ends and not self._port.outstanding and not self._backlog

    def room(self) -> int:
        """Return the number of items that the open chunk still needs; for the owner of a `Feed`."""
        if self.ends or self._feed is None or self._wanted == 0:
            return 0
        return self._wanted - self._open_items - len(self._feed.items)

    def stop(self, error: BaseException | None = None) -> None:
        """Pack no more input. An error is raised at its position, after the items before it."""
        if not self.ends:
            self.ends = True
            self.error = error

    def drop(self) -> None:
        """Send nothing more."""
        self.ends = True
        self._backlog.clear()

    # --- what is packed next ---------------------------------------------------------------------

    def fill(self, given: int, finished: int) -> None:
        """Pack and submit chunks while there is room.

        given: number of items whose results were returned. finished: number of chunks whose results
        wait for their turn."""
        if self._backlog and not self._submit():
            return
        while not self.ends and (self._wanted or self._may_pack(given, finished)):
            if self._wanted == 0:
                self._wanted = self._next_size(given)
            if self._wanted == 0 or not self._pack():
                return
            count, self._open_items, self._wanted = self._open_items, 0, 0
            if count:
                self._close_chunk(count)
            if self._skipped is not None:
                self.unsent.append((self._packer.items_packed, self._skipped))
                self._skipped = None
                self._packer.skip()
            elif count == 0:
                return
            if not self._submit():
                return

    def _close_chunk(self, count: int) -> None:
        first = self._packer.items_packed - count
        try:
            self._backlog.append((self._packer.take(), first, count))
        except _codec.EncodeFailure as failure:  # raised for the chunk, not for one item
            raise errors.EncodeError(
                f"items {first} to {first + count - 1} cannot be sent: {failure.args[0]}",
                indices=range(first, first + count),
                ran="NOT",
            ) from failure

    def _submit(self) -> bool:
        """Submit packed chunks; return False if the byte budget refuses one for now."""
        while self._backlog:
            if not self._port.submit(*self._backlog[0]):
                return False
            self._backlog.popleft()
            self.chunks += 1
        return True

    def give_up(self) -> tuple[int, int] | None:
        """Drop the chunk that `fill` was about to submit when it raised.

        Returns its first item and number of items; None: there was no such chunk."""
        if not self._backlog:
            return None
        _, first, count = self._backlog.popleft()
        return first, count

    def _may_pack(self, given: int, finished: int) -> bool:
        if self._buffersize is not None:
            return self._packer.items_packed - given < self._buffersize
        chunks = self._port.outstanding + finished + len(self._backlog) + len(self.unsent)
        return chunks < self._ahead * self._window()

    def _next_size(self, given: int) -> int:
        """Return the number of items of the next chunk; 0: wait for a reply first."""
        wanted = self._fixed
        if not wanted:
            left = -1 if self._total is None else max(0, self._total - self._packer.items_packed)
            ends_us = -1
            if self.deadline is not None:
                ends_us = max(0, int((self.deadline - monotonic()) * 1e6))
            wanted = self._chunker.next(self._window(), left, ends_us)
            if wanted == 0 and not self._port.outstanding:
                wanted = 1  # it was asked for items that were then skipped: no reply will come
        if self._buffersize is not None:
            wanted = min(wanted, max(1, self._buffersize - (self._packer.items_packed - given)))
        return wanted

    def _pack(self) -> bool:
        """Add items to the open chunk; return whether to send it, not while it waits for its feed."""
        packer, wanted, most = self._packer, self._wanted, self._chunker.max_bytes
        before = packer.items_packed - self._open_items
        limit = wanted if self._feed is None else self._feed.room(before, wanted)
        try:
            packer.fill(self._source, limit, most)
        except _codec.EncodeFailure as failure:
            at = packer.items_packed
            error = failures.not_sendable(f"item {at}", failure, (at,))
            if self._skips:
                self._skipped = error
            else:
                self.stop(error)
        except Exception as error:
            self.stop(error)
        self._open_items = packer.items_packed - before
        if packer.exhausted:
            self.ends = True
        full = limit == wanted or self._open_items < limit or packer.chunk_bytes >= most
        return self.ends or full

    # --- what a reply changes --------------------------------------------------------------------

    def observe(self, done: int, worker_us: int) -> None:
        """Record that f took worker_us microseconds for `done` items."""
        if not self._fixed:
            self._chunker.observe(done, worker_us, self._window())

    def halve(self, completion: Completion) -> None:
        """Resend a chunk that was too large in two halves, before all other waiting chunks."""
        self._resend(completion, 0, (completion.n_items + 1) // 2)

    def resend(self, completion: Completion) -> None:
        """Resend the items that were not started according to a reply, before all other chunks.

        A new chunk has as many items as were done, but the window limits the number of chunks."""
        left = completion.n_items - completion.done
        self.items_resent += left
        self._resend(completion, completion.done, max(completion.done, -(-left // self._window())))

    def ran_before(self, completion: Completion) -> errors.Ran:
        """Return whether f ran for the chunk's items in attempts before the last one, also in an
        earlier chunk. Call it once per chunk that has failed or is resent."""
        before = self._ran_before.pop(completion.first_item, "NOT")
        return failures.stronger(before, cast(errors.Ran, completion.worst_ran))

    def try_again(self, index: int, chunk: bytes) -> None:
        """Send an item for which f has raised once more, in a chunk of its own."""
        self._backlog.append((chunk, index, 1))
        self._ran_before[index] = "RAN"

    def _resend(self, completion: Completion, start: int, size: int) -> None:
        first = completion.first_item + start
        before = self.ran_before(completion)
        if before == "RAN":  # the worker may have stopped before it came to a part's items
            before = "MAYBE"
        parts = []
        for chunk, count in self._coding.parts(completion.request_frame(), start, size):
            parts.append((chunk, first, count))
            if before != "NOT":
                self._ran_before[first] = before
            first += count
        self._backlog.extendleft(reversed(parts))
