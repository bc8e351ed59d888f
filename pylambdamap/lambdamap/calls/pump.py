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
from typing import TYPE_CHECKING, Any, NamedTuple

from lambdamap import _codec, ambient, errors
from lambdamap.flight import failures, waiting
from lambdamap.flight.engine import Engine, Raised
from lambdamap.flight.open import connect
from lambdamap.flight.replies import results_of, show_output, warn_stale
from lambdamap.options import Options
from lambdamap.shipping import envelope
from lambdamap.shipping.functions import Shipment

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion

__all__ = ["Call", "Inbox", "Lane", "Mapped", "Pump"]

_log = logging.getLogger("lambdamap")

_MOST_LANES = 64  # functions that are kept open
_SHUT_DOWN = "cannot schedule new futures after shutdown"


class Call(NamedTuple):
    """What one invocation is to do: a function, how it is called, and with what."""

    shipment: Shipment
    calls: str  # of lambdamap.shipping.envelope.CALLS
    item: Any


class Lane:
    """The calls of one function: one map in flight, one call per invocation."""

    def __init__(self, shipment: Shipment, calls: str, options: Options, bound_id: str) -> None:
        self._ends = None if options.timeout is None else monotonic() + options.timeout
        link = connect(shipment, options, calls=calls, bound_id=bound_id)
        self.port, self.window, self.runs_on = link.port, link.window, link.runs_on
        self._coding, self._renew = link.coding, link.renew
        self._packer: Any = link.coding.packer  # a ChunkPacker
        self._packing = threading.Lock()
        self._logs, self._idempotent = options.logs, options.idempotent
        # Under the pump's lock.
        self.waiting: deque[tuple[futures.Future[Any], bytes]] = deque()
        # The pump's thread's.
        self.running: dict[int, futures.Future[Any]] = {}
        self._refused: tuple[bytes, int] | None = None
        self._count = 0
        self.cause: BaseException | None = None  # why no call can succeed any more
        self.left_running = 0  # calls that were cancelled when they had started

    def encode(self, item: Any) -> bytes:
        with self._packing:
            if self._packer.chunk_items:  # a Ctrl-C has come between the two lines below
                self._packer.take()
            self._packer.fill(iter((item,)), 1, 1 << 62)
            frame: bytes = self._packer.take()
            return frame

    def send(self, lock: threading.Lock) -> None:
        """Start calls while the function's window has room."""
        if self._renew is not None and self.port.wants_credentials:
            try:
                self._renew()
            except BaseException as error:  # the user's own code may have been asked for them
                self.cause = error
                self.port.cancel()
        while self._send_refused() and len(self.running) < self.window():
            with lock:
                if not self.waiting:
                    return
                future, frame = self.waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            if self.cause is not None:
                _settle(future.set_exception, self.cause)
                continue
            self.running[self._count] = future
            self._refused = (frame, self._count)
            self._count += 1

    def _send_refused(self) -> bool:
        """Whether the call that the byte budget refused, if any, is on its way now."""
        if self._refused is None:
            return True
        frame, number = self._refused
        try:
            if not self.port.submit(frame, number, 1):
                return False
        except BaseException as error:
            _settle(self.running.pop(number).set_exception, error)
        self._refused = None
        return True

    def receive(self) -> None:
        """End the calls whose replies have come. Whatever goes wrong with one is its future's
        exception, and no other call's."""
        while (completion := self.port.take()) is not None:
            future = self.running.pop(completion.first_item, None)
            if future is None:  # its submission has failed
                continue
            try:
                result = self._result(completion)
            except BaseException as error:
                errors.trim(error)
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)
                del result
            del future  # the frames of an error of the user's code, which it may keep, lead here

    def _result(self, completion: Completion) -> Any:
        self.left_running += failures.runs_on(completion)
        if completion.output is not None and self._logs:
            show_output(completion)
        if completion.stale_code is not None:
            warn_stale(completion.stale_code)
        if completion.failure:
            if completion.failure == "cancelled" and self.cause is not None:
                raise self.cause
            error = failures.of_chunk(completion, self._idempotent)
            if completion.stops_map or completion.failure == "throttled":
                self.cause = error
            raise error
        if completion.error is not None:
            try:
                said = envelope.read_error(completion.error, completion.n_items, completion.done)
            except envelope.Malformed as wrong:
                raise failures.unreadable(wrong, completion) from None
            raise failures.of_reply(said, completion, self._coding.allow_pickle)
        results, _ = results_of(completion, self._coding, guarded=False)
        if len(results) != 1:
            none = envelope.Malformed(f"it holds {len(results)} results of one call")
            raise failures.unreadable(none, completion)
        return results[0]

    def fail(self, error: Exception) -> None:
        """Every call that has not ended does so now."""
        for future in [*self.running.values(), *(future for future, _ in self.waiting)]:
            if future.running() or future.set_running_or_notify_cancel():
                _settle(future.set_exception, error)
        self.running.clear()
        self.waiting.clear()

    def lasts(self, ends: float) -> bool:
        """Whether it takes calls, and does until then (`time.monotonic`), give or take a second."""
        return self.cause is None and (self._ends is None or self._ends > ends - 1)

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


