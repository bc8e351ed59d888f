"""A model of what a map takes on Lambda: seconds, CPU and memory of the caller, and USD.

`simulate` runs one map as discrete events, with the dispatcher's own policy and the limits that AWS
documents, in simulated time. Nothing is sent.

>>> from lambdamap import model
>>> model.simulate(100, service=model.Lambda(warm=100)).cold_starts
0
"""

from __future__ import annotations

from lambdamap.model.parts import (
    FULL_CPU_MB,
    PRICES_OF,
    Caller,
    Lambda,
    Network,
    Prices,
    Worker,
    cpu_share,
    prices,
)
from lambdamap.model.simulation import WITHIN_REGION, Outcome, simulate

__all__ = [
    "FULL_CPU_MB",
    "PRICES_OF",
    "WITHIN_REGION",
    "Caller",
    "Lambda",
    "Network",
    "Outcome",
    "Prices",
    "Worker",
    "cpu_share",
    "prices",
    "simulate",
]
