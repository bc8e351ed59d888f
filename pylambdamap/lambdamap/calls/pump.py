"""An executor's thread: it sends the calls of all functions, steps the maps and takes the replies.

It waits on file descriptors, never on a single call. Calls are encoded in the submitting threads.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import logging
import os
import threading
import uuid
import weakref
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent import futures
from time import monotonic
from typing import Any

from lambdamap import _codec, ambient, errors
from lambdamap.calls.lane import Call, Lane
from lambdamap.flight import failures, waiting
from lambdamap.flight.engine import Engine, Raised
from lambdamap.flight.stats import Stats, sum_of
from lambdamap.options import Options
from lambdamap.shipping.functions import Shipment

__all__ = ["Inbox", "Mapped", "Pump"]

_log = logging.getLogger("lambdamap")

_MOST_LANES = 64  # functions kept open
_SHUT_DOWN = "cannot schedule new futures after shutdown"


class Inbox:
    """Results of a `LambdaExecutor.map` that have arrived and were not taken.

    Owned by the iterator; once that is dropped, results are not kept.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._results: deque[Any] = deque()
        self._taken = 0
        self._error: BaseException | None = None
        self.over = False  # no more results will arrive

    def put(self, results: list[Any]) -> None:
        with self._changed:
            self._results.extend(results)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """Mark the end of the results; an error is raised after the last one."""
        with self._changed:
            self._error, self.over = error, True
            self._changed.notify_all()

    def wait(self, ends: float | None) -> bool:
        """Wait in the caller's thread; return whether there is a result or the map's error to take."""
        with self._changed:
            while not self._results and not self.over:
                left = None if ends is None else ends - monotonic()
                if left is not None and left <= 0:
                    raise futures.TimeoutError("timed out while waiting for a result")
                self._changed.wait(left)
            return bool(self._results) or self._error is not None

    def take(self) -> Any:
        """Return the next result after `wait`, or raise the exception in its place."""
        with self._changed:
            if not self._results:
                assert self._error is not None
                raise self._error
            if type(self._results[0]) is Raised:
                raise self._results[0].error
            self._taken += 1
            return self._results.popleft()

    def keep(self, error: BaseException) -> None:
        """Add the results that will not be taken to the error that ends the map."""
        with self._changed:
            left = enumerate(self._results, self._taken)
            errors.keep(error, {i: r for i, r in left if type(r) is not Raised})
            self._results.clear()


class Mapped:
    """One `LambdaExecutor.map`: its engine, stepped by the pump.

    Every item runs, even if earlier ones fail or results are not taken, until the iterator is
    closed.
    """

    def __init__(self, engine: Engine, inbox: Inbox) -> None:
        self.engine = engine
        self._inbox = weakref.ref(inbox)
        self.over = False
        self.closed = False  # by its iterator: unfinished items are cancelled
        self.no_more = False  # items not yet packed are cancelled

    def step(self) -> None:
        """Take results and submit chunks; for the pump's thread."""
        if self.no_more:
            self.engine.stop_input(futures.CancelledError("the executor was shut down"))
        failed: BaseException | None = None
        try:
            while not self.closed:
                chunk = self.engine.step()
                if chunk is None:
                    return
                if not chunk:
                    break
                if (inbox := self._inbox()) is not None:
                    inbox.put(chunk)
                    del inbox
        except BaseException as error:
            errors.trim(error)
            failed = error
        self.engine.close(patience_s=0)
        self.end(failed)

    def end(self, error: BaseException | None) -> None:
        """End the results; whoever waits for one gets the error."""
        self.over = True
        if (inbox := self._inbox()) is not None:
            inbox.end(error)


