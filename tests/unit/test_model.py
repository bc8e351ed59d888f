"""`lambdamap.model`: the limits hold, and the figures add up."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from lambdamap import model
from lambdamap.model import Caller, Lambda, Network, Outcome, Worker, simulate

EACH = Caller(chunksize=1, max_concurrency=10_000)
SECOND = Worker(item_ms=1000, chunk_ms=0)


def test_one_invocation_costs_what_it_says() -> None:
    """Computed by hand: half a second of initialization and one second of work, at 2 GB."""
    found = simulate(1, EACH, service=Lambda(memory_mb=2048), worker=SECOND)
    assert found.gb_seconds == pytest.approx(1.5 * 2)
    assert found.usd == pytest.approx(3 * 0.0000166667 + 0.0000002)
    assert (found.invocations, found.requests, found.cold_starts) == (1, 1, 1)
    dearer = simulate(
        1, EACH, service=Lambda(memory_mb=2048), worker=SECOND, price=model.Prices(1.0, 0.5)
    )
    assert dearer.usd == pytest.approx(3.5)


def test_less_than_a_processor_takes_longer_and_more_does_not_help() -> None:
    def seconds(memory_mb: int, cpu_bound: float = 1.0) -> float:
        worker = Worker(item_ms=10_000, chunk_ms=0, cpu_bound=cpu_bound)
        service = Lambda(memory_mb=memory_mb, warm=1, overhead_ms=0)
        return simulate(1, EACH, Network(0, 0), service, worker).seconds

    one = seconds(1769)
    assert seconds(1769 // 2) == pytest.approx(2 * one, rel=0.01)
    assert seconds(10240) == one
    assert seconds(128, cpu_bound=0.0) == pytest.approx(one)


@pytest.mark.parametrize(
    "service",
    [Lambda(concurrency=50), Lambda(reserved=20), Lambda(environments_per_10_s=30), Lambda(warm=7)],
)
def test_the_limits_hold(service: Lambda) -> None:
    found = simulate(400, EACH, service=service, worker=SECOND)
    assert found.peak_concurrency <= min(service.concurrency, service.reserved or 1000)
    assert found.cold_starts + service.warm >= found.peak_concurrency
    new = service.environments_per_10_s * (1 + found.seconds / 10)
    assert found.cold_starts <= new
    assert found.invocations == 400 and found.requests == 400 + found.throttles
    assert not found.gave_up


def test_it_gives_up_where_nothing_is_accepted() -> None:
    found = simulate(10, EACH, service=Lambda(reserved=0))
    assert found.gave_up and found.invocations == 0 and found.usd == 0
    assert 60 < found.seconds < 90


def test_the_same_seed_has_the_same_outcome() -> None:
    def run(seed: int) -> Outcome:
        return simulate(200, service=Lambda(concurrency=20), worker=Worker(spread=1), seed=seed)

    assert run(1) == run(1) != run(2)


def test_functions_scale_apart_and_regions_have_their_own_limit() -> None:
    def run(functions: int, regions: int = 1) -> Outcome:
        service = Lambda(
            concurrency=500, environments_per_10_s=100, functions=functions, regions=regions
        )
        return simulate(1000, EACH, service=service, worker=SECOND)

    one, two, five = run(1), run(2), run(5)
    assert one.seconds > two.seconds > five.seconds
    assert five.peak_concurrency <= 500 < run(10, 2).peak_concurrency <= 1000


def test_a_tree_spares_the_caller_and_costs_more() -> None:
    service = Lambda(concurrency=10_000, environments_per_10_s=10_000)
    flat, tree, deep = (
        simulate(1000, EACH, service=service, worker=SECOND, depth=depth) for depth in range(3)
    )
    assert flat.invocations == 1000
    assert tree.invocations == 1000 + 32  # 32 callers of at most 32
    assert deep.invocations == 1000 + 10 + 100
    assert flat.caller_cpu_seconds > 10 * tree.caller_cpu_seconds > deep.caller_cpu_seconds
    assert flat.usd < tree.usd < deep.usd


def test_connections_and_bytes_are_the_memory() -> None:
    service = Lambda(warm=1000)
    caller = dataclasses.replace(EACH, base_mb=10, connection_kb=1024)
    small = Worker(item_ms=1000, item_bytes=0, result_bytes=0)
    found = simulate(50, caller, service=service, worker=small)
    assert found.caller_memory_mb == pytest.approx(60)
    shared = dataclasses.replace(caller, streams_per_connection=100)
    assert simulate(50, shared, service=service, worker=small).caller_memory_mb == 11
    large = dataclasses.replace(small, item_bytes=3 * 2**20 / 4)  # 1 MB in base64
    assert simulate(50, shared, service=service, worker=large).caller_memory_mb == pytest.approx(61)
    less = dataclasses.replace(shared, max_inflight_mb=5)
    found = simulate(50, less, service=service, worker=large)
    assert found.caller_memory_mb == pytest.approx(16) and found.peak_concurrency <= 5


def test_a_chunk_is_not_larger_than_a_request() -> None:
    """Whatever its number of items: 4.65 MB fixed, 1 MiB automatic, as _codec.Chunker says."""
    worker = Worker(item_ms=0.1, item_bytes=100_000)
    fixed = simulate(930, Caller(chunksize=500), worker=worker)
    assert fixed.invocations == 930 // 46 + 1
    assert simulate(930, Caller(), worker=worker).invocations >= 93


def test_the_network_is_a_bound() -> None:
    """100 MB in base64 there, at 100 Mbit/s."""
    caller = dataclasses.replace(EACH, max_inflight_mb=1000)
    worker = Worker(item_ms=0, chunk_ms=0, item_bytes=0.75e6)
    found = simulate(100, caller, Network(mbit_s=100), Lambda(warm=1000), worker)
    assert found.seconds == pytest.approx(8, rel=0.1)


def test_refused_requests_are_tried_three_times() -> None:
    found = simulate(20, EACH, service=Lambda(refused_share=1.0))
    assert (found.failures, found.requests, found.retries) == (20, 60, 40)


def test_the_callers_processors_are_shared() -> None:
    def seconds(cores: float) -> float:
        caller = dataclasses.replace(EACH, cores=cores, connect_us=10_000)
        found = simulate(400, caller, service=Lambda(warm=1000), worker=Worker(item_ms=10_000))
        return found.seconds - 10

    assert seconds(1) > 1.7 * seconds(2) > 3 * seconds(4)
    assert seconds(0.5) > 1.7 * seconds(1) > seconds(1.5) > seconds(2)


def test_prices() -> None:
    assert model.prices("eu-central-1") == model.prices()
    assert model.prices("af-south-1").gb_second > model.prices().gb_second
    assert model.prices(architecture="arm64").gb_second == 0.0000133334
    with pytest.raises(ValueError, match="architecture must be"):
        model.prices(architecture="arm")


def test_a_tree_may_starve() -> None:
    """Callers that wait take every environment that the work needs."""
    found = simulate(1000, EACH, service=Lambda(concurrency=20), worker=SECOND, depth=1)
    assert found.gave_up and found.peak_concurrency == 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"items": 0}, "items must be at least 1, depth at least 0"),
        ({"depth": -1}, "items must be at least 1, depth at least 0"),
        ({"caller": Caller(chunksize=0)}, "Caller.chunksize must be at least 1, not 0"),
        ({"caller": Caller(cores=0)}, "Caller.cores must be above 0, not 0"),
        ({"network": Network(mbit_s=-1)}, "Network.mbit_s must be above 0, not -1"),
        ({"service": Lambda(functions=0)}, "Lambda.functions must be at least 1, not 0"),
        (
            {"service": Lambda(functions=10**30)},
            "Lambda.functions must be at most 1,000,000, not 1",
        ),
        ({"service": Lambda(regions=10**30)}, "Lambda.regions must be at most 1,000,000, not 1"),
        ({"worker": Worker(item_ms=-1)}, "Worker.item_ms must be at least 0, not -1"),
        ({"worker": Worker(item_ms=math.nan)}, "Worker.item_ms must be finite, not nan"),
        ({"network": Network(mbit_s=math.inf)}, "Network.mbit_s must be finite, not inf"),
    ],
)
def test_what_cannot_be_simulated(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        simulate(**{"items": 1, **arguments})


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"items": 1e6}, "items and depth must be integers, not 1000000.0 and 0"),
        ({"depth": 1.5}, "items and depth must be integers, not 1 and 1.5"),
        ({"caller": Caller(chunksize="automatic")}, "Caller.chunksize must be a number"),
        (
            {"service": dataclasses.replace(Lambda(), warm=None)},
            "Lambda.warm must be a number, not None",
        ),
    ],
)
def test_what_is_no_number(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        simulate(**{"items": 1, **arguments})
