"""Functions that tests map, importable by caller and worker."""

from __future__ import annotations

import time

__all__ = ["double", "fail_on_three", "pad", "slow_double"]


def double(x: int) -> int:
    return 2 * x


def slow_double(x: int) -> int:
    time.sleep(0.05)
    return 2 * x


def fail_on_three(x: int) -> int:
    if x == 3:
        raise ValueError("three is too many")
    return x


def pad(size: int) -> str:
    return "x" * size
