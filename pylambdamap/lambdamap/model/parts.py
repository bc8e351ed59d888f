"""What a simulation is about: caller, network, Lambda, worker, and prices. Units are in the names."""

from __future__ import annotations

import dataclasses

__all__ = [
    "FULL_CPU_MB",
    "PRICES_OF",
    "Caller",
    "Lambda",
    "Network",
    "Prices",
    "Worker",
    "cpu_share",
    "prices",
]

# One vCPU: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html ("At 1,769 MB, a
# function has the equivalent of one vCPU"); below it the share is proportional.
FULL_CPU_MB = 1769
PRICES_OF = "October 2025"


def cpu_share(memory_mb: int) -> float:
    """Return the part of a vCPU that code in one thread gets: at most 1, from 1,769 MB on."""
    return min(1.0, memory_mb / FULL_CPU_MB)


@dataclasses.dataclass(frozen=True)
class Caller:
    """The process that maps.

    CPU and memory are those of docs/benchmarks.md over TLS: 45 us per invocation when busy, 139 us
    with 256 in flight and replies spread over time, 70 KB per connection.

    Attributes
    ----------
    chunksize : int or "auto"
        Items per invocation, as for `lambdamap.map`.
    max_concurrency : int
        Invocations in flight, as for `lambdamap.map`.
    ordered : bool
        Results are taken in input order, so that a slow chunk holds up those after it.
    cores : float
        Processors, shared by Python's thread and up to 4 I/O threads. 0.5 is one of half the speed,
        1.5 are two of three quarters.
    python_us, python_item_us : float
        CPU for packing and unpacking a chunk, and for each item in it.
    native_us : float
        CPU of an I/O thread for an invocation: signing, sending, receiving.
    wake_us : float
        CPU for waking up a thread that was idle. It makes slow replies dearer than fast ones.
    connect_us : float
        CPU for a new connection, TLS handshake included.
    streams_per_connection : int
        Invocations on one connection at a time. 1: HTTP/1.1.
    connection_kb, base_mb : float
        Memory of a connection; of the process besides, Python included.
    max_inflight_mb : float
        Encoded items and results held at once, as for `lambdamap.map`.
    """

    chunksize: int | str = "auto"
    max_concurrency: int = 256
    ordered: bool = True
    cores: float = 2.0
    python_us: float = 20.0
    python_item_us: float = 1.0
    native_us: float = 25.0
    wake_us: float = 40.0
    connect_us: float = 1500.0
    streams_per_connection: int = 1
    connection_kb: float = 70.0
    base_mb: float = 30.0
    max_inflight_mb: float = 512.0


@dataclasses.dataclass(frozen=True)
class Network:
    """The way from a caller to Lambda's endpoint.

    Attributes
    ----------
    round_trip_ms, jitter_ms : float
        There and back without anything to transfer, at least; each way takes up to `jitter_ms`
        longer, at random. The defaults are a guess for the nearest region.
    mbit_s : float
        Bandwidth in each direction, shared by all connections.
    connect_round_trips : float
        Until a new connection can carry a request: one for TCP and one for TLS 1.3.
    """

    round_trip_ms: float = 18.0
    jitter_ms: float = 2.0
    mbit_s: float = 100.0
    connect_round_trips: float = 2.0


@dataclasses.dataclass(frozen=True)
class Lambda:
    """The functions, their limits, and what starting them takes.

    Sources: "Lambda quotas" (https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html)
    and "Lambda scaling behavior" (.../scaling-behavior.html). The allowance for new environments is
    refilled continuously, and unused allowance does not add up. New accounts have less than the
    default concurrency.

    Attributes
    ----------
    memory_mb : int
        Of each function; it determines CPU and price.
    concurrency : int
        Limit of the account in each region.
    reserved : int or None
        Reserved concurrency of each function.
    environments_per_10_s : float
        New execution environments of one function. A request that would need one more is throttled
        like one beyond the concurrency; AWS documents the 429, but not its reason.
    requests_per_environment_s : float
        The request rate is at most this times the concurrency limit: the account's, or the
        function's if it has reserved concurrency.
    warm : int
        Environments of each function that are ready at the start.
    init_ms : float
        Initialization of an environment, billed since August 2025. The default is a guess for a
        small function; pandas takes 2 s.
    overhead_ms : float
        From the endpoint to the handler and back, not billed. A guess.
    refused_share : float
        Requests answered by a 5xx before the handler ran.
    functions, regions : int
        Functions that share the work, spread over so many regions.
    """

    memory_mb: int = FULL_CPU_MB
    concurrency: int = 1000
    reserved: int | None = None
    environments_per_10_s: float = 1000.0
    requests_per_environment_s: float = 10.0
    warm: int = 0
    init_ms: float = 500.0
    overhead_ms: float = 10.0
    refused_share: float = 0.0
    functions: int = 1
    regions: int = 1


@dataclasses.dataclass(frozen=True)
class Worker:
    """The mapped function, in one thread.

    Attributes
    ----------
    item_ms, spread : float
        Time for an item with one vCPU, and its standard deviation as a part of it. The times of
        chunks follow a log-normal distribution.
    chunk_ms : float
        Time for a chunk besides: decoding it, encoding the results. docs/scaling.md has it.
    cpu_bound : float
        Part of the time that takes longer with less than one vCPU; the rest is waiting.
    item_bytes, result_bytes : float
        Encoded, before base64.
    """

    item_ms: float = 100.0
    spread: float = 0.0
    chunk_ms: float = 1.0
    cpu_bound: float = 1.0
    item_bytes: float = 200.0
    result_bytes: float = 100.0


@dataclasses.dataclass(frozen=True)
class Prices:
    """List prices in USD, without free tier, volume tiers, savings plans and data transfer."""

    gb_second: float
    request: float = 0.20e-6


# USD for a GB-second on x86 and on arm64. https://aws.amazon.com/lambda/pricing/ as of PRICES_OF; the
# regions that are not listed have the default.
_DEFAULT = (0.0000166667, 0.0000133334)
_REGIONS = {
    "af-south-1": (0.0000221, 0.00001768),
    "ap-east-1": (0.00002292, 0.0000183),
    "eu-south-1": (0.0000195172, 0.0000156138),
    "me-central-1": (0.0000206667, 0.0000165334),
    "me-south-1": (0.0000206667, 0.0000165334),
}
_ARCHITECTURES = ("x86_64", "arm64")


def prices(region: str = "us-east-1", architecture: str = "x86_64") -> Prices:
    """Return the list prices of a region as of `PRICES_OF`.

    A request is $0.20 per million in the table of every region.

    Parameters
    ----------
    region
        Regions that the table does not list have the price of us-east-1.
    architecture
        ``"x86_64"`` or ``"arm64"``.

    Raises
    ------
    ValueError
        Unknown architecture.

    Examples
    --------
    >>> from lambdamap import model
    >>> model.prices("eu-central-1").gb_second
    1.66667e-05
    """
    if architecture not in _ARCHITECTURES:
        raise ValueError(f"architecture must be 'x86_64' or 'arm64', not {architecture!r}")
    return Prices(_REGIONS.get(region, _DEFAULT)[_ARCHITECTURES.index(architecture)])
