"""The discrete-event simulation: callers, and the Lambda that they share.

An invocation passes six events: packed, arrived, ended, replied, received, unpacked. Links, threads and
allowances need none; they are numbers that say when the next one is served.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lambdamap.model.parts import (
    FULL_CPU_MB,
    Caller,
    Lambda,
    Network,
    Prices,
    Worker,
    cpu_share,
    prices,
)
from lambdamap.model.policy import (
    MAX_ATTEMPTS,
    THROTTLE_BASE_S,
    TRANSIENT_BASE_S,
    Rate,
    Window,
    backoff_s,
)

if TYPE_CHECKING:
    from lambdamap._codec import Chunker

__all__ = ["Outcome", "simulate"]

# Between functions and Lambda's endpoint in the same region; a guess.
WITHIN_REGION = Network(round_trip_ms=1.0, jitter_ms=1.0, mbit_s=600.0)
_MAX_THREADS = 5  # Python's, and LM_MAX_IO_THREADS


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a simulated map took.

    Attributes
    ----------
    seconds : float
        From the call to the last result.
    invocations, requests : int
        Handlers that ran; requests sent, including those that were throttled or refused.
    retries, throttles, cold_starts : int
        Requests after a 5xx; 429 replies; initialized environments.
    failures : int
        Chunks that failed in each attempt.
    gave_up : bool
        The map ended with ThrottledError: a minute passed in which nothing was accepted.
    peak_concurrency : int
        Environments at work at the same time, over all functions.
    caller_cpu_seconds, caller_memory_mb : float
        Of the process that called `map`, at its peak; nested callers are in `gb_seconds`.
    gb_seconds, usd : float
        Billed, and its list price, requests included.
    """

    seconds: float
    invocations: int
    requests: int
    retries: int
    throttles: int
    cold_starts: int
    failures: int
    gave_up: bool
    peak_concurrency: int
    caller_cpu_seconds: float
    caller_memory_mb: float
    gb_seconds: float
    usd: float


