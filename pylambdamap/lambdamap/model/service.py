"""Lambda in simulated time: which requests it accepts, and how long each takes. All callers share it."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from typing import Any, Final, Protocol

from lambdamap.model.parts import Lambda, Worker, cpu_share

__all__ = ["ACCEPTED", "REFUSED", "THROTTLED", "TOO_FAST", "Chunk", "Clock", "Sender", "Service"]

# What became of an attempt: a handler ran; a 5xx before that; a 429 because of the number in flight,
# or because of their rate.
ACCEPTED: Final = 0
REFUSED: Final = 1
THROTTLED: Final = 2
TOO_FAST: Final = 3


class Clock:
    """The events to come. At equal times the first one added is the first."""

    def __init__(self) -> None:
        self.now = 0.0
        self._stopped = False
        self._events: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._count = 0

    def at(self, time: float, call: Callable[[Any], None], argument: Any = None) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call, argument))

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        events = self._events
        while events and not self._stopped:
            self.now, _, call, argument = heapq.heappop(events)
            call(argument)


class Chunk:
    """One invocation to be made: of some items, or of a nested map over them."""

    __slots__ = ("attempts", "came_to", "count", "function", "index", "nested", "started")

    def __init__(self, index: int, count: int, nested: bool) -> None:
        self.index, self.count, self.nested = index, count, nested
        self.attempts = 0
        # Of the last attempt:
        self.function = 0  # its index
        self.started = 0.0
        self.came_to = ACCEPTED


class Sender(Protocol):
    """Who sent a request, as Lambda knows it."""

    def one_way_s(self) -> float: ...
    def back(self, now: float, chunk: Chunk) -> float:
        """Return when the reply to a chunk that ended now will have arrived."""
        ...

    def replied(self, chunk: Chunk) -> None:
        """Take a reply that has arrived."""
        ...

    def nest(self, chunk: Chunk, done: Callable[[], None]) -> object:
        """Start the nested map of a chunk, in its environment; call `done` at its end."""
        ...


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


def _requests(service: Lambda, concurrency: int) -> _Allowance:
    per_s = service.requests_per_environment_s * concurrency
    return _Allowance(max(1.0, per_s), per_s)


class _Region:
    def __init__(self, service: Lambda) -> None:
        self.running = 0
        self.requests = _requests(service, service.concurrency)


class _Function:
    def __init__(self, service: Lambda, region: _Region) -> None:
        self.region = region
        self.running = 0
        self.limit, self.requests = service.concurrency, region.requests
        if service.reserved is not None:
            self.limit, self.requests = service.reserved, _requests(service, service.reserved)
        self.idle = min(service.warm, self.limit)  # environments
        most = service.environments_per_10_s
        self.scaling = _Allowance(most, most / 10)


class Service:
    """The functions of one simulation, and what they have done so far."""

    def __init__(self, clock: Clock, part: Lambda, worker: Worker, seed: int) -> None:
        self._clock, self._part, self._worker = clock, part, worker
        self._random = random.Random(seed)  # of refusals
        self._times = random.Random(seed)
        regions = [_Region(part) for _ in range(part.regions)]
        self._functions = [
            _Function(part, regions[i % part.regions]) for i in range(part.functions)
        ]
        slower = worker.cpu_bound / cpu_share(part.memory_mb) + 1 - worker.cpu_bound
        self.item_s, self._chunk_s = worker.item_ms * slower / 1e3, worker.chunk_ms * slower / 1e3
        self._overhead_s, self._init_s = part.overhead_ms / 2e3, part.init_ms / 1e3
        self._running = 0
        self.requests = self.invocations = self.cold_starts = self.peak = self.billed_ms = 0

    def arrived(self, given: tuple[Sender, Chunk]) -> None:
        """Take a request that has arrived at the endpoint."""
        sender, chunk = given
        function, now = self._functions[chunk.function], self._clock.now
        self.requests += 1
        cold = not function.idle
        chunk.came_to = self._judged(function, now)
        if chunk.came_to != ACCEPTED:
            self._clock.at(now + sender.one_way_s(), sender.replied, chunk)
            return
        function.running += 1
        function.region.running += 1
        self._running += 1
        self.peak = max(self.peak, self._running)
        self.invocations += 1
        billed_from = begins = now + self._overhead_s
        if cold:
            self.cold_starts += 1
            begins += self._init_s
        else:
            function.idle -= 1
        if chunk.nested:
            self._clock.at(begins, self._nested, (sender, chunk, billed_from))
        else:
            ends = begins + self._work_s(chunk.count)
            self._clock.at(ends, self._ended, (sender, chunk, billed_from))

    def _judged(self, function: _Function, now: float) -> int:
        part = self._part
        if function.region.running >= part.concurrency or function.running >= function.limit:
            return THROTTLED
        if not function.requests.take(now):
            return TOO_FAST
        if part.refused_share and self._random.random() < part.refused_share:
            return REFUSED
        if not function.idle and not function.scaling.take(now):
            return THROTTLED
        return ACCEPTED

    def _work_s(self, items: int) -> float:
        seconds = self._chunk_s + self.item_s * items
        if not self._worker.spread or not seconds:
            return seconds
        variance = math.log1p(self._worker.spread**2 / items)
        return seconds * self._times.lognormvariate(-variance / 2, math.sqrt(variance))

    def _nested(self, given: tuple[Sender, Chunk, float]) -> None:
        sender, chunk, _ = given
        sender.nest(chunk, lambda: self._ended(given))

    def _ended(self, given: tuple[Sender, Chunk, float]) -> None:
        """Let a handler return."""
        sender, chunk, billed_from = given
        now, function = self._clock.now, self._functions[chunk.function]
        function.running -= 1
        function.idle += 1
        function.region.running -= 1
        self._running -= 1
        self.billed_ms += math.ceil((now - billed_from) * 1e3 - 1e-6)
        self._clock.at(sender.back(now + self._overhead_s, chunk), sender.replied, chunk)
