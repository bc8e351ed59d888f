"""`LambdaExecutor`: futures on Lambda, as `concurrent.futures` has them.

One thread per executor sends the calls and takes the replies of all functions that were
submitted; it waits on descriptors. Calls are encoded where they are submitted, so that what
happens to their arguments afterwards is of no account.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import hashlib
import json
import logging
import os
import select
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent import futures
from time import monotonic
from typing import Any, TypeVar

from lambdamap import _codec, errors, failures
from lambdamap import options as _options
from lambdamap.api import check_arguments
from lambdamap.engine import Engine, show_output, warn_stale
from lambdamap.functions import Shipment, ship
from lambdamap.launch import connect, open_engine
from lambdamap.worker.calls import apply, apply_all, apply_each

__all__ = ["LambdaExecutor"]

T = TypeVar("T")

_log = logging.getLogger("lambdamap")
_OVER: Any = object()

_MOST_LANES = 64  # functions that are kept open
_ABORT_S = 0.2  # for the native threads to let go
_NOT_HERE = {
    "buffersize": "pass it to map()",
    "chunksize": "pass it to map()",
    "codec": "calls have keyword arguments and tuples, which JSON has not",
    "on_error": "each future holds its own exception",
    "progress": "use as_completed() with a bar of your own",
    "timeout": "use result(timeout), map(timeout=) or invocation_timeout",
}
_SHUT_DOWN = "cannot schedule new futures after shutdown"


class _Lane:
    """The calls of one function: one map in flight, one call per invocation."""

    def __init__(self, shipment: Any, options: _options.Options) -> None:
        link = connect(shipment, options, star=True)
        self.port, self.window = link.port, link.window
        self._packer, self._unpack, self._renew = link.packer, link.unpack, link.renew
        self._packing = threading.Lock()
        self._logs = options.logs
        # Under the pump's lock.
        self.waiting: deque[tuple[futures.Future[Any], bytes]] = deque()
        # The pump's thread's.
        self.running: dict[int, futures.Future[Any]] = {}
        self._refused: tuple[bytes, int] | None = None
        self._count = 0
        self.cause: Exception | None = None  # why no call can succeed any more

    def encode(self, call: tuple[Any, Any]) -> bytes:
        with self._packing:
            self._packer.fill(iter((call,)), 1, 1 << 62)
            return self._packer.take()

    def send(self, lock: threading.Lock) -> None:
        """Start calls while the function's window has room."""
        if self._renew is not None and self.port.wants_credentials:
            try:
                self._renew()
            except Exception as error:
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
                future.set_exception(self.cause)
                continue
            self.running[self._count] = future
            self._refused = (frame, self._count)
            self._count += 1

    def _send_refused(self) -> bool:
        """Whether the call that the byte budget refused, if any, is on its way now."""
        if self._refused is not None and self.port.submit(*self._refused, 1):
            self._refused = None
        return self._refused is None

    def receive(self) -> None:
        while (completion := self.port.take()) is not None:
            future = self.running.pop(completion.first_item)
            if completion.output is not None and self._logs:
                show_output(completion.output, completion.first_item)
            if completion.stale_code is not None:
                warn_stale(completion.stale_code)
            try:
                result = self._result(completion)
            except Exception as error:
                _settle(future.set_exception, error)
            else:
                _settle(future.set_result, result)

    def _result(self, completion: Any) -> Any:
        if completion.failure:
            if completion.failure == "cancelled" and self.cause is not None:
                raise self.cause
            error = failures.of_chunk(completion)
            if completion.stops_map or completion.failure == "throttled":
                self.cause = error
            raise error
        if completion.error is not None:
            raise failures.of_reply(json.loads(completion.error), completion)
        results, _ = self._unpack(completion)
        if len(results) != 1:
            raise errors.ProtocolError(f"a reply holds {len(results)} results of one call")
        return results[0]

    def fail(self, error: Exception) -> None:
        """Every call that has not ended does so now."""
        for future in [*self.running.values(), *(future for future, _ in self.waiting)]:
            if future.running() or future.set_running_or_notify_cancel():
                _settle(future.set_exception, error)
        self.running.clear()
        self.waiting.clear()

    @property
    def idle(self) -> bool:
        return not self.waiting and not self.running


