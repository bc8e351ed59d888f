"""One map in flight: chunks out, results in, in the input's order.

The engine stands between an iterator and a `Port` (the native `_net.Map`, or its stand-in for work
in this process). `Engine.step` never waits for a reply: it takes what has come, packs at most two
windows of chunks beyond the one whose results are next, and gives what can be yielded. Whoever
drives it waits on the port in between: `results` in the calling thread, `aio` in an event loop,
an executor's `pump` in a thread of its own, for its maps and for the calls of its futures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, Any

from lambdamap import errors
from lambdamap.flight import failures, log, waiting
from lambdamap.flight.feed import Sender
from lambdamap.flight.progress import Progress
from lambdamap.flight.replies import results_of, show_output, warn_stale
from lambdamap.flight.stats import Stats
from lambdamap.shipping import envelope

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion, Link
    from lambdamap.options import Options

__all__ = ["Engine", "Raised"]

_SLICE_S = 1.0  # how often a waiting caller looks at its progress bar
_LATE_READING_S = 0.2  # for results that have come, when the map's deadline has passed
_DECODED_BYTES = 16 << 20  # encoded size of results that are decoded before their turn
_KEEP_S = 0.1  # what may be spent on decoding results for the error of a Ctrl-C


class _TimeIsOver(Exception):
    """The map's deadline has passed while results were read."""


