"""`lambdamap.model` beside the real dispatcher, whose function is nginx on the same cores.

Each measurement is a process of its own: ``python model.py JSON`` prints its figures.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

import clients
import study_job
from target import Target

from lambdamap.model import Caller, Lambda, Network, Outcome, Worker, simulate

__all__ = ["HEAD", "rows"]

HANG_S = 240
HEAD = (
    "items of one invocation each",
    "seconds",
    "predicted",
    "CPU us",
    "predicted",
    "MB",
    "predicted",
)
# nginx takes about as much CPU for a request as the caller, and half as much for a handshake.
SHARE = 0.6
RUNS = (  # title, invocations, at once, milliseconds, TLS
    ("64 at once, answered at once", 20_000, 64, 0, False),
    ("100 at once, 1 s", 300, 100, 1000, False),
    ("1,000 at once, 100 ms, from cold", 1_000, 1_000, 100, False),
    ("1,000 at once, 1 s", 5_000, 1_000, 1000, False),
    ("5,000 at once, 5 s", 10_000, 5_000, 5000, False),
    ("64 at once, answered at once, TLS", 20_000, 64, 0, True),
    ("1,000 at once, 100 ms, from cold, TLS", 1_000, 1_000, 100, True),
    ("1,000 at once, 1 s, TLS", 5_000, 1_000, 1000, True),
)


def one(url: str, ca_file: str, at_once: int, n: int, ms: int) -> dict[str, float]:
    """Map n items; what the first map of a process takes besides was there before."""
    import lambdamap

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(30_000, limit), limit))
    item = study_job.items()[0]

    def run(count: int, function: str) -> None:
        results = lambdamap.map(
            study_job.sum_of, (item for _ in range(count)), chunksize=1, max_concurrency=at_once,
            function=function, endpoint_url=url, region="us-east-1", credentials=("AKID", "secret"),
            ca_bundle=ca_file or None, by_value=False, progress=False, compression=False,
        )  # fmt: skip
        assert sum(1 for _ in results) == count

    run(1, "r")
    base = clients.peak_mb()
    before, started = time.process_time(), time.perf_counter()
    run(n, f"s{ms}" if ms else "r")
    return {
        "seconds": time.perf_counter() - started,
        "cpu_us": (time.process_time() - before) / n * 1e6,
        "rss_mb": clients.peak_mb(),
        "base_mb": base,
    }


def predicted(at_once: int, n: int, ms: int, tls: bool, base_mb: float) -> Outcome:
    """Return the model's word for the same; the function has no limits."""
    caller = Caller(
        chunksize=1,
        max_concurrency=at_once,
        cores=SHARE * len(os.sched_getaffinity(0)),
        base_mb=base_mb,
        connect_us=1500 if tls else 80,
        native_us=25 if tls else 10,
        connection_kb=70 if tls else 16,
    )
    network = Network(0.1, 0.1, mbit_s=20_000, connect_round_trips=2 if tls else 1)
    service = Lambda(
        concurrency=1_000_000, requests_per_environment_s=1e6, warm=1_000_000, overhead_ms=0
    )
    worker = Worker(item_ms=ms, chunk_ms=0, item_bytes=900, result_bytes=20)
    return simulate(n, caller, network, service, worker)


def rows(quick: bool) -> list[tuple[str, ...]]:
    found = []
    with Target() as target:
        for title, n, at_once, ms, tls in RUNS:
            if quick:
                n, at_once = n // 100, max(1, at_once // 100)
            job = {
                "url": target.url(tls),
                "ca_file": target.ca_file if tls else "",
                "at_once": at_once,
            }
            words = [sys.executable, __file__, json.dumps({**job, "n": n, "ms": ms})]
            done = subprocess.run(words, stdout=subprocess.PIPE, timeout=HANG_S, check=True)
            real: dict[str, float] = json.loads(done.stdout)
            model = predicted(at_once, n, ms, tls, real["base_mb"])
            found.append(
                (
                    title,
                    f"{real['seconds']:.2f}",
                    f"{model.seconds:.2f}",
                    f"{real['cpu_us']:,.0f}",
                    f"{model.caller_cpu_seconds / n * 1e6:,.0f}",
                    f"{real['rss_mb']:,.0f}",
                    f"{model.caller_memory_mb:,.0f}",
                )
            )
    return found


if __name__ == "__main__":
    given: dict[str, Any] = json.loads(sys.argv[1])
    print(json.dumps(one(**given)))
