"""chunksize="auto" over the loads of the benchmark, in simulated time."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lambdamap import _codec


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "chunks.py"
    spec = importlib.util.spec_from_file_location("chunks_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = _load()


@pytest.mark.parametrize("load", benchmark.LOADS, ids=lambda load: load[0])
def test_within_a_tenth_of_the_best_fixed_size_or_of_the_ideal(load: Any) -> None:
    made = benchmark.Load(*load)
    best = min(benchmark.simulate(made, size, True)[0] for size in benchmark.fixed_sizes(made))
    least = max(best, benchmark.ideal(made))
    for known in (True, False):
        seconds, _ = benchmark.simulate(made, 0, known)
        assert seconds <= 1.1 * least, (load, known)


def test_the_rule_step_by_step() -> None:
    chunker = _codec.Chunker(0)
    # Single items, at most two windows of them, until the first reply.
    assert [chunker.next(4, -1, -1) for _ in range(9)] == [1] * 8 + [0]
    chunker.observe(1, 1000, 4)
    assert chunker.next(4, -1, -1) == 1  # its size may double once in a window of replies
    for _ in range(3):
        chunker.observe(1, 1000, 4)
    assert chunker.next(4, -1, -1) == 2
    for _ in range(400):
        chunker.observe(1, 1000, 4)
    assert chunker.next(4, -1, -1) == 500  # half a second of it
    assert chunker.next(4, 80, -1) == 10  # ceil(left / 2W)
    assert chunker.next(4, 3, -1) == 1
    assert chunker.next(4, -1, 400_000) == 100  # a quarter of the time left
    assert chunker.next(4, -1, 0) == 1
    assert chunker.max_bytes == 1 << 20
    fixed = _codec.Chunker(7)
    assert [fixed.next(4, 3, 0) for _ in range(20)] == [7] * 20
    assert fixed.max_bytes > 1 << 20