class Raised:
    """Stands in a chunk's results where an exception is to be raised."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Finished:
    """A chunk whose turn will come: its results, or its completion, which stays on the byte budget
    and is decoded then."""

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
    """Drives one map, for one thread at a time.

    Parameters
    ----------
    link, source, options, total
        Where the chunks go; the items, or a `Feed`; their number, where it is known.
    ordered
        False: results are given as they come.
    marks_errors
        With on_error="return": errors are given as `Raised`, to be told from results, and the
        failure of a chunk stands in the places of its items and ends nothing. What would happen to
        every chunk, and the deadline, end the map.
    apart
        Items have nothing to do with each other: whatever goes wrong with one is given as its
        `Raised`, and ends nothing that is in flight. What would happen to every chunk is the `cause`
        for which nothing more is packed.
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
        self._renew = link.renew
        self._runs_on = link.runs_on
        self._options = options
        self._ordered = ordered
        self._marks_errors = marks_errors or apart
        self._apart = apart
        self._sender = Sender(link, source, options, total)
        self._ready: dict[int, _Finished] = {}  # by first item, as they came
        self._decoded_bytes = 0  # sizes of those in _ready that are decoded
        self._given = 0  # items given; if ordered, the position of the next one, too
        self.given_first = 0  # index of the first item of the chunk that was given last
        self._giving: list[Any] = []  # what `results` has still to yield of it, the last one first
        self._giving_ends = 0  # index after its last item
        self._raised: BaseException | None = None  # to be raised by the next step
        self._fatal: BaseException | None = None  # ends the map whatever else is finished
        self._read_until = self._sender.deadline  # from then on, no results are read any more
        self._stale_said = False
        self._closed = False
        self._left_running = 0  # invocations that were cancelled after their start, as far as known
        self._log = log.MapLog(link.map_id, link.port) if log.is_wanted() else None
        self.progress = Progress(options.progress, total)
        self.worker_us = 0

    # --- sending --------------------------------------------------------------------------------

    def fill(self) -> None:
        """Pack and submit chunks while there is room."""
        try:
            self._sender.fill(self._given, 0 if self._apart else len(self._ready))
        except BaseException as error:
            lost = self._sender.give_up() if self._apart else None
            if lost is None:
                raise
            self._put_error(lost[0], [], lost[1], error)

    def input_room(self) -> int:
        """Items that the open chunk still waits for; for those who supply a `Feed`."""
        return self._sender.room()

    def stop_input(self, error: Exception) -> None:
        """The input is over; its error is raised at its place, behind the items before it."""
        self._sender.stop(error)

    # --- receiving ------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Put what has come into its place; never waits."""
        while self._fatal is None and (completion := self._port.take()) is not None:
            self._place(completion)

    def _place(self, completion: Completion) -> None:
        try:
            if self._log is not None:
                self._log.chunk(completion)
            finished = self._place_results(completion)
            # These may raise: the results are in their place by now.
            if completion.output is not None and self._options.logs:
                show_output(completion)
            if completion.stale_code is not None and not self._stale_said:
                self._stale_said = True
                warn_stale(completion.stale_code)
            self.progress.add(finished)
        except BaseException as error:
            if not self._apart:
                raise
            self._put_error(completion.first_item, [], completion.n_items, error)

    def _place_results(self, completion: Completion) -> int:
        """How many items have finished."""
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
                self._put_error(first, [], count, failures.unreadable(wrong, completion))
                return done
            before = self._sender.ran_before(completion)
            error = failures.of_reply(said, completion, self._coding.allow_pickle, before=before)
            if said["ran"] == "NOT" and not done and not self._apart:
                self._fatal = error
                return done
            self._put_error(first, self._decode(completion), count - done, error)
            return done
        size = 0 if completion.frame is None else len(completion.frame)
        if done < count:
            self._sender.resend(completion)
        if self._decoded_bytes and self._decoded_bytes + size > _DECODED_BYTES:
            self._ready[first] = _Finished([], 0, completion)
        else:
            self._decoded_bytes += size
            self._ready[first] = _Finished(self._decode(completion), size)
        return done

    def _decode(self, completion: Completion) -> list[Any]:
        """Its results; or what is to be raised when they cannot be read."""
        try:
            results, failed = results_of(
                completion,
                self._coding,
                guarded=self._options.on_error == "return",
                check=self._check_time,
            )
        except _TimeIsOver:
            late = Raised(failures.read_too_late(completion))
            if self._apart:
                return [late] * completion.done
            self._fatal = late.error
            return [late]
        except errors.LambdaMapError as unread:
            if self._marks_errors:
                return [Raised(unread)] * completion.done
            self._sender.stop()
            return [Raised(unread)]
        except BaseException as broken:
            if not self._apart:
                raise
            return [Raised(broken)] * completion.done
        for index, error in failed.items():
            results[index] = Raised(error) if self._marks_errors else error
        return results

    def _check_time(self) -> None:
        if self._read_until is not None and monotonic() > self._read_until:
            raise _TimeIsOver

    def _place_failure(self, completion: Completion) -> int:
        first, count = completion.first_item, completion.n_items
        if completion.split and count > 1:
            self._sender.halve(completion)
            return 0
        self._left_running += failures.runs_on(completion)
        before = self._sender.ran_before(completion)
        error: BaseException = failures.of_chunk(completion, self._options.idempotent, before)
        if completion.stops_map or completion.failure == "throttled":
            if not self._apart:
                self._fatal = error
                return 0
            self._sender.stop(error)
        elif self._apart and completion.failure == "cancelled" and self.cause is not None:
            if completion.ran == "NOT":
                error = self.cause
            else:
                error.__cause__ = self.cause
        elif self._is_late():
            self._sender.stop()
        elif not self._coding.for_worker and self._options.on_error == "return":
            # Nothing of ours guards a payload where it goes: the failure is its result.
            self._ready[first] = _Finished([error])
            return count
        self._put_error(first, [], count, error)
        return count if self._marks_errors else 0

    def _is_late(self) -> bool:
        deadline = self._sender.deadline
        return not self._apart and deadline is not None and monotonic() >= deadline

    def _put_error(
        self, first: int, results: list[Any], missing: int, error: BaseException
    ) -> None:
        """Place a chunk's results, and an error where some are missing. It is raised when its turn
        comes, and nothing more is packed, unless errors are marked."""
        if self._marks_errors:
            results += [Raised(error)] * missing
        else:
            if not results or not isinstance(results[-1], Raised):
                results.append(Raised(error))
            self._sender.stop()
        self._ready[first] = _Finished(results)

    def _take_finished(self, error: BaseException) -> dict[int, Any]:
        """What is finished and not yet given, by position. What steers the interpreter, such as a
        Ctrl-C, does not wait for all of it to be decoded."""
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
            with contextlib.suppress(Exception):  # of printing and of the bar: one error is enough
                self._place(completion)
        for first, chunk in self._ready.items():
            if ends is not None and chunk.completion is not None and monotonic() >= ends:
                continue
            for offset, result in enumerate(self._results_of(chunk)):
                if not isinstance(result, Raised):
                    partial[first + offset] = result
        return partial

    # --- giving ---------------------------------------------------------------------------------

    def step(self) -> list[Any] | None:
        """What can be yielded now, or None: wait for the port first. Empty: the map is over.

        The list is the caller's.

        Raises
        ------
        Exception
            The input's, f's or the map's own, when its turn has come. The map is closed then.
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
                self._receive()  # what ran in this process is done
            if (chunk := self.more()) is not None:
                return chunk
            if not self._sender.idle:
                return None
            if self.cause is not None and not self._apart:
                raise self.cause
        except BaseException as error:
            self.end(error)
            raise
        self.close()
        return []

    def more(self) -> list[Any] | None:
        """After `step`, what else can be yielded without a look at what has come since; or None."""
        while self._ready and (chunk := self._next_chunk()) is not None:
            if chunk and isinstance(chunk[-1], Raised) and not self._marks_errors:
                self._raised = chunk.pop().error
                if not chunk:
                    raise self._raised
            self._given += len(chunk)
            if chunk:
                return chunk
        return None

    def _bring_credentials(self) -> None:
        if self._renew is None:
            return
        try:
            self._renew()
        except BaseException as error:  # the user's own code may have been asked for them
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
        """Let the calling thread wait for a reply; Ctrl-C ends it. False: none came in time."""
        if waiting.for_port(self._port, min(timeout_s, _SLICE_S)):
            return True
        self.progress.add(0)
        return False

    def cancel(self) -> None:
        """From any thread: what is not finished completes as cancelled."""
        self._port.cancel()

    def look_after_s(self) -> float | None:
        """When to step again though the port has nothing: for the bar, or at the deadline."""
        deadline = self._sender.deadline
        left = None if deadline is None else max(0.0, deadline - monotonic())
        if not self.progress.wanted:
            return left
        return _SLICE_S if left is None else min(left, _SLICE_S)

    def results(self, ends: float | None = None) -> Generator[Any, None, None]:
        """The results one by one; none is referenced here once it is given. Whatever ends it,
        nothing of the map goes on after it.

        Raises
        ------
        TimeoutError
            From `ends` (`time.monotonic`) on, instead of waiting; `concurrent.futures` has it.
        """
        try:
            while (chunk := self.step()) is None or chunk:
                if chunk is not None:
                    self._giving_ends = self.given_first + len(chunk)
                    chunk = self._giving = chunk[::-1]
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

    def close(self, patience_s: float = 0.2) -> None:
        """Cancel what is not finished. Idempotent; waits a moment for the native threads."""
        if self._closed:
            return
        self._closed = True
        self._sender.drop()
        if self._port.outstanding:
            self._port.cancel()
            if patience_s > 0:
                self._port.quiesce(patience_s)
        # A caught exception may hold this map for long: not its buffers too.
        while (completion := self._port.take()) is not None:
            self._left_running += failures.runs_on(completion)
        self._left_running += self._port.outstanding
        self._ready.clear()
        self._giving = []
        self.progress.close()

    def end(self, error: BaseException) -> None:
        """Close because of an exception. It keeps what is finished and not yet given; a Ctrl-C tells
        what runs on nevertheless. Idempotent."""
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
        """Of a closed map: how many invocations run on nevertheless, by where."""
        return {self._runs_on: self._left_running}

    @property
    def cause(self) -> BaseException | None:
        """The error for which no more input is packed."""
        return self._sender.error

    def abandon(self, why: str) -> None:
        """Cancel what is not finished, from any thread; who waits for a result is told why."""
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
        """Whether invocations go on that nobody has cancelled."""
        return not self._closed and self._fatal is None and self._port.outstanding > 0

    def fileno(self) -> int:
        """A descriptor that is readable while `step` has something to take."""
        return self._port.fileno()

    @property
    def outstanding(self) -> int:
        """Chunks whose replies are waited for."""
        return 0 if self._closed else self._port.outstanding

    @property
    def stats(self) -> Stats:
        latency: Any = self._port.latency or (None,) * 4
        return Stats(
            items=self._sender.items,
            items_resent=self._sender.items_resent,
            chunks=self._sender.chunks,
            worker_seconds=self.worker_us / 1e6,
            **self._port.stats,
            latency_p50=latency[0],
            latency_p90=latency[1],
            latency_p99=latency[2],
            latency_max=latency[3],
        )
