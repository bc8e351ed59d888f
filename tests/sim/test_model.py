"""`lambdamap.model` beside the real engine and dispatcher on the simulated network, in virtual time."""

from __future__ import annotations

import logging
import math
import random
from dataclasses import dataclass
from typing import Any

import pytest

import lambdamap
from lambdamap.flight.stats import Stats
from lambdamap.model import Caller, Lambda, Network, Worker, simulate
from simulated import work
from simulated_limits import LimitedSimulation

WITHIN = 0.1
FREE = {
    "python_us": 0.0,
    "python_item_us": 0.0,
    "native_us": 0.0,
    "wake_us": 0.0,
    "connect_us": 0.0,
}


@dataclass(frozen=True)
class Scenario:
    """CPU takes no time in the simulator, and there is no limit to its bandwidth."""

    items: int
    chunksize: int | str
    at_once: int
    service: dict[str, Any]
    worker: dict[str, float]
    latency_s: float = 0.01
    ordered: bool = True

    @property
    def parts(self) -> tuple[Caller, Network, Lambda, Worker]:
        # A request takes latency_s. A reply takes up to this at random, in more than one piece
        # sometimes: 2/3 of it in the mean. A connection takes up to latency_s.
        ms = self.latency_s * 1e3
        return (
            Caller(self.chunksize, self.at_once, self.ordered, **FREE),
            Network(ms * 2 / 3, ms, mbit_s=1e6, connect_round_trips=0.3),
            Lambda(**{"overhead_ms": 0.0, "warm": 1000, **self.service}),
            Worker(**{"chunk_ms": 0.0, **self.worker}),
        )


SCENARIOS = {
    "one at a time": Scenario(40, 1, 1, {}, {"item_ms": 100}, 0.05),
    "twenty at once": Scenario(300, 1, 20, {}, {"item_ms": 200}),
    "cold starts": Scenario(400, 1, 100, {"warm": 0, "init_ms": 1000}, {"item_ms": 200}),
    "a full account": Scenario(600, 1, 100, {"concurrency": 30}, {"item_ms": 200}),
    "reserved concurrency": Scenario(400, 1, 100, {"reserved": 20}, {"item_ms": 500}),
    "few new environments": Scenario(
        1000, 1, 150, {"warm": 0, "environments_per_10_s": 50}, {"item_ms": 500}
    ),
    "too many requests": Scenario(
        1000, 1, 64, {"concurrency": 64, "requests_per_environment_s": 1}, {"item_ms": 20}
    ),
    "items of different length": Scenario(600, 1, 40, {}, {"item_ms": 300, "spread": 0.5}),
    "the same, unordered": Scenario(600, 1, 40, {}, {"item_ms": 300, "spread": 0.5}, ordered=False),
    "automatic chunks": Scenario(5000, "auto", 30, {}, {"item_ms": 20}),
    "large chunks, far away": Scenario(2000, 10, 16, {}, {"item_ms": 10}, 0.1),
    "refused": Scenario(400, 1, 30, {"refused_share": 0.03}, {"item_ms": 200}),
}


def dispatched(scenario: Scenario, seed: int) -> tuple[float, Stats, int]:
    """Return seconds, statistics and cold starts of the real thing."""
    _, _, service, worker = scenario.parts
    draw = random.Random(seed)
    variance = math.log1p(worker.spread**2)

    def seconds() -> float:
        longer = draw.lognormvariate(-variance / 2, math.sqrt(variance)) if worker.spread else 1.0
        return worker.item_ms / 1e3 * longer

    items = [[0, index, "good", seconds()] for index in range(scenario.items)]
    network = {"latency_s": scenario.latency_s, "connect_s": scenario.latency_s}
    with LimitedSimulation(seed, service, **network) as simulation:
        options = {
            **simulation.options,
            "chunksize": scenario.chunksize,
            "max_concurrency": scenario.at_once,
        }
        begun = simulation.now
        call = lambdamap.map if scenario.ordered else lambdamap.map_unordered
        with call(work, items, **options) as results:
            assert sum(1 for _ in results) == scenario.items
            stats = results.stats
        del results
        seconds_taken = simulation.now - begun
    return seconds_taken, stats, simulation.answers.count("cold")


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(s, marks=pytest.mark.soak) for s in range(2, 6))]
)
@pytest.mark.parametrize("name", SCENARIOS)
def test_the_model_predicts_the_dispatcher(
    name: str, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "lambdamap")  # or each throttle is a line
    scenario = SCENARIOS[name]
    seconds, stats, cold = dispatched(scenario, seed)
    found = simulate(scenario.items, *scenario.parts, seed=seed)
    assert found.seconds == pytest.approx(seconds, rel=WITHIN)
    assert found.requests == pytest.approx(stats.requests, rel=WITHIN)
    assert found.invocations == pytest.approx(stats.chunks, rel=WITHIN)
    assert found.cold_starts == pytest.approx(cold, rel=WITHIN, abs=1)


def test_the_scenarios_meet_each_limit() -> None:
    """So that what is compared above is not only the easy case."""
    outcomes = {name: simulate(s.items, *s.parts) for name, s in SCENARIOS.items()}
    throttled = {name for name, outcome in outcomes.items() if outcome.throttles}
    assert throttled == {
        "a full account", "reserved concurrency", "few new environments", "too many requests",
    }  # fmt: skip
    assert {name for name, outcome in outcomes.items() if outcome.retries} == {"refused"}
    assert outcomes["cold starts"].cold_starts == 100
    assert outcomes["automatic chunks"].invocations < 1000
