"""Statistics of a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

__all__ = ["Stats"]


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
        in this process.
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
                + (f", {self.items_resent:,} of them resent" if self.items_resent else ""),
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
        if self.latency_max is not None:
            shown = (
                ("half", self.latency_p50),
                ("90 %", self.latency_p90),
                ("99 %", self.latency_p99),
                ("all", self.latency_max),
            )
            text = ", ".join(f"{share} {_seconds(value or 0.0)}" for share, value in shown)
            lines.append(("latency", f"at most: {text}"))
        if self.in_flight:
            lines.append(("in flight", _count(self.in_flight, "chunk")))
        return lines

    def __repr__(self) -> str:
        return "\n".join(f"{name + ':':<10} {text}" for name, text in self._lines())

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{name}</th><td style='text-align:left'>{text}</td></tr>"
            for name, text in self._lines()
        )
        return f"<table><caption>lambdamap</caption>{rows}</table>"


_NAMES = tuple(field.name for field in dataclasses.fields(Stats))


def _count(number: int, noun: str) -> str:
    if number != 1:
        noun = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun}"


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
