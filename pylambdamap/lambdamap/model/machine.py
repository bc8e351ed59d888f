"""A caller's processors and its link, in simulated time: numbers that say when each is free."""

from __future__ import annotations

import math
import random

from lambdamap.model.parts import Caller, Network
from lambdamap.model.service import Clock

__all__ = ["Link", "Machine"]

_MAX_THREADS = 5  # Python's, and LM_MAX_IO_THREADS


class Machine:
    """The cores that Python's thread and the I/O threads share."""

    def __init__(self, clock: Clock, part: Caller) -> None:
        self._clock = clock
        cores = min(_MAX_THREADS, math.ceil(part.cores))
        self._slower = cores / min(part.cores, cores)
        self._wake_s = part.wake_us / 1e6
        self._free = [clock.now] * cores
        self._python_free = clock.now
        self.cpu_s = 0.0

    def python(self, cpu_s: float) -> float:
        """Return when Python's thread will have done this.

        It does one thing after the other. What waits for a core does not hold it up, as the system
        shares the cores fairly; but the core that it uses is lost to the I/O threads."""
        now = self._clock.now
        if self._python_free < now:
            self._python_free = now
            cpu_s += self._wake_s
        self.cpu_s += cpu_s
        self._python_free += cpu_s * self._slower
        free = self._free
        core = free.index(min(free))
        free[core] = max(now, free[core]) + cpu_s * self._slower
        return self._python_free

    def native(self, cpu_s: float) -> float:
        """Return when an I/O thread will have done this."""
        now, free = self._clock.now, self._free
        core = free.index(min(free))
        begins = free[core]
        if begins < now:
            begins = now
            cpu_s += self._wake_s
        self.cpu_s += cpu_s
        free[core] = begins + cpu_s * self._slower
        return free[core]


class Link:
    """The way to Lambda's endpoint and back; all connections share its bandwidth."""

    def __init__(self, clock: Clock, part: Network, draw: random.Random) -> None:
        self._draw = draw
        self._one_way_s, self._jitter_s = part.round_trip_ms / 2e3, part.jitter_ms / 1e3
        self._byte_s = 8 / (part.mbit_s * 1e6)
        self._connect_round_trips = part.connect_round_trips
        self._up = self._down = clock.now

    def one_way_s(self) -> float:
        return self._one_way_s + self._draw.random() * self._jitter_s

    def connect_s(self) -> float:
        return self._connect_round_trips * (self.one_way_s() + self.one_way_s())

    def up(self, time: float, size: float) -> float:
        """Return when this many bytes, sent at this time, will have arrived at the endpoint."""
        self._up = max(time, self._up) + size * self._byte_s
        return self._up + self.one_way_s()

    def down(self, time: float, size: float) -> float:
        """Return when this many bytes, sent by the endpoint, will have arrived here."""
        self._down = max(time, self._down) + size * self._byte_s
        return self._down + self.one_way_s()