def _settle(setter: Callable[[Any], None], value: Any) -> None:
    """Set a future; no callback of its may end this thread."""
    try:
        setter(value)
    except BaseException:
        _log.critical("a future's callback raised", exc_info=True)


class _Mapped:
    """One `LambdaExecutor.map`: its engine, stepped by the pump, and the results not yet taken."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._changed = threading.Condition()
        self._results: deque[Any] = deque()
        self._error: BaseException | None = None
        self.over = False  # no more results come
        self.unwanted = False  # nobody will take them
        self.no_more = False  # items that have not been packed are cancelled

    def step(self) -> None:
        """In the pump's thread."""
        if self.no_more:
            self.engine.stop_input(futures.CancelledError("the executor was shut down"))
        try:
            while not self.unwanted:
                chunk = self.engine.step()
                if chunk is None:
                    return
                if not chunk:
                    break
                with self._changed:
                    self._results.extend(chunk)
                    self._changed.notify_all()
        except BaseException as error:
            error.__traceback__ = None
            self._error = error
        self.engine.close(patience_s=0)
        with self._changed:
            self.over = True
            self._changed.notify_all()

    def take(self, ends: float | None) -> Any:
        """In the caller's thread: the next result, or _OVER."""
        with self._changed:
            while not self._results:
                if self.over:
                    if self._error is not None:
                        error, self._error = self._error, None
                        raise error
                    return _OVER
                left = None if ends is None else ends - monotonic()
                if left is not None and left <= 0:
                    raise futures.TimeoutError("no result came in time")
                self._changed.wait(left)
            return self._results.popleft()


class _Pump:
    """The executor's thread and what it shares with those who submit.

    It holds no reference to the executor, so that one which is dropped finishes its work and goes.
    """

    def __init__(self, options: _options.Options) -> None:
        self.options = options
        self._context = contextvars.copy_context()  # a lane may be opened by a callback
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self._opening = threading.Lock()
        self._lanes: OrderedDict[Any, _Lane] = OrderedDict()
        self._maps: list[_Mapped] = []
        self._thread: threading.Thread | None = None
        self._closing = False  # no new work is taken; the thread ends when all is done
        self.aborted = False
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

    def submit(self, future: futures.Future[Any], shipped: Callable[[], Any], call: Any) -> None:
        self.check()
        try:
            lane = self._lane(shipped())
            frame = lane.encode(call)
        except (errors.EncodeError, _codec.EncodeFailure) as error:
            future.set_running_or_notify_cancel()
            future.set_exception(_not_sendable(error))
            return
        with self.lock:
            self.check()
            lane.waiting.append((future, frame))
            self._start()
        self.wake()

    def _lane(self, shipment: Shipment) -> _Lane:
        """Where calls of a function go. One that travels by value is shipped each time, as what it
        has captured may have changed; the same bytes share a lane."""
        what = _codec.encode(shipment.function, allow_pickle=True, compression=False)
        key = (shipment.path, shipment.by_value, hashlib.sha256(what).digest())
        with self._opening:
            with self.lock:
                lane = self._lanes.get(key)
                if lane is not None and lane.cause is None:
                    self._lanes.move_to_end(key)
                    return lane
            lane = self._context.copy().run(_Lane, shipment, self.options)
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

    def add_map(self, mapped: _Mapped) -> None:
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
        cancelled = False
        try:
            while True:
                with self.lock:
                    lanes, maps = list(self._lanes.values()), list(self._maps)
                    closing = self._closing
                if self.aborted and not cancelled:
                    cancelled = True
                    _cancel(lanes, maps)
                for lane in lanes:
                    lane.receive()
                    lane.send(self.lock)
                    lane.receive()  # what ran in this process is done
                for mapped in maps:
                    mapped.step()
                with self.lock:
                    self._maps = maps = [mapped for mapped in self._maps if not mapped.over]
                    done = not maps and all(lane.idle for lane in self._lanes.values())
                if done and closing:
                    return
                if not any(lane.waiting and not lane.running for lane in lanes):
                    self._wait(lanes, maps)
        except BaseException as error:
            _log.critical("an executor's thread ended by an error", exc_info=True)
            self.close()
            for lane in list(self._lanes.values()):
                lane.fail(RuntimeError(f"the executor is broken: {type(error).__name__}: {error}"))
        finally:
            with self.lock:
                self._lanes.clear()
            _running.pop(self, None)

    def _wait(self, lanes: list[_Lane], maps: list[_Mapped]) -> None:
        poller = select.poll()
        poller.register(self._read_fd, select.POLLIN)
        for lane in lanes:
            if lane.running:
                poller.register(lane.port.fileno(), select.POLLIN)
        for mapped in maps:
            if mapped.engine.outstanding:
                poller.register(mapped.engine.fileno(), select.POLLIN)
        for fd, _ in poller.poll():
            if fd == self._read_fd:
                os.read(self._read_fd, 4096)


