"""What a journal costs the caller: the same map with and without, against replies that are ready."""

from __future__ import annotations

import secrets
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from target import RESULTS, Target

import lambdamap

GOALS = {(100, 1): "<= 10 %", (2000, 1): "<= 35 %"}


def _measure(url: str, size: int, per_chunk: int, items: list[str], **options: Any) -> float:
    """Return the CPU time of the caller per reply, in microseconds."""
    import tasks

    options |= {
        "function": f"r{size}x{per_chunk}",
        "endpoint_url": url,
        "region": "us-east-1",
        "credentials": ("AKID", "secret"),
        "max_concurrency": 64,
        "chunksize": per_chunk,
    }
    before = time.process_time()
    with lambdamap.map(tasks.identity, items, **options) as results:
        assert sum(1 for _ in results) == len(items)
    return (time.process_time() - before) / (len(items) // per_chunk) * 1e6


def rows(quick: bool) -> list[tuple[str, ...]]:
    """Medians of interleaved rounds."""
    found = []
    with Target() as target, tempfile.TemporaryDirectory() as folder:
        url = target.url(False)
        for size, per_chunk in RESULTS:
            replies = 100 if quick else 20_000 // per_chunk * (10 if per_chunk > 1 else 1)
            items = [secrets.token_hex(size // 2) for _ in range(replies * per_chunk)]
            times: list[tuple[float, float, float]] = []
            for number in range(1 if quick else 5):
                path = Path(folder) / f"{size}x{per_chunk}.{number}"
                plain = _measure(url, size, per_chunk, items)
                kept = _measure(url, size, per_chunk, items, journal=path)
                again = _measure(url, size, per_chunk, items, journal=path)
                times.append((plain, kept, again))
                path.unlink()
            plain, kept, again = (median(column) for column in zip(*times, strict=True))
            over = median(kept / plain for plain, kept, _ in times) - 1
            each = "1 item" if per_chunk == 1 else f"{per_chunk} items"
            found.append(
                (
                    f"{size:,} bytes each way, {each} per invocation",
                    GOALS.get((size, per_chunk), ""),
                    f"{plain:.1f} us",
                    f"{kept:.1f} us",
                    f"{over:+.0%}",
                    f"{again:.1f} us",
                )
            )
    return found
