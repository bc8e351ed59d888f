"""From items to chunks that are on their way: what is packed next, how much, and what goes again."""

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
    """An input that arrives by itself: items that are here, and whether more may come.

    For the thread of its engine alone. Owned by whoever appends to it.
    """

    windows_ahead = 2  # of chunks that may be packed before the first of them is answered

    def __init__(self) -> None:
        self.items: deque[Any] = deque()
        self.ended = False
        self.error: BaseException | None = None  # what ended it; raised behind its last item
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
        """How full a chunk that wants so many items may become without waiting. packed: items in
        this and earlier chunks; the packer may hold one more that did not fit."""
        return wanted if self.ended else min(wanted, len(self.items) + self._taken - packed)


class Sender:
    """Packs a map's items and submits the chunks. For the thread of its engine."""

    def __init__(
        self, link: Link, source: Iterator[Any], options: Options, total: int | None
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
        self._open_items = 0  # in the packer's open chunk, which waits for its feed
        self._wanted = 0  # items that the open chunk is to have; 0: none is open
        self._backlog: deque[tuple[bytes, int, int]] = deque()  # packed, to be submitted
        self.ends = False  # no more input is packed: an error or the end
        self.error: BaseException | None = None  # the input's own, to be raised behind its items
        self.chunks = 0
        self._ran_before: dict[int, errors.Ran] = {}  # of chunks sent again, by first item; not NOT
        self.items_resent = 0  # answered "not started" by a chunk that was done in part

    @property
    def items(self) -> int:
        """Items packed so far: the position of the next one."""
        return self._packer.items_packed

    @property
    def idle(self) -> bool:
        """Nothing is on its way, and nothing will be."""
        return self.ends and not self._port.outstanding and not self._backlog

    def room(self) -> int:
        """Items that the open chunk still waits for; for those who supply a `Feed`."""
        if self.ends or self._feed is None or self._wanted == 0:
            return 0
        return self._wanted - self._open_items - len(self._feed.items)

    def stop(self, error: BaseException | None = None) -> None:
        """No more input is packed. An error is raised at its place, behind the items before it."""
        if not self.ends:
            self.ends = True
            self.error = error

    def drop(self) -> None:
        """Nothing more is sent at all."""
        self.ends = True
        self._backlog.clear()

    # --- what is packed next ---------------------------------------------------------------------

    def fill(self, given: int, finished: int) -> None:
        """Pack and submit chunks while there is room. given: items whose results the caller has;
        finished: chunks whose results wait for their turn."""
        if self._backlog and not self._submit():
            return
        while not self.ends and (self._wanted or self._may_pack(given, finished)):
            if self._wanted == 0:
                self._wanted = self._next_size(given)
            if self._wanted == 0 or not self._pack():
                return
            count, self._open_items, self._wanted = self._open_items, 0, 0
            if count == 0:
                return
            first = self._packer.items_packed - count
            try:
                self._backlog.append((self._packer.take(), first, count))
            except _codec.EncodeFailure as failure:  # of items that only fail together
                raise errors.EncodeError(
                    f"items {first} to {first + count - 1} cannot be sent: {failure.args[0]}",
                    indices=range(first, first + count),
                    ran="NOT",
                ) from failure
            if not self._submit():
                return

    def _submit(self) -> bool:
        """Whether all that is packed could be submitted; the byte budget may refuse it for now."""
        while self._backlog:
            if not self._port.submit(*self._backlog[0]):
                return False
            self._backlog.popleft()
            self.chunks += 1
        return True

    def give_up(self) -> tuple[int, int] | None:
        """After `fill` has raised: drop the chunk that it was about to submit. Its first item and
        their number; None: there was none."""
        if not self._backlog:
            return None
        _, first, count = self._backlog.popleft()
        return first, count

    def _may_pack(self, given: int, finished: int) -> bool:
        if self._buffersize is not None:
            return self._packer.items_packed - given < self._buffersize
        chunks = self._port.outstanding + finished + len(self._backlog)
        return chunks < self._ahead * self._window()

    def _next_size(self, given: int) -> int:
        """Items of the next chunk; 0: wait for a reply first."""
        wanted = self._fixed
        if not wanted:
            left = -1 if self._total is None else max(0, self._total - self._packer.items_packed)
            ends_us = -1
            if self.deadline is not None:
                ends_us = max(0, int((self.deadline - monotonic()) * 1e6))
            wanted = self._chunker.next(self._window(), left, ends_us)
        if self._buffersize is not None:
            wanted = min(wanted, max(1, self._buffersize - (self._packer.items_packed - given)))
        return wanted

    def _pack(self) -> bool:
        """Add to the open chunk; whether it is to be sent. It is not while its feed has no more."""
        packer, wanted, most = self._packer, self._wanted, self._chunker.max_bytes
        before = packer.items_packed - self._open_items
        limit = wanted if self._feed is None else self._feed.room(before, wanted)
        try:
            packer.fill(self._source, limit, most)
        except _codec.EncodeFailure as failure:
            self.stop(_encode_error(failure, packer.items_packed))
        except Exception as error:
            self.stop(error)
        self._open_items = packer.items_packed - before
        if packer.exhausted:
            self.ends = True
        full = limit == wanted or self._open_items < limit or packer.chunk_bytes >= most
        return self.ends or full

    # --- what a reply changes --------------------------------------------------------------------

    def observe(self, done: int, worker_us: int) -> None:
        """So many items took f so long."""
        if not self._fixed:
            self._chunker.observe(done, worker_us, self._window())

    def halve(self, completion: Completion) -> None:
        """Send a chunk that was too large again, before all others that wait."""
        self._resend(completion, 0, (completion.n_items + 1) // 2)

    def resend(self, completion: Completion) -> None:
        """Send the items again that a reply says were not started, before all others that wait: as
        many at once as were done at once, but not more chunks than the window takes."""
        left = completion.n_items - completion.done
        self.items_resent += left
        self._resend(completion, completion.done, max(completion.done, -(-left // self._window())))

    def ran_before(self, completion: Completion) -> errors.Ran:
        """Once per chunk that has failed or is sent again: whether its items have run in any other
        attempt than the last, of this chunk or of one that they were in before."""
        before = self._ran_before.pop(completion.first_item, "NOT")
        return failures.stronger(before, cast(errors.Ran, completion.worst_ran))

    def _resend(self, completion: Completion, start: int, size: int) -> None:
        first = completion.first_item + start
        before = self.ran_before(completion)
        parts = []
        for chunk, count in self._coding.parts(completion.request_frame(), start, size):
            parts.append((chunk, first, count))
            if before != "NOT":
                self._ran_before[first] = before
            first += count
        self._backlog.extendleft(reversed(parts))


def _encode_error(error: _codec.EncodeFailure, index: int) -> errors.EncodeError:
    message, path = (*error.args, "")[:2]
    return errors.EncodeError(
        f"item {index}{path} cannot be sent: {message}", indices=(index,), ran="NOT"
    )
