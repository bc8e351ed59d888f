"""One map in flight: chunks out, results in, in the input's order.

The engine sits between an iterator and a `Port` (the native `_net.Map`, or its counterpart for work
in this process). `Engine.step` never waits for a reply: it takes finished chunks, packs at most two
windows of chunks beyond the one whose results are next, and returns what can be yielded. The driver
waits on the port between steps: `results` in the calling thread, `aio` in an event loop, an
executor's `pump` in its own thread, for its maps and for the calls of its futures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, Any

from lambdamap import errors
from lambdamap.backends.records import LIMIT
from lambdamap.flight import failures, log, waiting
from lambdamap.flight.bill import billed
from lambdamap.flight.feed import Sender
from lambdamap.flight.progress import Progress
from lambdamap.flight.replies import output_of, results_of, show_output, warn_stale
from lambdamap.flight.retrying import Retrier
from lambdamap.flight.stats import Stats, remember
from lambdamap.flight.timeline import Timeline
from lambdamap.shipping import envelope

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion, Link
    from lambdamap.options import Options

__all__ = ["Engine", "Raised"]

_SLICE_S = 1.0  # interval at which a waiting caller updates its progress bar
_LATE_READING_S = 0.2  # for decoding received results after the map's deadline
_DECODED_BYTES = 16 << 20  # encoded size of results decoded ahead of their turn
_CLOCKS_DIFFER_S = 0.01  # the port's deadline is counted from earlier on, in whole milliseconds
_PATIENCE_S = 0.2  # waits for the native threads after a cancellation
_KEEP_S = 0.1  # for decoding results to attach to a KeyboardInterrupt


class _DeadlineExceeded(Exception):
    """The map's deadline passed while results were decoded."""