class _Clock:
    """The events to come. At equal times the first one added is the first."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stopped = False
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = 0

    def at(self, time: float, call: Callable[[Any], None], argument: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call, argument))

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> None:
        events = self._events
        while events and not self.stopped:
            self.now, _, call, argument = heapq.heappop(events)
            call(argument)


class _Allowance:
    """Tokens that are refilled continuously up to a maximum."""

    def __init__(self, most: float, per_s: float) -> None:
        self._tokens = self._most = most
        self._per_s = per_s
        self._filled = 0.0

    def take(self, now: float) -> bool:
        self._tokens = min(self._most, self._tokens + (now - self._filled) * self._per_s)
        self._filled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Region:
    def __init__(self) -> None:
        self.running = 0


class _Function:
    """One function on Lambda, as all callers share it."""

    def __init__(self, service: Lambda, region: _Region) -> None:
        limit = service.concurrency if service.reserved is None else service.reserved
        self.region = region
        self.limit = limit
        self.running = 0
        self.idle = min(service.warm, limit)
        self.scaling = _Allowance(service.environments_per_10_s, service.environments_per_10_s / 10)
        per_s = service.requests_per_environment_s * limit
        self.rate = _Allowance(max(1.0, per_s), per_s)


class _Chunk:
    """One invocation to be made: of some items, or of a nested map over them."""

    __slots__ = ("attempts", "count", "first", "function", "index", "nested", "reply", "started")

    def __init__(self, index: int, first: int, count: int, nested: bool) -> None:
        self.index, self.first, self.count, self.nested = index, first, count, nested
        self.attempts = 0
        self.function = 0  # its index
        self.started = 0.0
        self.reply = 200  # of the last attempt; 0: throttled, 1: throttled because of the rate


class _World:
    """What all callers of one simulation share."""

    def __init__(
        self, network: Network, within: Network, service: Lambda, worker: Worker, seed: int
    ) -> None:
        self.clock = _Clock()
        self.random = random.Random(seed)  # of delays
        self._times = random.Random(seed)  # of work
        self.network, self.within = network, within
        self.service, self.worker = service, worker
        regions = [_Region() for _ in range(service.regions)]
        self.functions = [
            _Function(service, regions[i % service.regions]) for i in range(service.functions)
        ]
        self.cpu = cpu_share(service.memory_mb)
        self.slower = worker.cpu_bound / self.cpu + 1 - worker.cpu_bound
        self.running = self.peak = 0
        self.invocations = self.requests = self.retries = self.throttles = 0
        self.cold_starts = self.failures = self.billed_ms = 0
        self.gave_up = False

    # --- one invocation on Lambda ---------------------------------------------------------------

    def arrived(self, given: tuple[_Caller, _Chunk]) -> None:
        """A request is at Lambda's endpoint."""
        caller, chunk = given
        service, function = self.service, self.functions[chunk.function]
        now = self.clock.now
        self.requests += 1
        cold = False
        if function.region.running >= service.concurrency or function.running >= function.limit:
            chunk.reply = 0
        elif not function.rate.take(now):
            chunk.reply = 1
        elif service.refused_share and self.random.random() < service.refused_share:
            chunk.reply = 500
        elif function.idle:
            function.idle -= 1
            chunk.reply = 200
        else:
            cold = function.scaling.take(now)
            chunk.reply = 200 if cold else 0
        if chunk.reply != 200:
            self.clock.at(now + caller.one_way_s(), caller.replied, chunk)
            return
        function.running += 1
        function.region.running += 1
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.invocations += 1
        begins = now + service.overhead_ms / 2e3
        if cold:
            self.cold_starts += 1
            begins += service.init_ms / 1e3
        billed_from = now + service.overhead_ms / 2e3
        if chunk.nested:
            self.clock.at(begins, self._nested, (caller, chunk, billed_from))
        else:
            self.clock.at(begins + self._work_s(chunk.count), self._ended, (*given, billed_from))

    def _work_s(self, items: int) -> float:
        worker = self.worker
        seconds = (worker.chunk_ms + worker.item_ms * items) * self.slower / 1e3
        if not worker.spread or not seconds:
            return seconds
        variance = math.log1p(worker.spread**2 / items)
        return seconds * self._times.lognormvariate(-variance / 2, math.sqrt(variance))

    def _nested(self, given: tuple[_Caller, _Chunk, float]) -> None:
        outer, chunk, _ = given
        _Caller(
            self,
            dataclasses.replace(outer.part, cores=self.service.memory_mb / FULL_CPU_MB),
            self.within,
            chunk.count,
            outer.depth - 1,
            lambda: self._ended(given),
        )

    def _ended(self, given: tuple[_Caller, _Chunk, float]) -> None:
        """A handler has returned."""
        caller, chunk, billed_from = given
        now = self.clock.now
        function = self.functions[chunk.function]
        function.running -= 1
        function.idle += 1
        function.region.running -= 1
        self.running -= 1
        self.billed_ms += math.ceil((now - billed_from) * 1e3 - 1e-6)
        self.clock.at(caller.back(now, chunk), caller.replied, chunk)


