"""The job of the study: 1,000 series of 100 values, the sum of each or some twenty features.

It imports nothing but Python's own library, so that every engine can run it.
"""

from __future__ import annotations

import math
import random
from itertools import pairwise
from typing import Any


def items() -> list[dict[str, Any]]:
    """One random walk for each id, the same ones each time."""
    rng = random.Random(2017)
    made = []
    for series_id in range(1000):
        level = 0.0
        values = [level := 0.9 * level + rng.gauss(0, 1) for _ in range(100)]
        made.append({"id": series_id, "values": values, "name": "value"})
    return made


def sum_of(item: dict[str, Any]) -> dict[str, Any]:
    """What the application of the articles calculated."""
    return {"id": item["id"], "result": sum(item["values"])}


def features(item: dict[str, Any]) -> dict[str, Any]:
    """Describe one series, in plain Python."""
    values = item["values"]
    n = len(values)
    ordered = sorted(values)
    total = math.fsum(values)
    mean = total / n
    centred = [value - mean for value in values]
    variance = math.fsum(value * value for value in centred) / (n - 1)
    steps = [after - before for before, after in pairwise(values)]
    rolling = [math.fsum(values[end - 10 : end]) / 10 for end in range(10, n + 1)]
    above = "".join("x" if value > 0 else " " for value in centred)
    lags = {
        f"autocorrelation_{lag}": math.fsum(
            a * b for a, b in zip(centred, centred[lag:], strict=False)
        )
        / (variance * (n - lag))
        for lag in (1, 2, 3, 5, 10)
    }
    places = [place - (n - 1) / 2 for place in range(n)]
    slope = math.fsum(p * v for p, v in zip(places, values, strict=True)) / math.fsum(
        p * p for p in places
    )
    return {
        "id": item["id"],
        "sum": total,
        "mean": mean,
        "std": math.sqrt(variance),
        "energy": math.fsum(value * value for value in values),
        "min": ordered[0],
        "q05": ordered[n // 20],
        "q25": ordered[n // 4],
        "median": ordered[n // 2],
        "q75": ordered[3 * n // 4],
        "q95": ordered[19 * n // 20],
        "max": ordered[-1],
        "change": math.fsum(abs(step) for step in steps),
        "crossings": sum(a != b for a, b in pairwise(above)),
        "longest_above": max(len(run) for run in above.split(" ")),
        "highest_ten": max(rolling),
        "lowest_ten": min(rolling),
        "slope": slope,
        **lags,
    }


def of_all(name: str, some: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One function on many series: for an engine that starts a process for each call."""
    function = {"sum": sum_of, "features": features}[name]
    return [function(item) for item in some]
