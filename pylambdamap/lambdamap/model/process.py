"""A process that maps, in simulated time: the one that called, or a function that maps in turn.

An invocation passes six events: packed, arrived, ended, replied, received, unpacked; the second and the
third are Lambda's.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections import deque
from collections.abc import Callable

from lambdamap import _codec
from lambdamap.model.machine import Link, Machine
from lambdamap.model.parts import Caller, Network, Worker
from lambdamap.model.policy import (
    MAX_ATTEMPTS,
    THROTTLE_BASE_S,
    TRANSIENT_BASE_S,
    Rate,
    Window,
    backoff_s,
)
from lambdamap.model.service import ACCEPTED, THROTTLED, TOO_FAST, Chunk, Clock, Service

__all__ = ["Process", "Shared"]

_REQUEST_BYTES, _REPLY_BYTES = 1000, 300  # besides items and results: HTTP headers, envelope


@dataclasses.dataclass
class Shared:
    """What all processes of one simulation share.

    nested, nested_cores: the network and the processors of functions that map. functions: how many."""

    clock: Clock
    service: Service
    worker: Worker
    random: random.Random
    nested: Network
    nested_cores: float
    functions: int
    retries: int = 0
    throttles: int = 0
    failures: int = 0
    gave_up: bool = False


class Process:
    """Maps so many items, beginning now; `done` is called at the end.

    depth: levels of callers below this one."""

    def __init__(
        self,
        shared: Shared,
        part: Caller,
        network: Network,
        items: int,
        depth: int,
        done: Callable[[], None],
    ) -> None:
        self._shared, self._part, self._depth, self._done = shared, part, depth, done
        self._clock = shared.clock
        self._items = items
        self._began = shared.clock.now
        self._fanout = _fanout(part, items, depth)
        self._chunker = _codec.Chunker(0 if part.chunksize == "auto" else int(part.chunksize))
        self._windows = [Window(part.max_concurrency) for _ in range(shared.functions)]
        self._rates = [Rate() for _ in range(shared.functions)]
        self._window = part.max_concurrency * shared.functions  # that may be in flight
        self._ready: deque[Chunk] = deque()
        self._in_flight = self._unfinished = self._packed = self._chunks = 0
        self._packing = False
        self._given = 0  # chunks whose results were taken; if ordered, also the next one
        self._waiting: set[int] = set()  # received chunks whose turn has not come
        self._timer = math.inf
        # CPU; packing and unpacking are half of Python's each, sending and receiving of an I/O thread's.
        self._python_s, self._item_s = part.python_us / 2e6, part.python_item_us / 2e6
        self._native_s, self._connect_cpu_s = part.native_us / 2e6, part.connect_us / 1e6
        self.machine = Machine(shared.clock, part)
        self._link = Link(shared.clock, network, shared.random)
        self._connections = 0
        self._item_bytes = shared.worker.item_bytes
        self._item_text = shared.worker.item_bytes * 4 / 3
        self._result_text = shared.worker.result_bytes * 4 / 3
        self._bytes = self._most_bytes = 0.0
        self._pack()

    @property
    def memory_mb(self) -> float:
        """Return the peak."""
        kb = self._connections * self._part.connection_kb
        return self._part.base_mb + kb / 1024 + self._most_bytes / 2**20

    # --- what Lambda knows of its sender --------------------------------------------------------

    def one_way_s(self) -> float:
        return self._link.one_way_s()

    def back(self, now: float, chunk: Chunk) -> float:
        return self._link.down(now, chunk.count * self._result_text + _REPLY_BYTES)

    def nest(self, chunk: Chunk, done: Callable[[], None]) -> Process:
        shared = self._shared
        part = dataclasses.replace(self._part, cores=shared.nested_cores)
        return Process(shared, part, shared.nested, chunk.count, self._depth - 1, done)

    # --- packing --------------------------------------------------------------------------------

    def _next_size(self, window: int) -> int:
        left = self._items - self._packed
        if self._depth:
            return min(left, -(-self._items // self._fanout))
        wanted = min(left, self._chunker.next(window, left, -1))
        if wanted and self._item_bytes:
            wanted = min(wanted, max(1, int(self._chunker.max_bytes / self._item_bytes)))
        return wanted

    def _pack(self) -> None:
        """Pack the next chunk if there is room for one; the end of that is an event."""
        if self._packing or self._packed == self._items:
            return
        if self._unfinished + len(self._waiting) >= 2 * self._window:
            return
        count = self._next_size(self._window)
        size = count * (self._item_text + self._result_text)
        budget = self._part.max_inflight_mb * 2**20
        if count == 0 or (self._unfinished and self._bytes + size > budget):
            return
        chunk = Chunk(self._chunks, count, self._depth > 0)
        self._packed += count
        self._chunks += 1
        self._unfinished += 1
        self._bytes += size
        self._most_bytes = max(self._most_bytes, self._bytes)
        self._packing = True
        self._clock.at(
            self.machine.python(self._python_s + count * self._item_s), self._was_packed, chunk
        )

    def _was_packed(self, chunk: Chunk) -> None:
        self._packing = False
        self._ready.append(chunk)
        self._start()
        self._pack()

    # --- sending --------------------------------------------------------------------------------

    def _start(self, _: object = None) -> None:
        """Start what windows and rates allow."""
        now = self._clock.now
        self._timer = self._timer if self._timer > now else math.inf
        while self._ready and self._in_flight < self._part.max_concurrency:
            later = math.inf
            chosen = -1
            for i, window in enumerate(self._windows):
                if not window.has_room():
                    continue
                if chosen >= 0 and window.in_flight >= self._windows[chosen].in_flight:
                    continue
                due = max(self._rates[i].next(now), window.not_before)
                if due > now:
                    later = min(later, due)
                else:
                    chosen = i
            if chosen < 0:
                if later < self._timer:
                    self._timer = later
                    self._clock.at(later, self._start)
                return
            self._send(self._ready.popleft(), chosen)

    def _send(self, chunk: Chunk, function: int) -> None:
        now = self._clock.now
        chunk.function, chunk.started = function, now
        chunk.attempts += 1
        window = self._windows[function]
        self._window -= window.room
        window.started(now)
        self._window += window.room
        self._rates[function].started(now)
        self._in_flight += 1
        sent = self.machine.native(self._native_s)
        if self._in_flight > self._connections * self._part.streams_per_connection:
            self._connections += 1
            sent = self.machine.native(self._connect_cpu_s) + self._link.connect_s()
            # Others may use the link until this connection stands.
            self._clock.at(sent, self._upload, chunk)
        else:
            self._upload_from(sent, chunk)

    def _upload(self, chunk: Chunk) -> None:
        self._upload_from(self._clock.now, chunk)

    def _upload_from(self, time: float, chunk: Chunk) -> None:
        arrives = self._link.up(time, chunk.count * self._item_text + _REQUEST_BYTES)
        self._clock.at(arrives, self._shared.service.arrived, (self, chunk))

    # --- receiving ------------------------------------------------------------------------------

    def replied(self, chunk: Chunk) -> None:
        self._clock.at(self.machine.native(self._native_s), self._received, chunk)

    def _received(self, chunk: Chunk) -> None:
        shared, now = self._shared, self._clock.now
        window, rate = self._windows[chunk.function], self._rates[chunk.function]
        self._in_flight -= 1
        self._window -= window.room
        if chunk.came_to in (THROTTLED, TOO_FAST):
            shared.throttles += 1
            chunk.attempts -= 1
            wait = backoff_s(THROTTLE_BASE_S, window.refusals + 1, shared.random.random())
            if chunk.came_to == TOO_FAST:
                window.refused(now)
                rate.throttled(chunk.started, now)
            else:
                window.throttled(now, wait)
            if window.exhausted(self._began, now):
                shared.gave_up = True
                self._clock.stop()
            self._ready.appendleft(chunk)
        else:
            window.finished(now, chunk.came_to == ACCEPTED)
            if chunk.came_to == ACCEPTED:
                rate.succeeded(now)
            self._judge(chunk)
        self._window += window.room
        self._start()

    def _judge(self, chunk: Chunk) -> None:
        """Try a refused chunk again, or hand over what came of it."""
        shared, now = self._shared, self._clock.now
        if chunk.came_to != ACCEPTED and chunk.attempts < MAX_ATTEMPTS:
            shared.retries += 1
            wait = backoff_s(TRANSIENT_BASE_S, chunk.attempts, shared.random.random())
            self._clock.at(now + wait, self._again, chunk)
            return
        shared.failures += chunk.came_to != ACCEPTED
        done = self.machine.python(self._python_s + chunk.count * self._item_s)
        self._clock.at(done, self._unpacked, chunk)

    def _again(self, chunk: Chunk) -> None:
        self._ready.appendleft(chunk)
        self._start()

    def _unpacked(self, chunk: Chunk) -> None:
        self._unfinished -= 1
        self._bytes -= chunk.count * (self._item_text + self._result_text)
        worker_us = int(self._shared.service.item_s * chunk.count * 1e6)
        self._chunker.observe(chunk.count, worker_us, self._window)
        if self._part.ordered:
            self._waiting.add(chunk.index)
            while self._given in self._waiting:
                self._waiting.remove(self._given)
                self._given += 1
        else:
            self._given += 1
        if self._given == self._chunks and self._packed == self._items:
            self._done()
        else:
            self._pack()


def _fanout(caller: Caller, items: int, depth: int) -> int:
    """Return how many nested callers share the items: as many at each level of the tree."""
    size = 1 if caller.chunksize == "auto" else int(caller.chunksize)
    chunks: float = items / size
    return max(1, math.ceil(math.pow(chunks, 1 / (depth + 1))))