class Pump:
    """The executor's thread and the state it shares with submitting threads.

    It holds no reference to the executor, so a dropped executor finishes its work and is freed.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self._context = contextvars.copy_context()  # a lane may be opened by a callback
        self.pid = os.getpid()
        self.bound_id = uuid.uuid4().hex  # all of the executor's maps share max_concurrency
        self.lock = threading.Lock()
        self._opening = threading.Lock()
        self._lanes: OrderedDict[Any, Lane] = OrderedDict()
        self._maps: list[Mapped] = []
        self._thread: threading.Thread | None = None
        self._closing = False  # no new work is accepted; the thread ends when all is done
        self.aborted = False
        self._cancelled = False  # whether the thread has acted on the abort
        self.left_running: Counter[str] = Counter()  # invocations, by where; after an abort
        self._past = sum_of(())  # statistics of what is in neither _lanes nor _maps any more
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        weakref.finalize(self, _close_pipe, self._read_fd, self._write_fd)

    # --- callers ---

    def check(self) -> None:
        if self.pid != os.getpid():
            raise RuntimeError(
                "this executor was created before a fork: create one in this process"
            )
        if _interpreter_ends:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._closing:
            raise RuntimeError(_SHUT_DOWN)

    def submit(self, future: futures.Future[Any], prepare: Callable[[], Call]) -> None:
        self.check()
        try:
            call = prepare()
            lane = self._lane(call.shipment, call.calls)
            chunk = lane.encode(call.item)
        except (errors.EncodeError, _codec.EncodeFailure) as error:
            future.set_running_or_notify_cancel()
            if isinstance(error, _codec.EncodeFailure):
                error = failures.not_sendable("the arguments", error)
            future.set_exception(error)
            return
        with self.lock:
            self.check()
            self._start()
            if lane not in self._lanes.values():  # another thread has removed it meanwhile
                self._lanes[id(lane)] = lane
            lane.calls.items.append((future, chunk))
        self.wake()

    def _lane(self, shipment: Shipment, calls: str) -> Lane:
        """Return the lane for calls of a function, opened if needed.

        A function sent by value is shipped for each call, since captured values may have changed;
        identical bytes share a lane. A lane ends with the web request or Lambda invocation that it
        is opened in; later ones open their own."""
        timeout = ambient.limit(None)
        ends = monotonic() + (1 if timeout is None else timeout)
        key = (calls, shipment.digest)
        if (lane := self._opened(key, ends)) is not None:
            return lane
        with self._opening:
            if (lane := self._opened(key, ends)) is not None:
                return lane
            options = dataclasses.replace(self.options, timeout=timeout, chunksize=1)
            lane = self._context.copy().run(
                Lane, shipment, calls, options, self.bound_id, self.lock
            )
            with self.lock:
                before = self._lanes.pop(key, None)
                if before is not None and not before.calls.idle:
                    self._lanes[id(before)] = before
                elif before is not None:
                    self._past = sum_of((self._past, before.engine.stats))
                self._lanes[key] = lane
                self._forget_some()
            return lane

    def _opened(self, key: tuple[str, Any], ends: float) -> Lane | None:
        with self.lock:
            lane = self._lanes.get(key)
            if lane is None or not lane.lasts(ends):
                return None
            self._lanes.move_to_end(key)
            return lane

    def _forget_some(self) -> None:
        for key in list(self._lanes):
            if len(self._lanes) <= _MOST_LANES:
                return
            if self._lanes[key].calls.idle and key != next(reversed(self._lanes)):
                self._past = sum_of((self._past, self._lanes.pop(key).engine.stats))

    def add_map(self, mapped: Mapped) -> None:
        with self.lock:
            self.check()
            self._start()
            self._maps.append(mapped)
        self.wake()

    def close(self, cancel_futures: bool = False) -> None:
        """Accept no more work; the thread ends when the pending work has ended.

        The garbage collector may call this in a thread that holds the lock, so it is not taken here.
        The thread sees work that was added under the lock before it sees that there is no more.
        """
        if self.pid != os.getpid():  # the work is the parent's, and the lock may be held for ever
            return
        self._closing = True
        if cancel_futures:
            self._cancel_waiting()
        self.wake()

    def _cancel_waiting(self) -> None:
        with self.lock:
            lanes = list(self._lanes.values())
            for mapped in self._maps:
                mapped.no_more = True
        for lane in lanes:
            lane.calls.cancel()

    def abort(self) -> None:
        """Cancel waiting calls, and close the connections of running ones."""
        self._closing = True  # first: what is added later is not cancelled
        self.aborted = True
        self.close(cancel_futures=True)

    def say_what_runs(self, error: BaseException) -> None:
        failures.say_cancelled(error, "executor's calls cancelled", self.left_running)

    def join(self, timeout_s: float | None = None) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            with contextlib.suppress(RuntimeError):  # a Ctrl-C has come while it was being started
                thread.join(timeout_s)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, b"1")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="lambdamap-executor", daemon=True
            )
            _running[self] = None
            try:
                self._thread.start()
            except RuntimeError:  # the system allows no further thread
                self._thread = None
                del _running[self]
                raise

    @property
    def stats(self) -> Stats:
        """Return the statistics of all calls and maps so far."""
        with self.lock:
            engines = [lane.engine for lane in self._lanes.values()]
            engines += [mapped.engine for mapped in self._maps]
            return sum_of((self._past, *(engine.stats for engine in engines)))

    # --- the thread ---

    def _run(self) -> None:
        try:
            while (found := self._turn()) is not None:
                if found[0]:
                    self._wait(*found)
        except BaseException as error:
            _log.critical("an executor's thread failed", exc_info=True)
            self.close()
            broken = RuntimeError(f"the executor is broken: {type(error).__name__}: {error}")
            with self.lock:
                lanes, maps = list(self._lanes.values()), list(self._maps)
            for lane in lanes:
                lane.fail(broken)
            for mapped in maps:
                mapped.end(broken)
        finally:
            past = self.stats
            with self.lock:
                self._past, self._lanes, self._maps = past, OrderedDict(), []
            _running.pop(self, None)

    def _turn(self) -> tuple[list[int], float | None] | None:
        """Do what can be done now. Return the descriptors to wait for (none if more can be done at
        once) and the maximum number of seconds to wait; None when everything has ended. This thread
        keeps no reference to a call or map while it waits."""
        with self.lock:
            lanes, maps = list(self._lanes.values()), list(self._maps)
            closing = self._closing
        engines = [lane.engine for lane in lanes] + [mapped.engine for mapped in maps]
        if self.aborted and not self._cancelled:
            self._cancelled = True
            for engine in engines:
                engine.cancel()
        for lane in lanes:
            if not lane.calls.idle:
                lane.step()
        for mapped in maps:
            mapped.step()
        for mapped in maps:
            if mapped.over:
                self.left_running.update(mapped.engine.left_running)
        with self.lock:
            ended = [mapped.engine.stats for mapped in self._maps if mapped.over]
            if ended:
                self._past = sum_of((self._past, *ended))
            self._maps = left = [mapped for mapped in self._maps if not mapped.over]
            done = not left and all(lane.calls.idle for lane in self._lanes.values())
        if done and closing:
            for lane in lanes:
                self.left_running.update(lane.engine.left_running)
            return None
        if any(lane.calls.items and not lane.calls.started for lane in lanes):
            return [], None
        watched, after_s = [self._read_fd], None
        for engine in engines:
            if engine.outstanding:
                watched.append(engine.fileno())
                if (look_s := engine.look_after_s()) is not None:
                    after_s = look_s if after_s is None else min(look_s, after_s)
        return watched, after_s

    def _wait(self, watched: list[int], after_s: float | None) -> None:
        if self._read_fd in waiting.for_readable(watched, after_s):
            os.read(self._read_fd, 4096)


def _close_pipe(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


# --- the interpreter's end -------------------------------------------------------------------

_running: dict[Pump, None] = {}
_interpreter_ends = False


def _finish_all() -> None:
    """Finish submitted work at interpreter shutdown, as the standard library's executors do."""
    global _interpreter_ends
    _interpreter_ends = True
    for pump in list(_running):
        if pump.pid == os.getpid() and not pump.aborted:
            pump.close()
            pump.join()


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # before threads are joined
