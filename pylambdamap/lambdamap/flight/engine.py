"""One map in flight: chunks out, results in, in the input's order.

The engine stands between an iterator and a `Port` (the native `_net.Map`, or its stand-in for work
in this process). `Engine.step` never waits for a reply: it takes what has come, packs at most two
windows of chunks beyond the one whose results are next, and gives what can be yielded. Whoever
drives it waits on the port in between: `results` in the calling thread, `aio` in an event loop,
`executor` in a thread of its own.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import repeat
from time import monotonic
from typing import TYPE_CHECKING, Any

from lambdamap import _codec, ambient, errors
from lambdamap.flight import failures, log, waiting
from lambdamap.flight.progress import Progress
from lambdamap.flight.stats import Stats
from lambdamap.shipping import envelope, json_codec

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion, Packer, Port, Unpack
    from lambdamap.options import Options

__all__ = [
    "Engine",
    "Feed",
    "Raised",
    "results_of",
    "show_output",
    "warn_stale",
]

_WINDOWS_AHEAD = 2
_SLICE_S = 1.0  # how often a waiting caller looks at its progress bar
_LATE_READING_S = 0.2  # for results that have come, when the map's deadline has passed
_DECODED_BYTES = 16 << 20  # encoded size of results that are decoded before their turn
_KEEP_S = 0.1  # what may be spent on decoding results for the error of a Ctrl-C


class Feed:
    """An input that arrives by itself: items that are here, and whether more may come.

    For the thread of its engine alone. Owned by whoever appends to it.
    """

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
    """Drives one map, for one thread at a time."""

    def __init__(
        self,
        port: Port,
        packer: Packer,
        source: Iterator[Any],
        options: Options,
        *,
        map_id: str,
        total: int | None,
        window: Callable[[], int],
        unpack: Unpack,
        repack: Callable[[list[Any]], bytes] | None,
        ordered: bool = True,
        renew: Callable[[], None] | None = None,
        runs_on: str = "",
        allow_pickle: bool = False,
    ) -> None:
        self._port = port
        self._packer = packer
        self._source = source
        self._feed = source if isinstance(source, Feed) else None
        self._options = options
        self._total = total
        self._window = window
        self._unpack = unpack
        self._repack = repack
        self._ordered = ordered
        self._allow_pickle = allow_pickle  # of f's exceptions
        self._renew = renew
        fixed = 0 if options.chunksize == "auto" else int(options.chunksize)
        self._chunker = _codec.Chunker(fixed)
        self._ready: dict[int, _Finished] = {}  # by first item, as they came
        self._decoded_bytes = 0  # sizes of those in _ready that are decoded
        self._open_items = 0  # in the packer's open chunk, which waits for its feed
        self._wanted = 0  # items that the open chunk is to have; 0: none is open
        self._head = 0  # ordered: the next item to give; else: items given
        self._given_first = 0  # index of the first item of the chunk that was given last
        self._giving: list[Any] = []  # what `results` has still to yield of it, the last one first
        self._giving_ends = 0  # index after its last item
        self._ends = False  # no more input is packed: an error or the end
        self._input_error: BaseException | None = None
        self._raised: BaseException | None = None  # to be raised by the next step
        self._fatal: BaseException | None = None  # ends the map whatever else is finished
        self._backlog: deque[tuple[bytes, int, int]] = deque()  # refused by the byte budget
        self._deadline = monotonic() + options.timeout if options.timeout is not None else None
        self._read_until = self._deadline  # from then on, no results are read any more
        self._stale_said = False
        # For LambdaExecutor.map, with on_error="return": errors are given as `Raised`, to be told
        # from results, and the failure of a chunk stands in the places of its items and ends nothing.
        self.marks_errors = False
        self._closed = False
        self._runs_on = runs_on  # where cancelled invocations run to their end; "": nowhere
        self._left_running = 0  # of them, known when closed
        self._log = log.MapLog(map_id, port) if log.is_wanted() else None
        self.progress = Progress(options.progress, total)
        self.worker_us = 0
        self.chunks = 0
        self.items_resent = 0  # answered "not started" by a chunk that was done in part
        ambient.adopt(self)

    # --- sending --------------------------------------------------------------------------------

    def _may_pack(self) -> bool:
        limit = self._options.buffersize
        if limit is not None and self._packer.items_packed - self._head >= limit:
            return False
        chunks = self._port.outstanding + len(self._ready) + len(self._backlog)
        return limit is not None or chunks < _WINDOWS_AHEAD * self._window()

    def input_room(self) -> int:
        """Items that the open chunk still waits for; for those who supply a `Feed`."""
        if self._ends or self._closed or self._feed is None or self._wanted == 0:
            return 0
        return self._wanted - self._open_items - len(self._feed.items)

    def _next_size(self) -> int:
        """Items of the next chunk; 0: wait for a reply first."""
        left = -1 if self._total is None else max(0, self._total - self._packer.items_packed)
        ends_us = -1
        if self._deadline is not None:
            ends_us = max(0, int((self._deadline - monotonic()) * 1e6))
        wanted = self._chunker.next(self._window(), left, ends_us)
        if (limit := self._options.buffersize) is not None:
            wanted = min(wanted, max(1, limit - (self._packer.items_packed - self._head)))
        return wanted

    def fill(self) -> None:
        """Pack and submit chunks while there is room."""
        while self._backlog:
            if not self._port.submit(*self._backlog[0]):
                return
            self._backlog.popleft()
            self.chunks += 1
        while not self._ends and (self._wanted or self._may_pack()):
            if self._wanted == 0:
                self._wanted = self._next_size()
            if self._wanted == 0 or not self._pack():
                return
            count, self._open_items, self._wanted = self._open_items, 0, 0
            if count == 0:
                return
            first = self._packer.items_packed - count
            try:
                chunk = (self._packer.take(), first, count)
            except _codec.EncodeFailure as failure:  # of items that only fail together
                raise errors.EncodeError(
                    f"items {first} to {first + count - 1} cannot be sent: {failure.args[0]}",
                    indices=range(first, first + count),
                    ran="NOT",
                ) from failure
            if not self._port.submit(*chunk):
                self._backlog.append(chunk)
                return
            self.chunks += 1

    def _pack(self) -> bool:
        """Add to the open chunk; whether it is to be sent. It is not while its feed has no more."""
        packer, wanted, most = self._packer, self._wanted, self._chunker.max_bytes
        before = packer.items_packed - self._open_items
        limit = wanted if self._feed is None else self._feed.room(before, wanted)
        try:
            packer.fill(self._source, limit, most)
        except _codec.EncodeFailure as failure:
            self.stop_input(_encode_error(failure, packer.items_packed))
        except Exception as error:
            self.stop_input(error)
        self._open_items = packer.items_packed - before
        if packer.exhausted:
            self._ends = True
        full = limit == wanted or self._open_items < limit or packer.chunk_bytes >= most
        return self._ends or full

    def stop_input(self, error: Exception) -> None:
        """The input is over; its error is raised at its place, behind the items before it."""
        if not self._ends:
            self._ends = True
            self._input_error = error

    def _resubmit(self, items: list[Any], first: int, size: int) -> None:
        """Send items again, so many in a chunk, before all others that wait."""
        assert self._repack is not None
        for at in reversed(range(0, len(items), size)):
            part = items[at : at + size]
            self._backlog.appendleft((self._repack(part), first + at, len(part)))

    # --- receiving ------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Put what has come into its place; never waits."""
        while self._fatal is None and (completion := self._port.take()) is not None:
            self._place(completion)
        if self._log is not None:
            self._log.notes()

    def _place(self, completion: Completion) -> None:
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

    def _place_results(self, completion: Completion) -> int:
        """How many items have finished."""
        first, count = completion.first_item, completion.n_items
        if completion.failure:
            return self._place_failure(completion)
        done = completion.done
        self.worker_us += completion.worker_us
        if done:
            self._chunker.observe(done, completion.worker_us, self._window())
        if completion.error is not None:
            try:
                said = envelope.read_error(completion.error, count, done)
            except envelope.Malformed as wrong:
                self._stop_at(first, failures.unreadable(wrong, completion))
                return done
            error = failures.of_reply(said, completion, self._allow_pickle)
            if said["ran"] == "NOT" and not done:
                self._fatal = error
                return done
            results = self._decode(completion)
            if self.marks_errors:
                results += [Raised(error)] * (count - done)
            else:
                if not results or not isinstance(results[-1], Raised):
                    results.append(Raised(error))
                self._ends = True
            self._ready[first] = _Finished(results)
            return done
        size = 0 if completion.frame is None else len(completion.frame)
        if done < count:
            left = count - done
            self.items_resent += left
            # As many at once as were done at once, but not more chunks than the window takes.
            at_once = max(done, -(-left // self._window()))
            self._resubmit(_items_of(completion)[done:], first + done, at_once)
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
                self._unpack,
                guarded=self._options.on_error == "return",
                allow_pickle=self._allow_pickle,
                check=self._check_time,
            )
        except _TimeIsOver:
            self._fatal = _too_late(completion)
            return [Raised(self._fatal)]
        except errors.LambdaMapError as unread:
            if self.marks_errors:
                return [Raised(unread)] * completion.done
            self._ends = True
            return [Raised(unread)]
        for index, error in failed.items():
            results[index] = Raised(error) if self.marks_errors else error
        return results

    def _check_time(self) -> None:
        if self._read_until is not None and monotonic() > self._read_until:
            raise _TimeIsOver

    def _place_failure(self, completion: Completion) -> int:
        first, count = completion.first_item, completion.n_items
        if completion.split and self._repack is not None and count > 1:
            self._resubmit(_items_of(completion), first, (count + 1) // 2)
            return 0
        self._left_running += failures.runs_on(completion)
        error = failures.of_chunk(completion, self._options.idempotent)
        if completion.stops_map or completion.failure == "throttled":
            self._fatal = error
        elif self._is_guarded():
            results = [Raised(error)] * count if self.marks_errors else [error]
            self._ready[first] = _Finished(results)
            return count
        else:
            self._stop_at(first, error)
        return 0

    def _is_guarded(self) -> bool:
        """Whether a failed invocation is its payload's result: nothing of ours guards it there."""
        late = self._deadline is not None and monotonic() >= self._deadline
        alone = self._repack is None and self._options.on_error == "return"
        return (alone or self.marks_errors) and not late

    def _stop_at(self, first: int, error: BaseException) -> None:
        """The error is raised when its turn comes; nothing new is packed."""
        self._ready[first] = _Finished([Raised(error)])
        self._ends = True

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
            if (error := self._fatal or self._raised) is not None:
                raise error
            if self._renew is not None and self._port.wants_credentials:
                self._renew()
            self.fill()
            while (chunk := self._next_chunk()) is not None:
                if chunk and isinstance(chunk[-1], Raised) and not self.marks_errors:
                    self._raised = chunk.pop().error
                    if not chunk:
                        raise self._raised
                self._head += len(chunk)
                if chunk:
                    return chunk
            if not self._ends or self._port.outstanding or self._backlog:
                return None
            if self._input_error is not None:
                raise self._input_error
        except BaseException as error:
            self.end(error)
            raise
        self.close()
        return []

    def _next_chunk(self) -> list[Any] | None:
        first = self._head if self._ordered else next(iter(self._ready), -1)
        chunk = self._ready.pop(first, None)
        if chunk is None:
            return None
        self._decoded_bytes -= chunk.size
        self._given_first = first
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
        left = None if self._deadline is None else max(0.0, self._deadline - monotonic())
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
                    self._giving_ends = self._given_first + len(chunk)
                    chunk = self._giving = chunk[::-1]
                    yield from map(list.pop, repeat(chunk, len(chunk)))
                elif ends is None:
                    self.wait()
                elif not self.wait(max(0.0, ends - monotonic())) and monotonic() >= ends:
                    from concurrent.futures import TimeoutError as Late

                    raise Late("no result came in time")
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
        self._ends = True
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
        self._backlog.clear()
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
                failures.say_cancelled(error, "the map is cancelled", self.left_running)
            errors.keep(error, finished)

    @property
    def left_running(self) -> dict[str, int]:
        """Of a closed map: how many invocations run on nevertheless, by where."""
        return {self._runs_on: self._left_running}

    def abandon(self, why: str) -> None:
        """Cancel what is not finished, from any thread; who waits for a result is told why."""
        if self._closed:
            return
        from concurrent.futures import CancelledError

        self._fatal = self._fatal or CancelledError(why)
        self._ends = True
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
        return self._port.outstanding

    @property
    def stats(self) -> Stats:
        latency: Any = self._port.latency or (None,) * 4
        return Stats(
            items=self._packer.items_packed,
            items_resent=self.items_resent,
            chunks=self.chunks,
            worker_seconds=self.worker_us / 1e6,
            **self._port.stats,
            latency_p50=latency[0],
            latency_p90=latency[1],
            latency_p99=latency[2],
            latency_max=latency[3],
        )


# --- small parts --------------------------------------------------------------------------------


def _encode_error(error: _codec.EncodeFailure, index: int) -> errors.EncodeError:
    message, path = (*error.args, "")[:2]
    return errors.EncodeError(
        f"item {index}{path} cannot be sent: {message}", indices=(index,), ran="NOT"
    )


def results_of(
    completion: Completion,
    unpack: Unpack,
    *,
    guarded: bool,
    allow_pickle: bool = False,
    check: Callable[[], None] | None = None,
) -> tuple[list[Any], dict[int, BaseException]]:
    """The results that a reply holds, and by index the errors of the items that failed.

    guarded: the request has asked for errors among the results. allow_pickle: these may be pickled.
    check: called now and then while they are read; what it raises ends that.

    Raises
    ------
    DecodeError, ProtocolError
        It cannot be read. f has run.
    """
    done = completion.done
    try:
        results, described = unpack(completion, check) if done else ([], {})
        if len(results) != done:
            raise envelope.Malformed(f"it holds {len(results)} results of {done} items")
        if described and not guarded:
            raise envelope.Malformed("it holds errors among its results, which nobody asked for")
        failed = {}
        for index, error in described.items():
            if results[index] is not None:
                raise envelope.Malformed(f"it holds a result and an error of item {index}")
            said = envelope.read_error(error, completion.n_items, done, among=index)
            failed[index] = failures.of_reply(
                said, completion, allow_pickle, stopped=False, of=len(described)
            )
        return results, failed
    except (envelope.Malformed, _codec.DecodeFailure) as found:
        wrong, cause = found.with_traceback(None), found.__cause__
    except BaseException as found:
        # Signals come to the main thread alone. In another one it is the value that exits.
        if isinstance(found, Exception) or _in_main_thread():
            raise
        wrong, cause = _codec.DecodeFailure(f"{type(found).__name__}: {found}"), found
    # Here, so that the frames of decoding do not stay with it, and in them the reply.
    if cause is not None:
        errors.trim(cause)
    raise failures.unreadable(wrong, completion) from cause


def _too_late(completion: Completion) -> errors.DeadlineError:
    first = completion.first_item
    return errors.DeadlineError(
        f"the time of the map was over while the results of chunk {first} were read",
        indices=range(first, first + completion.n_items),
        attempts=completion.attempts,
        request_id=completion.request_id,
        ran="RAN",
    )


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _items_of(completion: Completion) -> list[Any]:
    """The items of a request that was packed here, to be packed again."""
    chunk = completion.request_frame()
    if json_codec.is_json(chunk):
        return json_codec.items_of(chunk)
    items: list[Any] = _codec.decode(chunk, allow_pickle=True)[1]
    return items


def show_output(completion: Completion) -> None:
    """Print what items have printed, ``[[index, text], ...]``, under their position."""
    found = json.loads(completion.output or b"[]")
    for printed in found if isinstance(found, list) else ():
        match printed:
            case [int(index), str(text)] if type(index) is int and 0 <= index < completion.n_items:
                for line in text.splitlines():
                    print(f"[{completion.first_item + index}] {line}")


def warn_stale(raw: str) -> None:
    found = json.loads(raw)
    module = found.get("module") if isinstance(found, dict) else None
    errors.warn(
        f"the worker runs another version of {module or 'the code'} than this process: deploy it, "
        "or results come from the old code",
        errors.StaleCodeWarning,
    )