class _Caller:
    """One process that maps: the one that called, or a function that maps in turn."""

    def __init__(
        self,
        world: _World,
        part: Caller,
        network: Network,
        items: int,
        depth: int,
        done: Callable[[], None],
    ) -> None:
        self.world, self.part, self.depth, self._done = world, part, depth, done
        self._clock = world.clock
        self._items = items
        self._began = world.clock.now
        self._fanout = _fanout(part, items, depth)
        self._chunker: Chunker | None = None
        if part.chunksize == "auto" and not depth:
            from lambdamap import _codec

            self._chunker = _codec.Chunker(0)
        cap = part.max_concurrency
        self._windows = [Window(cap) for _ in world.functions]
        self._rates = [Rate() for _ in world.functions]
        self._window = cap * len(self._windows)  # invocations that may be in flight
        self._ready: deque[_Chunk] = deque()
        self._in_flight = self._unfinished = self._packed = self._chunks = 0
        self._packing = False
        self._given = 0  # chunks whose results were taken; if ordered, also the next one
        self._waiting: set[int] = set()  # received chunks whose turn has not come
        self._timer = math.inf
        self._one_way_s, self._jitter_s = network.round_trip_ms / 2e3, network.jitter_ms / 1e3
        self._byte_s = 8 / (network.mbit_s * 1e6)
        self._connect_round_trips = network.connect_round_trips
        self._up = self._down = self._began
        cores = min(_MAX_THREADS, math.ceil(part.cores))
        self._slower = cores / min(part.cores, cores)
        # CPU; packing and unpacking are half of Python's each, sending and receiving of an I/O thread's.
        self._python_s, self._item_s = part.python_us / 2e6, part.python_item_us / 2e6
        self._native_s, self._wake_s = part.native_us / 2e6, part.wake_us / 1e6
        self._connect_cpu_s = part.connect_us / 1e6
        # When each core is free, of those that Python's thread and the I/O threads can use.
        self._cores = [self._began] * cores
        self._python_free = self._began
        self.cpu_s = 0.0
        self._connections = self._most_unfinished = 0
        self._item_text = world.worker.item_bytes * 4 / 3
        self._result_text = world.worker.result_bytes * 4 / 3
        self._bytes = self._most_bytes = 0.0
        self._pack()

    @property
    def memory_mb(self) -> float:
        kb = self._connections * self.part.connection_kb
        return self.part.base_mb + kb / 1024 + self._most_bytes / 2**20

    # --- threads and links ----------------------------------------------------------------------

    def _python(self, cpu_s: float) -> float:
        """Return when Python's thread will have done this.

        It does one thing after the other. What waits for a core does not hold it up, as the system
        shares the cores fairly; but the core that it uses is lost to the I/O threads."""
        now = self._clock.now
        if self._python_free < now:
            self._python_free = now
            cpu_s += self._wake_s
        self.cpu_s += cpu_s
        self._python_free += cpu_s * self._slower
        self._native(cpu_s, of_python=True)
        return self._python_free

    def _native(self, cpu_s: float, of_python: bool = False) -> float:
        """Return when an I/O thread will have done this."""
        now, cores = self._clock.now, self._cores
        core = cores.index(min(cores))
        begins = cores[core]
        if begins < now:
            begins = now
            if not of_python:
                cpu_s += self._wake_s
        if not of_python:
            self.cpu_s += cpu_s
        cores[core] = begins + cpu_s * self._slower
        return cores[core]

    def one_way_s(self) -> float:
        return self._one_way_s + self.world.random.random() * self._jitter_s

    def back(self, now: float, chunk: _Chunk) -> float:
        """Return when the reply to a chunk that ended now has arrived."""
        begins = max(now + self.world.service.overhead_ms / 2e3, self._down)
        self._down = begins + (chunk.count * self._result_text + 300) * self._byte_s
        return self._down + self.one_way_s()

    # --- packing --------------------------------------------------------------------------------

    def _next_size(self, window: int) -> int:
        left = self._items - self._packed
        if self.depth:
            return min(left, -(-self._items // self._fanout))
        if self._chunker is None:
            return min(left, int(self.part.chunksize))
        return min(left, self._chunker.next(window, left, -1))

    def _pack(self) -> None:
        """Pack the next chunk if there is room for one; the end of that is an event."""
        if self._packing or self._packed == self._items:
            return
        if self._unfinished + len(self._waiting) >= 2 * self._window:
            return
        count = self._next_size(self._window)
        size = count * (self._item_text + self._result_text)
        budget = self.part.max_inflight_mb * 2**20
        if count == 0 or (self._unfinished and self._bytes + size > budget):
            return
        chunk = _Chunk(self._chunks, self._packed, count, self.depth > 0)
        self._packed += count
        self._chunks += 1
        self._unfinished += 1
        self._bytes += size
        self._most_bytes = max(self._most_bytes, self._bytes)
        self._packing = True
        self._clock.at(self._python(self._python_s + count * self._item_s), self._was_packed, chunk)

    def _was_packed(self, chunk: _Chunk) -> None:
        self._packing = False
        self._ready.append(chunk)
        self._start()
        self._pack()

    # --- sending --------------------------------------------------------------------------------

    def _start(self, _: object = None) -> None:
        """Start what windows and rates allow."""
        now = self._clock.now
        self._timer = self._timer if self._timer > now else math.inf
        while self._ready and self._in_flight < self.part.max_concurrency:
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

    def _send(self, chunk: _Chunk, function: int) -> None:
        now = self._clock.now
        chunk.function, chunk.started = function, now
        chunk.attempts += 1
        window = self._windows[function]
        self._window -= window.room
        window.started(now)
        self._window += window.room
        self._rates[function].started(now)
        self._in_flight += 1
        sent = self._native(self._native_s)
        if self._in_flight > self._connections * self.part.streams_per_connection:
            self._connections += 1
            there_and_back_s = self.one_way_s() + self.one_way_s()
            sent = self._native(self._connect_cpu_s) + self._connect_round_trips * there_and_back_s
            # Others may use the link until this connection stands.
            self._clock.at(sent, self._upload, chunk)
        else:
            self._upload_from(sent, chunk)

    def _upload(self, chunk: _Chunk) -> None:
        self._upload_from(self._clock.now, chunk)

    def _upload_from(self, time: float, chunk: _Chunk) -> None:
        begins = max(time, self._up)
        self._up = begins + (chunk.count * self._item_text + 1000) * self._byte_s
        self._clock.at(self._up + self.one_way_s(), self.world.arrived, (self, chunk))

    # --- receiving ------------------------------------------------------------------------------

    def replied(self, chunk: _Chunk) -> None:
        """A reply has arrived."""
        self._clock.at(self._native(self._native_s), self._received, chunk)

    def _received(self, chunk: _Chunk) -> None:
        world, now = self.world, self._clock.now
        window, rate = self._windows[chunk.function], self._rates[chunk.function]
        self._in_flight -= 1
        self._window -= window.room
        if chunk.reply <= 1:
            world.throttles += 1
            chunk.attempts -= 1
            wait = backoff_s(THROTTLE_BASE_S, window.refusals + 1, world.random.random())
            if chunk.reply == 1:
                window.refused(now)
                rate.throttled(chunk.started, now)
            else:
                window.throttled(now, wait)
            if window.exhausted(self._began, now):
                world.gave_up = True
                self._clock.stop()
            self._ready.appendleft(chunk)
        else:
            window.finished(now, chunk.reply == 200)
            if chunk.reply == 200:
                rate.succeeded(now)
            self._judge(chunk)
        self._window += window.room
        self._start()

    def _judge(self, chunk: _Chunk) -> None:
        """Try a refused chunk again, or hand over what came of it."""
        world, now = self.world, self._clock.now
        if chunk.reply != 200 and chunk.attempts < MAX_ATTEMPTS:
            world.retries += 1
            wait = backoff_s(TRANSIENT_BASE_S, chunk.attempts, world.random.random())
            self._clock.at(now + wait, self._again, chunk)
            return
        world.failures += chunk.reply != 200
        done = self._python(self._python_s + chunk.count * self._item_s)
        self._clock.at(done, self._unpacked, chunk)

    def _again(self, chunk: _Chunk) -> None:
        self._ready.appendleft(chunk)
        self._start()

    def _unpacked(self, chunk: _Chunk) -> None:
        self._unfinished -= 1
        self._bytes -= chunk.count * (self._item_text + self._result_text)
        if self._chunker is not None:
            worker = self.world.worker
            worker_us = int(worker.item_ms * chunk.count * self.world.slower * 1e3)
            self._chunker.observe(chunk.count, worker_us, self._window)
        if self.part.ordered:
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


def simulate(
    items: int,
    caller: Caller | None = None,
    network: Network | None = None,
    service: Lambda | None = None,
    worker: Worker | None = None,
    *,
    depth: int = 0,
    within: Network = WITHIN_REGION,
    price: Prices | None = None,
    seed: int = 0,
) -> Outcome:
    """Simulate one map.

    Parameters
    ----------
    items
        Number of items.
    caller, network, service, worker
        The parts. None: each with its defaults.
    depth
        Levels of callers below the first. 0: none. 1: a map whose chunks are maps, each in a
        function of its own that waits for them and is billed meanwhile.
    within
        The network between nested callers and Lambda.
    price
        Prices to use. None: ``prices()``, those of us-east-1 on x86.
    seed
        Determines delays and times that are random.

    Returns
    -------
    Outcome
        The same for the same arguments.

    Raises
    ------
    ValueError
        A number is too small to simulate anything.

    Examples
    --------
    >>> from lambdamap import model
    >>> model.simulate(1000, model.Caller(chunksize=10)).invocations
    100
    """
    caller, network = caller or Caller(), network or Network()
    service, worker = service or Lambda(), worker or Worker()
    if items < 1 or depth < 0 or service.functions < 1 or service.regions < 1:
        raise ValueError("items, functions and regions must be at least 1, depth at least 0")
    world = _World(network, within, service, worker, seed)
    root = _Caller(world, caller, network, items, depth, world.clock.stop)
    world.clock.run()
    gb_seconds = world.billed_ms / 1e3 * service.memory_mb / 1024
    price = price or prices()
    return Outcome(
        seconds=world.clock.now,
        invocations=world.invocations,
        requests=world.requests,
        retries=world.retries,
        throttles=world.throttles,
        cold_starts=world.cold_starts,
        failures=world.failures,
        gave_up=world.gave_up,
        peak_concurrency=world.peak,
        caller_cpu_seconds=root.cpu_s,
        caller_memory_mb=root.memory_mb,
        gb_seconds=gb_seconds,
        usd=gb_seconds * price.gb_second + world.invocations * price.request,
    )