def _cancel(lanes: list[_Lane], maps: list[_Mapped]) -> None:
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

_running: dict[_Pump, threading.Thread] = {}
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


class LambdaExecutor(futures.Executor):
    """`concurrent.futures.Executor` whose calls run on AWS Lambda or a Lambda on this machine.

    Each call that is submitted is one invocation; `map` cuts its input into chunks.

    Parameters
    ----------
    max_workers : int, optional
        Invocations at once; default: 256 on AWS, twice the sandboxes on the local Lambda. The same
        as the option ``max_concurrency``.
    function : str, optional
        Name, ``name:alias`` or ARN of the Lambda function; None: as configured.
    **options
        See `lambdamap.Options`, but for ``buffersize``, ``chunksize``, ``on_error``, ``progress``
        and ``timeout``. What is configured is read here, once.

    Raises
    ------
    ConfigError
        An unknown option, or a value that cannot be. It is a ValueError.

    Examples
    --------
    >>> import lambdamap
    >>> with lambdamap.LambdaExecutor(backend="inline") as executor:
    ...     executor.submit(pow, 2, 5).result()
    32
    """

    def __init__(
        self, max_workers: int | None = None, function: str | None = None, **options: Any
    ) -> None:
        for name, mend in _NOT_HERE.items():
            if name in options:
                raise errors.ConfigError(f"LambdaExecutor takes no option {name}: {mend}")
        if max_workers is not None:
            if "max_concurrency" in options:
                raise errors.ConfigError("max_workers and max_concurrency are the same: pass one")
            if isinstance(max_workers, bool) or not isinstance(max_workers, int) or max_workers < 1:
                raise errors.ConfigError(f"max_workers must be at least 1, not {max_workers!r}")
            options["max_concurrency"] = max_workers
        if function is not None:
            options["function"] = function
        fixed = {"buffersize": None, "on_error": "raise", "progress": False, "timeout": None}
        self.options = _options.resolve(**options, **fixed)
        self._pump = _Pump(self.options)
        weakref.finalize(self, _Pump.close, self._pump).atexit = False

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> futures.Future[T]:
        """Schedule ``fn(*args, **kwargs)`` as one invocation.

        Parameters
        ----------
        fn
            As for `lambdamap.map`.
        *args, **kwargs
            Encoded before this returns.

        Returns
        -------
        concurrent.futures.Future
            It can be cancelled until its invocation starts. It holds f's own exception or a
            `LambdaMapError`; `EncodeError` where the function or an argument cannot be sent.

        Raises
        ------
        RuntimeError
            After `shutdown`, at the interpreter's end, or in a fork's child.
        ConfigError
            No function, region or credentials.
        """
        future: futures.Future[T] = futures.Future()
        shipped = functools.partial(ship, fn, self.options.by_value, through=apply)
        self._pump.submit(future, shipped, (args, kwargs))
        return future

    def submit_batch(self, calls: Iterable[tuple[Any, Any, Any]]) -> futures.Future[list[Any]]:
        """Schedule several calls as one invocation.

        Parameters
        ----------
        calls
            Triples ``(function, args, kwargs)``.

        Returns
        -------
        concurrent.futures.Future
            Of the list of results; it holds the exception of the first call that fails, and the
            calls behind that one do not run.

        Raises
        ------
        RuntimeError, ConfigError
            As `submit`.
        """
        future: futures.Future[list[Any]] = futures.Future()
        triples = list(calls)
        arguments = [(args, kwargs) for _, args, kwargs in triples]

        def shipped() -> Shipment:
            return self._ship_all([function for function, _, _ in triples])

        self._pump.submit(future, shipped, (arguments, None))
        return future

    def _ship_all(self, functions: list[Any]) -> Shipment:
        """One shipment for all, where they are the same or travel as the same bytes."""
        by_value = self.options.by_value
        first = functions[0]
        if all(function is first for function in functions):
            return ship(first, by_value, through=apply_all)
        shipments = [ship(function, by_value, through=apply_all) for function in functions]
        encoded = [_codec.encode(s.function, allow_pickle=True) for s in shipments]
        if all(bytes_ == encoded[0] for bytes_ in encoded):
            return shipments[0]
        return ship(functools.partial(apply_each, tuple(functions)), True)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | str = "auto",
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """As the builtin ``map``, with many invocations at once.

        Parameters
        ----------
        fn, *iterables
            The iterables are read at once, and every item runs whether its result is taken or not;
            with `buffersize` they are read as the results are taken.
        timeout
            Seconds from this call after which ``next()`` raises TimeoutError.
        chunksize : int or "auto"
            Items per invocation. "auto" aims at half a second of work.
        buffersize : int, optional
            Items taken from the iterables whose results have not been taken.

        Returns
        -------
        iterator
            The results in input order. An exception of f is raised at its item's place. Closing
            it, or dropping it after an error, cancels what has not finished.

        Raises
        ------
        TimeoutError
            From ``next()``.
        RuntimeError
            After `shutdown`.
        ValueError, TypeError
            `chunksize` or `buffersize` cannot be.
        """
        ends = None if timeout is None else monotonic() + timeout
        check_arguments("map", fn, iterables)
        if buffersize is not None and (
            isinstance(buffersize, bool) or not isinstance(buffersize, int)
        ):
            raise TypeError("buffersize must be an integer or None")
        self._pump.check()
        options = dataclasses.replace(self.options, chunksize=chunksize, buffersize=buffersize)
        star = len(iterables) > 1
        if buffersize is None:
            items = list(zip(*iterables, strict=False)) if star else list(iterables[0])
            engine = open_engine(fn, iter(items), options, total=len(items), star=star)
            mapped = _Mapped(engine)
            self._pump.add_map(mapped)
            return _results(self._pump, mapped, ends)
        read = self._while_open(zip(*iterables, strict=False) if star else iter(iterables[0]))
        engine = open_engine(fn, read, options, total=None, star=star)
        return _lazy_results(engine, ends)

    def _while_open(self, items: Iterator[Any]) -> Iterator[Any]:
        pump = self._pump
        for item in items:
            yield item
            pump.check()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let go of what is not needed when those there are have ended.

        Parameters
        ----------
        wait
            Return when every call has ended; the futures' callbacks have been called then. False:
            return at once; the interpreter still does not end before they have.
        cancel_futures
            Cancel what has not started.
        """
        self._pump.close(cancel_futures)
        if wait:
            self._pump.join()

    def abort(self, patience_s: float = _ABORT_S) -> None:
        """Cancel what has not started, and close the connections of what has.

        Its futures then hold a `concurrent.futures.CancelledError`. On Lambda an invocation that
        has started runs to its end.

        Parameters
        ----------
        patience_s
            Seconds to wait until the futures' callbacks have been called.
        """
        self._pump.abort()
        self._pump.join(patience_s)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if kind is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
            self.abort()
        else:
            self.shutdown(wait=True)
        return None


def _results(pump: _Pump, mapped: _Mapped, ends: float | None) -> Iterator[Any]:
    """The generator is started, so that closing or dropping it always cancels."""

    def generate() -> Generator[Any, None, None]:
        try:
            yield
            while True:
                result = mapped.take(ends)
                if result is _OVER:
                    return
                yield result
        finally:
            if not mapped.over:
                mapped.unwanted = True
                pump.wake()

    results = generate()
    next(results)
    return results


def _lazy_results(engine: Engine, ends: float | None) -> Iterator[Any]:
    def generate() -> Generator[Any, None, None]:
        try:
            yield
            while (chunk := engine.step()) is None or chunk:
                if chunk is not None:
                    yield from chunk
                elif ends is None:
                    engine.wait()
                elif not engine.wait(max(0.0, ends - monotonic())) and monotonic() >= ends:
                    raise futures.TimeoutError("no result came in time")
        finally:
            engine.close()

    results = generate()
    next(results)
    return results
