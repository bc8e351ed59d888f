"""Whether invocations of 6 MB each way keep those of another map waiting, in a process of its own.

Prints JSON: the small ones' 50th and 99th percentile alone and beside the large ones, in ms, and
what the large ones took.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from clients import BODY, PATH

from lambdamap import _net

LARGE = b'"' + b"y" * 5_999_998 + b'"'


def _open(url: str, function: str, at_once: int) -> Any:
    parts = urlsplit(url)
    target = _net.open_target(
        scheme=parts.scheme, host=parts.hostname or "", port=parts.port or 0,
        path=PATH.format(function), query="", region="us-east-1", access_key="AKID",
        secret_key="secret", token=None, expires_at=None, headers=(), proxy=None,
        ca_file=None, ca_path=None, max_concurrency=at_once, max_attempts=3, max_connect_ms=30_000,
        connect_patience_ms=30_000,
        http_version=None,
    )  # fmt: skip
    return _net.open_map(
        target, envelope=None, map_id="0" * 32, compression=False, idempotent=False,
        invocation_timeout_ms=120_000, timeout_ms=-1, max_result_bytes=8 << 20,
        max_reply_bytes=8 << 20, notes=False, trace=False, bound_id="",
    )  # fmt: skip


def _large(url: str, n: int) -> None:
    flight = _open(url, "b6000000", 64)
    sent = done = 0
    while done < n:
        while sent < n and flight.submit(LARGE, sent, 1):
            sent += 1
        flight.wait(60)
        while (completion := flight.take()) is not None:
            assert completion.ok, completion.message
            done += 1


def _small(flight: Any, first: int, goes_on: Any) -> list[float]:
    times = []
    while goes_on():
        started = time.perf_counter()
        flight.submit(BODY, first + len(times), 1)
        while (completion := flight.take()) is None:
            flight.wait(60)
        assert completion.ok, completion.message
        times.append(time.perf_counter() - started)
        time.sleep(0.002)
    return times


def _percentiles(times: list[float]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3


def main(small_url: str, large_url: str, n: int) -> None:
    _net.set_budget(1 << 30)
    flight = _open(small_url, "now", 4)
    ends = time.perf_counter() + (0.5 if n < 64 else 3)
    alone = _percentiles(_small(flight, 0, lambda: time.perf_counter() < ends))
    thread = threading.Thread(target=_large, args=(large_url, n))
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    thread.start()
    beside = _percentiles(_small(flight, 1_000_000, thread.is_alive))
    seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    figures = {
        "alone": alone,
        "beside": beside,
        "mb_per_s": 12 * n / seconds,
        "cpu_ms": cpu / n * 1e3,
    }
    sys.stdout.write(json.dumps(figures))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
