"""Statistics of a map, and of the last one of a thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambdamap.model import Prices

__all__ = ["Stats", "last_stats", "remember", "sum_of"]


@dataclasses.dataclass(frozen=True, repr=False)
class Stats:
    """Counts of one map at one moment.

    ``stats.requests`` and ``stats["requests"]`` are the same; ``dict(stats)`` has all of them.

    Attributes
    ----------
    items, chunks : int
        Items packed, and chunks sent.
    items_resent : int
        Items that were not started because their chunk was partly done, and were resent.
    items_from_journal : int
        Items that were not sent because the journal has what they have come to.
    requests : int
        Requests that were sent at least in part, including those answered by 429.
    retries, throttles : int
        Requests retried after a failure; 429 replies, each of which was followed by a resend.
    connections : int
        Connections opened.
    streams : int
        Requests that went over HTTP/2, each on a stream of a connection that others share.
    bytes_sent, bytes_received : int
        Over all requests, including the headers of HTTP/1.1, excluding TLS.
    worker_seconds : float
        Total time spent in f, as measured by the workers.
    in_flight : int
        Chunks sent or queued and not yet taken.
    latency_p50, latency_p90, latency_p99, latency_max : float or None
        Median, 90th and 99th percentile and maximum of the last attempt of each chunk with a reply,
        in seconds, including connecting. Percentiles are within 7 %, from a histogram of 240 buckets
        an eighth of an octave wide; the maximum is exact. None before the first reply, and for work
        in this process. Percentiles are None for the calls of several functions in one executor.
    seconds : float
        From the map's start to its end, or to now; of an executor, the longest of its maps.
    reports : int
        Invocations whose REPORT line was read from the end of Lambda's log (see the option ``billing``).
        The attributes below are from these lines, and None if there was none.
    billed_ms : float or None
        Milliseconds that Lambda bills, over all chunks with a reply: those of the REPORT lines, and for
        each other invocation its time in f and the mean of what the others were billed on top, which
        is exact if ``reports`` is the number of invocations. The first 32 chunks, which have most
        cold starts, are estimated apart. Attempts without a reply are missing.
    gb_seconds : float or None
        ``billed_ms`` times the function's memory in GB.
    memory_mb, max_memory_mb : int or None
        The function's memory, and the most that a sandbox used of it: "Memory Size" and "Max Memory
        Used".
    cold_starts : int or None
        Of the reported invocations, those for which a sandbox was started or restored.
    init_seconds : float or None
        Total time of these starts: "Init Duration" and "Restore Duration".
    """

    items: int
    chunks: int
    items_resent: int
    requests: int
    retries: int
    throttles: int
    connections: int
    streams: int
    bytes_sent: int
    bytes_received: int
    worker_seconds: float
    in_flight: int
    latency_p50: float | None = None
    latency_p90: float | None = None
    latency_p99: float | None = None
    latency_max: float | None = None
    items_from_journal: int = 0
    seconds: float = 0.0
    reports: int = 0
    billed_ms: float | None = None
    gb_seconds: float | None = None
    memory_mb: int | None = None
    max_memory_mb: int | None = None
    cold_starts: int | None = None
    init_seconds: float | None = None

    @property
    def items_per_second(self) -> float:
        """Return the throughput: items packed, by the map's seconds."""
        return self.items / self.seconds if self.seconds > 0 else 0.0

    def usd(self, prices: Prices | None = None) -> float | None:
        """Return what the map cost at list prices, in USD.

        Parameters
        ----------
        prices
            Of the function's region and architecture, as `lambdamap.model.prices` returns them, or
            your own. None: those of us-east-1 and x86_64.

        Returns
        -------
        float or None
            ``gb_seconds``, and the requests without those that were throttled, each times its price.
            None: no REPORT line was read.

        Raises
        ------
        TypeError
            `prices` is not a `lambdamap.model.Prices`: the name of a region, for example.
        """
        if self.gb_seconds is None:
            return None
        from lambdamap import model

        if prices is None:
            prices = model.prices()
        if not isinstance(prices, model.Prices):
            raise TypeError(
                f"prices must be what lambdamap.model.prices(region, architecture) returns, not {prices!r}"
            )
        return (
            self.gb_seconds * prices.gb_second + (self.requests - self.throttles) * prices.request
        )

    def __getitem__(self, name: str) -> Any:
        if name not in _NAMES:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def keys(self) -> tuple[str, ...]:
        return _NAMES

    def _lines(self) -> list[tuple[str, str]]:
        lines = [
            (
                "items",
                f"{self.items:,} in {_count(self.chunks, 'chunk')}"
                + (f", {self.items_resent:,} of them resent" if self.items_resent else "")
                + (
                    f", {self.items_from_journal:,} not sent but from the journal"
                    if self.items_from_journal
                    else ""
                ),
            ),
            (
                "requests",
                f"{self.requests:,} ({_count(self.retries, 'retry')}, "
                f"{_count(self.throttles, 'throttle')}) on {_count(self.connections, 'connection')}"
                + (", HTTP/2" if self.streams else ""),
            ),
            ("bytes", f"{_bytes(self.bytes_sent)} sent, {_bytes(self.bytes_received)} received"),
            ("worker", f"{_seconds(self.worker_seconds)} in f"),
        ]
        if self.seconds:
            lines.append(
                ("speed", f"{_rate(self.items_per_second)} items/s in {_seconds(self.seconds)}")
            )
        if self.latency_max is not None:
            shown = (
                ("half", self.latency_p50),
                ("90 %", self.latency_p90),
                ("99 %", self.latency_p99),
                ("all", self.latency_max),
            )
            text = ", ".join(
                f"{share} {_seconds(value)}" for share, value in shown if value is not None
            )
            lines.append(("latency", f"at most: {text}"))
        if self.billed_ms is not None:
            lines += self._billed()
        if self.in_flight:
            lines.append(("in flight", _count(self.in_flight, "chunk")))
        return lines

    def _billed(self) -> list[tuple[str, str]]:
        about = "" if self.reports >= self.chunks else "about "
        cost = f"{about}{_seconds((self.billed_ms or 0) / 1000)}, {self.gb_seconds:,.3g} GB-seconds"
        starts = _count(self.cold_starts or 0, "cold start")
        if self.cold_starts:
            starts += f" of {_seconds((self.init_seconds or 0.0) / self.cold_starts)}"
        return [
            ("billed", f"{cost} (from {_count(self.reports, 'report')})"),
            (
                "sandboxes",
                f"{self.max_memory_mb:,} of {self.memory_mb:,} MB used, {starts} reported",
            ),
        ]

    def __repr__(self) -> str:
        return "\n".join(f"{name + ':':<10} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{text}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>lambdamap</caption>{rows}</table>"


_NAMES = tuple(field.name for field in dataclasses.fields(Stats))
_UNKNOWN = {  # of a sum of nothing
    field.name: 0 if field.default is dataclasses.MISSING else field.default
    for field in dataclasses.fields(Stats)
}
_QUANTILES = ("latency_p50", "latency_p90", "latency_p99")
_MAXIMA = frozenset({"latency_max", "seconds", "memory_mb", "max_memory_mb"})

_last: ContextVar[Stats | None] = ContextVar("lambdamap.last_stats", default=None)


def remember(stats: Stats) -> None:
    """Keep the statistics of a map that has ended in this context."""
    _last.set(stats)


def last_stats() -> Stats | None:
    """Return the statistics of the last map that has ended in this thread or asyncio task.

    For calls that return results rather than a handle: `my_map`, `groupby_apply`, joblib. A map has
    ended when its last result was taken, when it failed, or when it was closed. An exception does not
    prevent it: the statistics are those up to the failure.

    Returns
    -------
    Stats or None
        None: no map has ended here. For joblib, those of one `joblib.Parallel`.

    Examples
    --------
    >>> import lambdamap
    >>> lambdamap.my_map(abs, [-1, 2, -3], 2, invoke_lambda=False)
    [1, 2, 3]
    >>> lambdamap.last_stats().items
    3
    """
    return _last.get()


def sum_of(parts: Iterable[Stats]) -> Stats:
    """Return the statistics of several maps together.

    Quantiles cannot be added: they are None unless only one of the maps has any."""
    every = list(parts)
    known = [stats for stats in every if stats.latency_max is not None]
    summed: dict[str, Any] = {}
    for name in _NAMES:
        if name in _QUANTILES:
            summed[name] = known[0][name] if len(known) == 1 else None
        else:
            values = [stats[name] for stats in every if stats[name] is not None]
            put = max if name in _MAXIMA else sum
            summed[name] = put(values) if values else _UNKNOWN[name]
    return Stats(**summed)


def _count(number: int, noun: str) -> str:
    if number != 1:
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun}"


def _rate(number: float) -> str:
    """Write a number with three digits, and a large one without an exponent."""
    digits = f"{number:.3g}"
    return f"{float(digits):,.0f}" if number >= 100 else digits


def _bytes(number: int) -> str:
    size = float(number)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _seconds(value: float) -> str:
    if value < 0.001:
        return f"{value * 1e6:.0f} us"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.1f} s"
