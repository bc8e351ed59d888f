"""The calls of one function in an executor: futures that feed an engine, one call per invocation."""

from __future__ import annotations

import dataclasses
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from time import monotonic
from typing import Any, NamedTuple

from lambdamap import _codec, errors
from lambdamap.flight.engine import Engine, Raised
from lambdamap.flight.feed import Feed
from lambdamap.flight.open import connect
from lambdamap.flight.packers import Packed
from lambdamap.options import Options
from lambdamap.shipping.functions import Shipment

__all__ = ["Call", "Lane"]

_log = logging.getLogger("lambdamap")


class Call(NamedTuple):
    """One invocation: a function, how it is called, and its arguments."""

    shipment: Shipment
    calls: str  # of lambdamap.shipping.envelope.CALLS
    item: Any


class Calls(Feed):
    """The calls of one function. `items` holds those that wait: pairs of future and packed chunk.

    A call starts when its chunk is taken; until then its future can be cancelled.
    """

    windows_ahead = 1

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self._lock = lock  # guards `items`, and the move of a call to `started`
        self.started: dict[int, futures.Future[Any]] = {}  # by position; for the pump's thread only
        self._next: bytes | None = None

    def room(self, packed: int, wanted: int) -> int:
        """Start the next call, if any; a chunk contains one."""
        while self._next is None:
            with self._lock:  # a call is always in `items` or in `started`
                if not self.items:
                    return 0
                self.started[packed], self._next = self.items.popleft()
            if not _starts(self.started[packed]):
                self._next = None
                del self.started[packed]
        return wanted

    def __next__(self) -> bytes:
        chunk, self._next = self._next, None
        assert chunk is not None  # there was room
        return chunk

    def drain(self) -> Iterator[futures.Future[Any]]:
        """Remove and yield the waiting calls one by one.

        If a callback of one raises, the others keep waiting."""
        while True:
            with self._lock:
                if not self.items:
                    return
                future, _ = self.items.popleft()
            yield future

    def cancel(self) -> None:
        """Cancel the waiting calls."""
        for future in self.drain():
            try:
                future.cancel()
            finally:
                if future.cancelled():
                    _starts(future)  # notifies those who wait for it

    @property
    def idle(self) -> bool:
        return not self.items and not self.started


class Lane:
    """The calls of one function: one map in flight, one call per invocation.

    A failure of one call is the exception of its future and affects no other call."""

    def __init__(
        self,
        shipment: Shipment,
        calls: str,
        options: Options,
        bound_id: str,
        lock: threading.Lock,
    ) -> None:
        self._ends = None if options.timeout is None else monotonic() + options.timeout
        if calls != "call":  # the other calls of a batch have not raised
            options = dataclasses.replace(options, retries=0)
        link = connect(shipment, options, calls=calls, bound_id=bound_id)
        self._new_packer = functools.partial(
            _codec.ChunkPacker, shipment.spec, allow_pickle=link.coding.allow_pickle
        )
        self._packers = [link.coding.packer]  # empty, used by no thread
        self.calls = Calls(lock)
        packed = dataclasses.replace(link, coding=Packed(link.coding))
        self.engine = Engine(packed, self.calls, options, total=None, ordered=False, apart=True)
        self._cause: BaseException | None = None  # why no call can succeed any more

    def encode(self, item: Any) -> bytes:
        """Return the chunk of one call. Any thread may call this, also while it encodes another call."""
        try:
            packer = self._packers.pop()
        except IndexError:
            packer = self._new_packer()
        packer.fill(iter((item,)), 1, 1 << 62)
        chunk = packer.take()
        self._packers.append(packer)  # not reused after an exception
        return chunk

    def step(self) -> None:
        """Start calls while the function's window has room, and settle those whose replies have come.

        For the pump's thread."""
        try:
            found = self.engine.step()
            while found:
                # No variable refers to the future: tracebacks of the user may lead to this frame.
                _end(self.calls.started.pop(self.engine.given_first), found.pop())
                found = self.engine.more()
        except BaseException as error:
            errors.trim(error)
            self.fail(error)
        self._cause = self._cause or self.engine.cause
        if self._cause is not None:
            _fail_all(self.calls.drain(), self._cause)

    def fail(self, error: BaseException) -> None:
        """Fail all calls, including later ones, with an error."""
        self._cause = error
        _fail_all(self.calls.started.values(), error)
        self.calls.started.clear()
        _fail_all(self.calls.drain(), error)
        self.engine.close(patience_s=0)

    def lasts(self, ends: float) -> bool:
        """Return whether calls are accepted until `ends` (`time.monotonic`), to within a second."""
        return self._cause is None and (self._ends is None or self._ends > ends - 1)


def _end(future: futures.Future[Any], result: Any) -> None:
    if type(result) is Raised:
        errors.trim(result.error)
        _settle(future.set_exception, result.error)
    else:
        _settle(future.set_result, result)


def _starts(future: futures.Future[Any]) -> bool:
    """Mark the future as running; return False if it was cancelled."""
    try:
        return future.set_running_or_notify_cancel()
    except RuntimeError:  # set by someone else; concurrent.futures has logged that
        return False


def _fail_all(those: Iterable[futures.Future[Any]], error: BaseException) -> None:
    for future in those:
        if future.running() or _starts(future):
            _settle(future.set_exception, error)


def _settle(setter: Callable[[Any], None], value: Any) -> None:
    """Set a future's result or exception; its callbacks cannot end this thread."""
    try:
        setter(value)
    except BaseException:
        _log.critical("a future's callback raised", exc_info=True)
