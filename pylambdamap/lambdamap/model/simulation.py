"""`simulate`: one map as discrete events."""

from __future__ import annotations

import dataclasses
import math
import numbers
import random

from lambdamap.model.parts import FULL_CPU_MB, Caller, Lambda, Network, Prices, Worker, prices
from lambdamap.model.process import Process, Shared
from lambdamap.model.service import Clock, Service

__all__ = ["WITHIN_REGION", "Outcome", "simulate"]

# Between functions and Lambda's endpoint in the same region; a guess.
WITHIN_REGION = Network(round_trip_ms=1.0, jitter_ms=1.0, mbit_s=600.0)


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


_AT_LEAST_ONE = (
    "chunksize", "functions", "max_concurrency", "memory_mb", "regions", "streams_per_connection",
)  # fmt: skip
_ABOVE_ZERO = ("cores", "mbit_s")
_MOST = 1_000_000  # functions and regions: each takes memory and time at the start


def _check(part: Caller | Network | Lambda | Worker) -> None:
    """Raise ValueError for a number with which nothing can be simulated, TypeError for no number."""
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        name = f"{type(part).__name__}.{field.name}"
        if (field.name, value) in (("reserved", None), ("chunksize", "auto"), ("ordered", value)):
            continue
        if not isinstance(value, numbers.Real):
            raise TypeError(f"{name} must be a number, not {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, not {value!r}")
        if field.name in ("functions", "regions") and float(value) > _MOST:
            raise ValueError(f"{name} must be at most {_MOST:,}, not {value!r}")
        least = 1 if field.name in _AT_LEAST_ONE else 0
        if value < least or (value == 0 and field.name in _ABOVE_ZERO):
            least_text = "above 0" if field.name in _ABOVE_ZERO else f"at least {least}"
            raise ValueError(f"{name} must be {least_text}, not {value!r}")


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
        A number is too small to simulate anything, infinite or not a number (NaN).
    TypeError
        A value is not a number, or `items` or `depth` not an integer.

    Examples
    --------
    >>> from lambdamap import model
    >>> model.simulate(1000, model.Caller(chunksize=10)).invocations
    100
    """
    caller, network = caller or Caller(), network or Network()
    service, worker = service or Lambda(), worker or Worker()
    if not (isinstance(items, numbers.Integral) and isinstance(depth, numbers.Integral)):
        raise TypeError(f"items and depth must be integers, not {items!r} and {depth!r}")
    if items < 1 or depth < 0:
        raise ValueError("items must be at least 1, depth at least 0")
    for part in (caller, network, within, service, worker):
        _check(part)
    clock = Clock()
    functions = Service(clock, service, worker, seed)
    cores = service.memory_mb / FULL_CPU_MB
    shared = Shared(clock, functions, worker, random.Random(seed), within, cores, service.functions)
    root = Process(shared, caller, network, items, depth, clock.stop)
    clock.run()
    gb_seconds = functions.billed_ms / 1e3 * service.memory_mb / 1024
    price = price or prices()
    return Outcome(
        seconds=clock.now,
        invocations=functions.invocations,
        requests=functions.requests,
        retries=shared.retries,
        throttles=shared.throttles,
        cold_starts=functions.cold_starts,
        failures=shared.failures,
        gave_up=shared.gave_up,
        peak_concurrency=functions.peak,
        caller_cpu_seconds=root.machine.cpu_s,
        caller_memory_mb=root.memory_mb,
        gb_seconds=gb_seconds,
        usd=gb_seconds * price.gb_second + functions.invocations * price.request,
    )