class Raised:
    """An exception to be raised, in its place among a chunk's results."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Finished:
    """A finished chunk that waits for its turn: its results, or its completion.

    A completion counts against the byte budget and is decoded when its turn comes."""

    __slots__ = ("completion", "results", "size")

    def __init__(
        self,
        results: list[Any],
        size: int = 0,
        completion: Completion | None = None,
    ) -> None:
        self.results = results
        self.size = size
        self.completion = completion


class Engine:
    """Runs one map. For one thread at a time.

    Parameters
    ----------
    link, source, options, total
        Where the chunks go; the items, or a `Feed`; the number of items if known, else None.
    ordered
        False: results are returned in the order of completion.
    marks_errors
        With on_error="return": errors are returned as `Raised`, to tell them from results.
    apart
        Items are independent: any failure of one is returned as its `Raised` and ends nothing in
        flight. One that concerns all items becomes the `cause`, and nothing more is packed.

    With on_error="raise" any failure ends the map. Otherwise each item that failed has an error in its
    place, and only what concerns all items ends the map: a failure that every chunk would have, the
    input's own exception, the deadline, and cancellation.
    """

    def __init__(
        self,
        link: Link,
        source: Iterator[Any],
        options: Options,
        *,
        total: int | None,
        ordered: bool = True,
        marks_errors: bool = False,
        apart: bool = False,
    ) -> None:
        self._port = link.port
        self._coding = link.coding
        self._journal = link.journal
        self._renew = link.renew
        self._runs_on = link.runs_on
        self._options = options
        self._ordered = ordered
        self._apart = apart
        self._in_place = apart or options.on_error == "return"
        self._marks = marks_errors or apart
        self._sender = Sender(link, source, options, total, skips=self._in_place)
        self._retrier = Retrier(options, self._sender.deadline) if options.retries else None
        self._ready: dict[int, _Finished] = {}  # by first item, in order of completion
        self._decoded_bytes = 0  # sizes of those in _ready that are decoded
        self._given = 0  # number of items returned; if ordered, also the position of the next one
        self.given_first = 0  # index of the first item of the chunk returned last
        self._giving: list[Any] = []  # its items that `results` has yet to yield, in reverse order
        self._giving_ends = 0  # index after the last of these
        self._raised: BaseException | None = None  # to be raised by the next step
        self._fatal: BaseException | None = None  # ends the map even if other chunks are finished
        self._read_until = self._sender.deadline  # after this, no more results are decoded
        self._stale_said = False
        self._closed = False
        self._began = monotonic()
        self._ended = 0.0  # when it was closed
        self._left_running = 0  # invocations known to have been cancelled after their start
        self.left_items = 0  # items of these, and of replies that were dropped
        self._log = log.MapLog(link.map_id, link.port) if log.is_wanted() else None
        self.progress = Progress(options.progress, total)
        self.worker_us = 0

    # --- sending --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Pack and submit chunks while there is room."""
        finished = 0 if self._apart else len(self._ready)
        if self._retrier is not None:
            for index, chunk in self._retrier.take():
                self._sender.try_again(index, chunk)
            finished += len(self._retrier)
        try:
            self._sender.fill(self._given, finished)
        except BaseException as error:
            lost = self._sender.give_up() if self._apart else None
            if lost is None:
                raise
            self._ready[lost[0]] = _Finished([Raised(error)] * lost[1])
        if unsent := self._sender.unsent:
            for index, refused in unsent:
                self._ready[index] = _Finished([self._placed(refused)])
            self.progress.add(len(unsent))
            unsent.clear()
        if self._journal is not None:
            self._journal.flush_if_due()

    def input_room(self) -> int:
        """Return the number of items that the open chunk still needs; for the owner of a `Feed`."""
        return self._sender.room()

    def stop_input(self, error: Exception) -> None:
        """End the input; the error is raised at its position, after the items before it."""
        self._sender.stop(error)

    # --- receiving ------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Place the results of finished chunks; never waits."""
        while self._fatal is None and (completion := self._port.take()) is not None:
            self._place(completion)

    def _place(self, completion: Completion) -> None:
        try:
            if self._log is not None:
                self._log.chunk(completion)
            finished = self._place_results(completion)
            # These may raise: the results have been placed by now.
            if completion.output is not None and self._options.logs:
                show_output(completion)
            if completion.stale_code is not None and not self._stale_said:
                self._stale_said = True
                warn_stale(completion.stale_code)
            self.progress.add(finished)
        except BaseException as error:
            if not self._apart:
                raise
            self._ready[completion.first_item] = _Finished([Raised(error)] * completion.n_items)

    def _place_results(self, completion: Completion) -> int:
        """Place a chunk's results or error; return the number of items that finished."""
        first, count = completion.first_item, completion.n_items
        if completion.failure:
            return self._place_failure(completion)
        done = completion.done
        self.worker_us += completion.worker_us
        if done:
            self._sender.observe(done, completion.worker_us)
        if completion.error is not None:
            try:
                said = envelope.read_error(completion.error, count, done)
            except envelope.Malformed as wrong:
                invalid = failures.invalid_reply(wrong, completion)
                self._put_errors(
                    completion, [], lambda at: failures.in_place(invalid, completion, at)
                )
                return done
            before = self._sender.ran_before(completion)
            printed = output_of(completion)

            def error_at(at: int | None) -> BaseException:
                return failures.of_reply(
                    said, completion, self._coding.allow_pickle, printed, before=before, at=at
                )

            if said["ran"] == "NOT" and not done and not self._spares(said["kind"]):
                self._fatal = error_at(None)
                return done
            self._put_errors(completion, self._decode(completion), error_at)
            return done
        size = 0 if completion.frame is None else len(completion.frame)
        if done < count:
            self._sender.resend(completion)
        if self._retrier is not None:
            return self._place_some(completion, self._retrier)
        if self._decoded_bytes and self._decoded_bytes + size > _DECODED_BYTES:
            self._ready[first] = _Finished([], 0, completion)
        else:
            self._decoded_bytes += size
            self._ready[first] = _Finished(self._decode(completion), size)
        return done

    def _place_some(self, completion: Completion, retrier: Retrier) -> int:
        """Place the results of a chunk, except for items that are tried again; return how many."""
        first, start, again = completion.first_item, 0, []
        results, failed = self._read(completion)
        for at in sorted(failed):
            error = failed[at]
            when = retrier.when(first + at, error)
            if when is not None:
                again.append((at, error, when))
                if start < at:
                    self._ready[first + start] = _Finished(results[start:at])
                start = at + 1
                continue
            retrier.ended(first + at, error)
            results[at] = self._placed(error)
            if not self._in_place:
                self._put_last(first + start, results[start:at], error)
                start = at + 1
        if not failed:
            retrier.ended(first)
        if start < len(results):
            self._ready[first + start] = _Finished(results[start:])
        if again:
            chunks = self._coding.pick(completion.request_frame(), [at for at, _, _ in again])
            for (at, error, when), chunk in zip(again, chunks, strict=True):
                retrier.add(first + at, error, chunk, when)
        return len(results) - len(again)

    def _decode(self, completion: Completion) -> list[Any]:
        """Return the chunk's results, or in their place the exception to raise if decoding fails."""
        results, failed = self._read(completion)
        for at, error in sorted(failed.items()):
            if not self._in_place:
                return [*results[:at], Raised(error)]
            results[at] = self._placed(error)
        return results

    def _read(self, completion: Completion) -> tuple[list[Any], dict[int, BaseException]]:
        """Return the chunk's results and, by position, the errors of the items that failed.

        If they cannot be decoded, the exception to raise is in their place."""
        try:
            return results_of(
                completion,
                self._coding,
                guarded=self._options.on_error == "return" or self._retrier is not None,
                check=self._check_time,
            )
        except _DeadlineExceeded:
            late = Raised(failures.read_too_late(completion))
            if self._apart:
                return [late] * completion.done, {}
            self._fatal = late.error
            return [late], {}
        except errors.LambdaMapError as unread:
            if self._in_place:
                copies = (
                    failures.in_place(unread, completion, at, "RAN")
                    for at in range(completion.done)
                )
                return list(map(self._placed, copies)), {}
            self._sender.stop()
            return [Raised(unread)], {}
        except BaseException as broken:
            if not self._apart:
                raise
            return [Raised(broken)] * completion.done, {}

    def _placed(self, error: BaseException) -> Any:
        """Return an error as it is returned in the place of its item's result."""
        return Raised(error) if self._marks else error

    def _check_time(self) -> None:
        if self._read_until is not None and monotonic() > self._read_until:
            raise _DeadlineExceeded

    def _place_failure(self, completion: Completion) -> int:
        first, count = completion.first_item, completion.n_items
        if count > 1 and (completion.split or self._seeks_culprit(completion)):
            self._sender.halve(completion)
            return 0
        self._count_left(completion)
        before = self._sender.ran_before(completion)

        def error_at(at: int | None) -> BaseException:
            return failures.of_chunk(completion, self._options.idempotent, before, at)

        if self._retrier is not None and completion.failure == "remote":
            error = error_at(0)
            # Of a payload: in a lambdamap worker f's exceptions are in the reply.
            when = None if self._coding.for_worker else self._retrier.when(first, error)
            if when is not None:
                self._retrier.add(first, error, completion.request_frame(), when)
                return 0
        cancelled = completion.failure == "cancelled"
        if failures.ends_map(completion):
            if not self._apart:
                self._fatal = error_at(None)
                return 0
            self._sender.stop(error_at(None))
        elif self._apart and cancelled and self.cause is not None:
            error = self.cause
            if (completion.ran, before) != ("NOT", "NOT"):
                error = error_at(None)
                error.__cause__ = self.cause
            self._ready[first] = _Finished([Raised(error)] * count)
            return count
        elif not self._apart and (cancelled or self._is_late(completion)):
            self._sender.stop()
            if not self._marks:  # else the results after it are returned, too
                self._put_last(first, [], error_at(None))
                return 0
        self._put_errors(completion, [], error_at)
        return count if self._in_place else 0

    def _seeks_culprit(self, completion: Completion) -> bool:
        """Return whether a chunk whose sandbox died is sent again in halves, to find the item at fault."""
        may_run_again = self._in_place and self._options.idempotent
        return may_run_again and completion.failure in ("worker_crashed", "worker_timeout")

    def _count_left(self, completion: Completion) -> None:
        if failures.runs_on(completion):
            self._left_running += 1
            self.left_items += completion.n_items

    def _count_dropped(self, completion: Completion) -> None:
        """Count a chunk that has ended and whose results nobody will get."""
        self._count_left(completion)
        if completion.failure != "cancelled" and completion.ran != "NOT":
            self.left_items += completion.n_items

    def _spares(self, kind: str) -> bool:
        """Return whether the map goes on after a worker's refusal of this kind."""
        return self._apart or (self._in_place and failures.concerns_items(kind))

    def _is_late(self, completion: Completion) -> bool:
        """Return whether a chunk failed because of the map's deadline."""
        deadline = self._sender.deadline
        late = deadline is not None and monotonic() >= deadline - _CLOCKS_DIFFER_S
        return late and completion.failure == "deadline"

    def _put_errors(
        self,
        completion: Completion,
        results: list[Any],
        error_at: Callable[[int | None], BaseException],
    ) -> None:
        """Place a chunk's results, followed by the errors of the other items.

        error_at: returns the error for a position in the chunk; None: one for all of them."""
        if self._retrier is not None and completion.n_items == 1:
            error_at = self._with_earlier(completion.first_item, error_at, self._retrier)
        if not self._in_place:
            self._put_last(completion.first_item, results, error_at(None))
            return
        results += [self._placed(error_at(at)) for at in range(len(results), completion.n_items)]
        self._ready[completion.first_item] = _Finished(results)

    @staticmethod
    def _with_earlier(
        index: int, error_at: Callable[[int | None], BaseException], retrier: Retrier
    ) -> Callable[[int | None], BaseException]:
        """Add the exceptions of an item's earlier attempts to its last one."""

        def last_error_at(at: int | None) -> BaseException:
            error = error_at(at)
            retrier.ended(index, error)
            return error

        return last_error_at

    def _put_last(self, first: int, results: list[Any], error: BaseException) -> None:
        """Place results and an error that ends the map when its turn comes; pack nothing more."""
        if not results or not isinstance(results[-1], Raised):
            results.append(Raised(error))
        self._sender.stop()
        self._ready[first] = _Finished(results)

    def _take_finished(self, error: BaseException) -> dict[int, Any]:
        """Return the finished results that have not been returned yet, by position.

        An exception such as KeyboardInterrupt does not wait until all of them are decoded."""
        # Before anything is decoded, which takes time: a reply that comes meanwhile would be lost.
        self._cancel(_PATIENCE_S)
        ends = None if isinstance(error, Exception) else monotonic() + _KEEP_S
        if ends is not None:
            self._read_until = ends
        elif self._read_until is not None:
            self._read_until = max(self._read_until, monotonic() + _LATE_READING_S)
        partial = {}
        for before_end, result in enumerate(self._giving, 1):
            partial[self._giving_ends - before_end] = result
        self._fatal = None
        while self._fatal is None and (completion := self._port.take()) is not None:
            if completion.failure == "cancelled":
                self._count_left(completion)
                continue
            with contextlib.suppress(
                Exception
            ):  # from printing or the progress bar: one error is enough
                self._place(completion)
        for first, chunk in self._ready.items():
            if ends is not None and chunk.completion is not None and monotonic() >= ends:
                continue
            for offset, result in enumerate(self._results_of(chunk)):
                if not isinstance(result, Raised):
                    partial[first + offset] = result
        return partial

    # --- results --------------------------------------------------------------------------------

    def step(self) -> list[Any] | None:
        """Return the results that can be yielded now; None: wait for the port first; empty: the end.

        The caller owns the list.

        Raises
        ------
        Exception
            The input's, f's or the map's, when its turn has come. The map is then closed.
        """
        try:
            self._receive()
            if self._log is not None:
                self._log.notes()
            if (error := self._fatal or self._raised) is not None:
                raise error
            if self._port.wants_credentials:
                self._bring_credentials()
            self.fill()
            if self._apart:
                self._receive()  # work in this process is already done
            if (chunk := self.more()) is not None:
                return chunk
            if not self._sender.idle or self._retrier:
                return None
            if self.cause is not None and not self._apart:
                raise self.cause
        except BaseException as error:
            self.end(error)
            raise
        self.close()
        return []

    def more(self) -> list[Any] | None:
        """Return more of what the last `step` found; None: nothing more."""
        while self._ready and (chunk := self._next_chunk()) is not None:
            if chunk and isinstance(chunk[-1], Raised) and not self._marks:
                self._raised = chunk.pop().error
                if not chunk:
                    raise self._raised
            self._given += len(chunk)
            if chunk:
                return chunk
        if self._journal is None or not self._journal.flush():
            return None
        self._receive()  # what has waited for the journal
        if self._fatal is not None:
            raise self._fatal
        return self.more()

    def _bring_credentials(self) -> None:
        if self._renew is None:
            return
        try:
            self._renew()
        except BaseException as error:  # renewing may run the user's code
            if not self._apart:
                raise
            self._sender.stop(error)
            self._port.cancel()

    def _next_chunk(self) -> list[Any] | None:
        first = self._given if self._ordered else next(iter(self._ready), -1)
        chunk = self._ready.pop(first, None)
        if chunk is None:
            return None
        self._decoded_bytes -= chunk.size
        self.given_first = first
        return self._results_of(chunk)

    def _results_of(self, chunk: _Finished) -> list[Any]:
        return chunk.results if chunk.completion is None else self._decode(chunk.completion)

    def wait(self, timeout_s: float = _SLICE_S) -> bool:
        """Wait for a reply in the calling thread; Ctrl-C interrupts it. Return False on timeout."""
        timeout_s = min(timeout_s, _SLICE_S)
        if self._retrier is not None and (left_s := self._retrier.left_s()) is not None:
            timeout_s = min(timeout_s, left_s)
        if waiting.for_port(self._port, timeout_s):
            return True
        self.progress.add(0)
        return False

    def cancel(self) -> None:
        """Cancel unfinished chunks, from any thread; they complete as cancelled."""
        self._port.cancel()

    def look_after_s(self) -> float | None:
        """Return after how many seconds to step even if the port has nothing.

        For the progress bar, the deadline, and items to be tried again."""
        deadline = self._sender.deadline
        left = None if deadline is None else max(0.0, deadline - monotonic())
        if self._retrier is not None and (again_s := self._retrier.left_s()) is not None:
            left = again_s if left is None else min(left, again_s)
        if not self.progress.wanted:
            return left
        return _SLICE_S if left is None else min(left, _SLICE_S)

    def results(self, ends: float | None = None) -> Generator[Any, None, None]:
        """Yield the results one by one, without keeping references. The map is closed at the end.

        Raises
        ------
        TimeoutError
            No result by `ends` (`time.monotonic`); that of `concurrent.futures`.
        """
        try:
            while (chunk := self.step()) is None or chunk:
                if chunk is not None:
                    chunk = self.hand_out(chunk)
                    yield from map(list.pop, repeat(chunk, len(chunk)))
                elif ends is None:
                    self.wait()
                elif not self.wait(max(0.0, ends - monotonic())) and monotonic() >= ends:
                    from concurrent.futures import TimeoutError as Late

                    raise Late("timed out while waiting for a result")
        except GeneratorExit:
            raise
        except BaseException as error:
            self.end(error)
            errors.trim(error)
            raise
        finally:
            self.close()

    def hand_out(self, chunk: list[Any]) -> list[Any]:
        """Return the results of a `step` in reverse order, to be popped one by one.

        If an exception ends the map, it gets those that are left."""
        self._giving_ends = self.given_first + len(chunk)
        self._giving = chunk[::-1]
        return self._giving

    @property
    def position(self) -> int:
        """Return the index of the item whose result was popped last from `hand_out`'s list."""
        return self._giving_ends - len(self._giving) - 1

    def _cancel(self, patience_s: float) -> None:
        """Cancel unfinished chunks, and wait up to `patience_s` for the native threads."""
        self._sender.drop()
        if self._port.outstanding:
            self._port.cancel()
            if patience_s > 0:
                self._port.quiesce(patience_s)

    def close(self, patience_s: float = _PATIENCE_S) -> None:
        """Cancel unfinished chunks. Idempotent; waits up to `patience_s` for the native threads."""
        if self._closed:
            return
        self._closed = True
        self._ended = monotonic()
        self._cancel(patience_s)
        if self._retrier is not None:
            self._retrier.clear()
        # A caught exception may keep this map alive for long: free the buffers now.
        while (completion := self._port.take()) is not None:
            self._count_dropped(completion)
        self._left_running += self._port.outstanding
        if self._journal is not None:
            self._journal.close()
        self._ready.clear()
        self._giving = []
        self.progress.close()
        remember(self.stats)

    def end(self, error: BaseException) -> None:
        """Close the map because of an exception. Idempotent.

        The exception gets the finished results that were not returned yet; a KeyboardInterrupt also
        a note on which invocations still run."""
        if self._closed:
            return
        finished: dict[int, Any] = {}
        try:
            finished = self._take_finished(error)
        finally:
            self.close()
            if issubclass(type(error), KeyboardInterrupt):
                failures.say_cancelled(error, "map cancelled", self.left_running)
            errors.keep(error, finished)

    @property
    def left_running(self) -> dict[str, int]:
        """Return the number of invocations of a closed map that still run, by where."""
        return {self._runs_on: self._left_running}

    @property
    def cause(self) -> BaseException | None:
        """Return the error because of which no more input is packed, or None."""
        return self._sender.error

    def abandon(self, why: str) -> None:
        """Cancel unfinished chunks, from any thread; whoever waits for a result gets the reason."""
        if self._closed:
            return
        from concurrent.futures import CancelledError

        self._fatal = self._fatal or CancelledError(why)
        self._sender.stop()
        self._port.cancel()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def unfinished(self) -> bool:
        """Return whether invocations are in flight that were not cancelled."""
        return self._fatal is None and self.outstanding > 0

    def fileno(self) -> int:
        """Return a file descriptor that is readable while `step` has something to take."""
        return self._port.fileno()

    @property
    def outstanding(self) -> int:
        """Return the number of chunks without a reply yet, or that wait to be tried again."""
        if self._closed:
            return 0
        return self._port.outstanding + (len(self._retrier) if self._retrier is not None else 0)

    def record(self) -> None:
        """Record when chunks are sent and done, from now on, for `timeline`."""
        self._port.record(LIMIT)

    def timeline(self) -> Timeline:
        """Return what was recorded so far."""
        return Timeline(*self._port.records())

    @property
    def stats(self) -> Stats:
        latency: Any = self._port.latency or (None,) * 4
        fields: dict[str, Any] = billed(self._port.bill)
        journal = self._journal
        return Stats(
            items=self._sender.items,
            items_from_journal=0 if journal is None else journal.items,
            items_resent=self._sender.items_resent,
            chunks=self._sender.chunks - (0 if journal is None else journal.chunks),
            worker_seconds=self.worker_us / 1e6,
            **self._port.stats,
            latency_p50=latency[0],
            latency_p90=latency[1],
            latency_p99=latency[2],
            latency_max=latency[3],
            seconds=(self._ended or monotonic()) - self._began,
            **fields,
        )
