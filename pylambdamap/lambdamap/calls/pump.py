"""The thread of an executor: it sends the calls of all functions, steps the maps, takes the replies.

It waits on descriptors and never on one call. Calls are encoded in the threads that submit them.
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
from lambdamap.options import Options
from lambdamap.shipping.functions import Shipment

__all__ = ["Inbox", "Mapped", "Pump"]

_log = logging.getLogger("lambdamap")

_MOST_LANES = 64  # functions that are kept open
_SHUT_DOWN = "cannot schedule new futures after shutdown"


class Inbox:
    """The results of a `LambdaExecutor.map` that have come and have not been taken.

    The iterator owns it. Where that has been dropped, nobody is left to keep results for.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._results: deque[Any] = deque()
        self._taken = 0
        self._error: BaseException | None = None
        self.over = False  # no more results come

    def put(self, results: list[Any]) -> None:
        with self._changed:
            self._results.extend(results)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """No more results come; an error is raised after the last one."""
        with self._changed:
            self._error, self.over = error, True
            self._changed.notify_all()

    def wait(self, ends: float | None) -> bool:
        """In the caller's thread: whether there is a result, or the map's error, to take."""
        with self._changed:
            while not self._results and not self.over:
                left = None if ends is None else ends - monotonic()
                if left is not None and left <= 0:
                    raise futures.TimeoutError("timed out while waiting for a result")
                self._changed.wait(left)
            return bool(self._results) or self._error is not None

    def take(self) -> Any:
        """After `wait`: the next result; or raises what stands there."""
        with self._changed:
            if not self._results:
                assert self._error is not None
                raise self._error
            if type(self._results[0]) is Raised:
                raise self._results[0].error
            self._taken += 1
            return self._results.popleft()

    def keep(self, error: BaseException) -> None:
        """The results that have come and will not be taken stay with the error that ends it."""
        with self._changed:
            left = enumerate(self._results, self._taken)
            errors.keep(error, {i: r for i, r in left if type(r) is not Raised})
            self._results.clear()


class Mapped:
    """One `LambdaExecutor.map`: its engine, stepped by the pump.

    Every item runs, whatever became of those before it and whether anybody takes the results,
    until the iterator is closed.
    """

    def __init__(self, engine: Engine, inbox: Inbox) -> None:
        self.engine = engine
        self._inbox = weakref.ref(inbox)
        self.over = False
        self.closed = False  # by its iterator: what has not finished is cancelled
        self.no_more = False  # items that have not been packed are cancelled

    def step(self) -> None:
        """In the pump's thread."""
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
        """No more results come: whoever waits is told why."""
        self.over = True
        if (inbox := self._inbox()) is not None:
            inbox.end(error)


class Pump:
    """The executor's thread and what it shares with those who submit.

    It holds no reference to the executor, so that one which is dropped finishes its work and goes.
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
        self._closing = False  # no new work is taken; the thread ends when all is done
        self.aborted = False
        self._cancelled = False  # what an abort found under way; for the thread
        self.left_running: Counter[str] = Counter()  # of an aborted one, by where
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
            future.set_exception(_not_sendable(error))
            return
        with self.lock:
            self.check()
            self._start()
            if lane not in self._lanes.values():  # another thread has taken it out meanwhile
                self._lanes[id(lane)] = lane
            lane.calls.items.append((future, chunk))
        self.wake()

    def _lane(self, shipment: Shipment, calls: str) -> Lane:
        """Where calls of a function go. One that travels by value is shipped each time, as what it
        has captured may have changed; the same bytes share a lane. It ends with the web request or
        the invocation of Lambda that it is opened in; later ones have their own."""
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
                del self._lanes[key]

    def add_map(self, mapped: Mapped) -> None:
        with self.lock:
            self.check()
            self._start()
            self._maps.append(mapped)
        self.wake()

    def close(self, cancel_futures: bool = False) -> None:
        """Take no more work; the thread ends when what there is has ended.

        The garbage collector calls this, in a thread that may hold the lock: so it is not taken here.
        Work that is added under the lock is seen by the thread before it is seen that no more comes.
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
        """Cancel what waits, close the connections of what is under way."""
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
            except RuntimeError:  # the system has no more of them
                self._thread = None
                del _running[self]
                raise

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
            self._lanes, self._maps = OrderedDict(), []
            _running.pop(self, None)

    def _turn(self) -> tuple[list[int], float | None] | None:
        """Do what can be done now. Returns the descriptors to wait for, which are none where more
        can be done at once, and the seconds to wait at most; or None when all has ended. Nothing of a
        call or map stays referenced by this thread while it waits."""
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


def _not_sendable(error: Exception) -> Exception:
    if isinstance(error, errors.EncodeError):
        return error
    message, path = (*error.args, "")[:2]
    return errors.EncodeError(f"the arguments{path} cannot be sent: {message}")


# --- the interpreter's end -------------------------------------------------------------------

_running: dict[Pump, None] = {}
_interpreter_ends = False


def _finish_all() -> None:
    """As the standard library's executors: what was submitted is finished before the end."""
    global _interpreter_ends
    _interpreter_ends = True
    for pump in list(_running):
        if pump.pid == os.getpid() and not pump.aborted:
            pump.close()
            pump.join()


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # before threads are joined