def _settle(setter: Callable[[Any], None], value: Any) -> None:
    """Set a future; no callback of its may end this thread."""
    try:
        setter(value)
    except BaseException:
        _log.critical("a future's callback raised", exc_info=True)


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
                    raise futures.TimeoutError("no result came in time")
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
            raise RuntimeError("this executor was made before a fork: make one in this process")
        if _interpreter_ends:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._closing:
            raise RuntimeError(_SHUT_DOWN)

    def submit(self, future: futures.Future[Any], prepare: Callable[[], Call]) -> None:
        self.check()
        try:
            call = prepare()
            lane = self._lane(call.shipment, call.calls)
            frame = lane.encode(call.item)
        except (errors.EncodeError, _codec.EncodeFailure) as error:
            future.set_running_or_notify_cancel()
            future.set_exception(_not_sendable(error))
            return
        with self.lock:
            self.check()
            if lane not in self._lanes.values():  # another thread has taken it out meanwhile
                self._lanes[id(lane)] = lane
            lane.waiting.append((future, frame))
            self._start()
        self.wake()

    def _lane(self, shipment: Shipment, calls: str) -> Lane:
        """Where calls of a function go. One that travels by value is shipped each time, as what it
        has captured may have changed; the same bytes share a lane. It ends with the web request or
        the invocation of Lambda that it is opened in; later ones have their own."""
        timeout = ambient.limit(None)
        ends = monotonic() + (1 if timeout is None else timeout)
        key = (calls, shipment.digest)
        with self._opening:
            with self.lock:
                lane = self._lanes.get(key)
                if lane is not None and lane.lasts(ends):
                    self._lanes.move_to_end(key)
                    return lane
            options = dataclasses.replace(self.options, timeout=timeout)
            lane = self._context.copy().run(Lane, shipment, calls, options, self.bound_id)
            with self.lock:
                before = self._lanes.pop(key, None)
                if before is not None and not before.idle:
                    self._lanes[id(before)] = before
                self._lanes[key] = lane
                self._forget_some()
            return lane

    def _forget_some(self) -> None:
        for key in list(self._lanes):
            if len(self._lanes) <= _MOST_LANES:
                return
            if self._lanes[key].idle and key != next(reversed(self._lanes)):
                del self._lanes[key]

    def add_map(self, mapped: Mapped) -> None:
        with self.lock:
            self._maps.append(mapped)
            self._start()
        self.wake()

    def close(self, cancel_futures: bool = False) -> None:
        """Take no more work; the thread ends when what there is has ended."""
        with self.lock:
            self._closing = True
            lanes = list(self._lanes.values())
            waiting = [pair for lane in lanes for pair in lane.waiting] if cancel_futures else []
            for lane in lanes if cancel_futures else ():
                lane.waiting.clear()
            for mapped in self._maps if cancel_futures else ():
                mapped.no_more = True
        for future, _ in waiting:
            future.cancel()
            future.set_running_or_notify_cancel()
        self.wake()

    def abort(self) -> None:
        """Cancel what waits, close the connections of what is under way."""
        self.aborted = True
        self.close(cancel_futures=True)

    def say_what_runs(self, error: BaseException) -> None:
        failures.say_cancelled(error, "the executor's calls are cancelled", self.left_running)

    def join(self, timeout_s: float | None = None) -> None:
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._write_fd, b"1")

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="lambdamap-executor", daemon=True
            )
            _running[self] = self._thread
            self._thread.start()

    # --- the thread ---

    def _run(self) -> None:
        try:
            while (watched := self._turn()) is not None:
                if watched:
                    self._wait(watched)
        except BaseException as error:
            _log.critical("an executor's thread ended by an error", exc_info=True)
            self.close()
            broken = RuntimeError(f"the executor is broken: {type(error).__name__}: {error}")
            for lane in list(self._lanes.values()):
                lane.fail(broken)
            for mapped in self._maps:
                mapped.end(broken)
        finally:
            with self.lock:
                self._lanes.clear()
            _running.pop(self, None)

    def _turn(self) -> list[int] | None:
        """Do what can be done now. Returns the descriptors to wait for, which are none where more
        can be done at once, or None when all has ended. Nothing of a call or map stays referenced
        by this thread while it waits."""
        with self.lock:
            lanes, maps = list(self._lanes.values()), list(self._maps)
            closing = self._closing
        if self.aborted and not self._cancelled:
            self._cancelled = True
            _cancel(lanes, maps)
        for lane in lanes:
            lane.receive()
            lane.send(self.lock)
            lane.receive()  # what ran in this process is done
        for mapped in maps:
            mapped.step()
        for mapped in maps:
            if mapped.over:
                self.left_running.update(mapped.engine.left_running)
        with self.lock:
            self._maps = maps = [mapped for mapped in self._maps if not mapped.over]
            done = not maps and all(lane.idle for lane in self._lanes.values())
        if done and closing:
            for lane in lanes:
                self.left_running[lane.runs_on] += lane.left_running
            return None
        if any(lane.waiting and not lane.running for lane in lanes):
            return []
        watched = [self._read_fd]
        watched += [lane.port.fileno() for lane in lanes if lane.running]
        watched += [mapped.engine.fileno() for mapped in maps if mapped.engine.outstanding]
        return watched

    def _wait(self, watched: list[int]) -> None:
        if self._read_fd in waiting.for_readable(watched):
            os.read(self._read_fd, 4096)


def _cancel(lanes: list[Lane], maps: list[Mapped]) -> None:
    for lane in lanes:
        lane.port.cancel()
    for mapped in maps:
        mapped.engine.cancel()


def _close_pipe(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _not_sendable(error: Exception) -> Exception:
    if isinstance(error, errors.EncodeError):
        return error
    message, path = (*error.args, "")[:2]
    return errors.EncodeError(f"the arguments{path} cannot be sent: {message}")


# --- the interpreter's end -------------------------------------------------------------------

_running: dict[Pump, threading.Thread] = {}
_interpreter_ends = False


def _finish_all() -> None:
    """As the standard library's executors: what was submitted is finished before the end."""
    global _interpreter_ends
    _interpreter_ends = True
    for pump, thread in list(_running.items()):
        if pump.pid == os.getpid() and not pump.aborted:
            pump.close()
            thread.join()


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # before threads are joined
