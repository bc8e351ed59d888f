"""The engine in Python simulated: random plans, one history for each, and deliberate bugs that are found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings

import lambdamap
import simulator
from lambdamap.backends import credentials
from places import ROOT, search_path
from plans import Map, Plan, explore, plans, play
from simulated import FAULTS, RUNS, Simulation, work

MUTANTS = sorted((simulator.FOLDER / "mutants" / "python").glob("*.patch"))
COUNT = max(500, settings.default.max_examples)  # of plans
SEARCH = 4000  # of plans, for a mutant

NOT_DONE = Plan(  # a cancelled payload was among the finished results
    1,
    (Map(4, payloads=True, options=(("on_error", "return"), ("max_concurrency", 2))),),
    faults=("denied",),
)
IN_PLACE = Plan(  # each of these once ended the map
    1,
    (
        Map(
            12,
            special=((1, "unpackable"), (4, "huge"), (6, "bad"), (11, "unpackable")),
            seconds=0.4,
            options=(("chunksize", 3), ("on_error", "return"), ("invocation_timeout", 3.0)),
        ),
    ),
    faults=("good", "reset after run", "silent"),
)
AGAIN = Plan(  # each item that raises is tried again, by itself
    1,
    tuple(
        Map(
            9,
            special=((0, "unlucky"), (3, "bad"), (4, "unlucky")),
            seconds=0.1,
            options=(("chunksize", 3), ("on_error", on_error), ("retries", 2)),
        )
        for on_error in ("raise", "return")
    ),
    faults=("good", "in part", "good", "throttle", "reset"),
)
LATE = Plan(1, (Map(12, options=(("chunksize", 3), ("timeout", 0.4))),), faults=("slow", "in part"))
CALLS = Plan(
    2,
    (Map(6, special=((2, "bad"),), seconds=0.4, calls=True), Map(9, ordered=False)),
    (("take", 0, 1), ("close", 0), ("take", 1, 3), ("sleep", 1.0), ("abandon", 1)),
    faults=("throttle", "reset after run", "in part"),
    lifetime=1.0,
    renewed=0.4,
    network=(("small_one_in", 2), ("refuse_one_in", 3)),
)


@settings(max_examples=COUNT, suppress_health_check=list(HealthCheck))
@given(plans())
@example(NOT_DONE)
@example(LATE)
@example(IN_PLACE)
@example(AGAIN)
@example(CALLS)
def test_no_promise_is_broken(plan: Plan) -> None:
    play(plan)


@pytest.mark.parametrize(
    "plan",
    [NOT_DONE, LATE, IN_PLACE, AGAIN, CALLS],
    ids=["payloads", "deadline", "places", "again", "calls"],
)
def test_a_plan_has_one_history(plan: Plan) -> None:
    """To the byte; also in another process, which hashes otherwise."""
    first = play(plan)
    assert first.count("\n") > 2
    assert play(plan) == first
    code = f"from plans import Map, Plan, play\nprint(play({plan!r}), end='')"
    assert run(code).stdout == first


def run(code: str, *path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    package = [*path, ROOT / "pylambdamap"]
    return subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "PYTHONPATH": search_path(*package),
            "PYTHONHASHSEED": "7",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=290,
    )


def test_no_memory_is_misused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is anything undefined, in the binding and below it."""
    monkeypatch.setenv("SAN", "asan")
    simulator.extension()
    runtimes = [
        subprocess.run(["cc", f"-print-file-name={name}.so"], capture_output=True, text=True)
        for name in ("libasan", "libubsan")
    ]
    done = run(
        "import plans; print(plans.explore(200, 7_000_000))",
        LD_PRELOAD=" ".join(found.stdout.strip() for found in runtimes),
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1",
    )
    assert done.stdout == "200\n", done.stdout + done.stderr


def test_another_seed_has_another_history() -> None:
    plan = Plan(1, (Map(12, options=(("chunksize", 2),)),))
    histories = {play(Plan(seed, plan.maps)) for seed in range(5)}
    assert len(histories) == 5


def test_each_fault_is_met() -> None:
    """By one map each, whose other chunks end as they should."""
    for fault in FAULTS:
        maps = (Map(6, options=(("chunksize", 2), ("idempotent", True), ("timeout", 20.0))),)
        assert f": {fault}\n" in play(Plan(1, maps, faults=(fault,)))


def test_credentials_are_not_looked_for_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the last second before they expire there may be no newer ones yet."""
    looked = 0

    def find(given: object, profile: str | None) -> credentials.Credentials:
        nonlocal looked
        looked += 1
        return found(given, profile)

    found = credentials.find
    monkeypatch.setattr(credentials, "find", find)
    with Simulation(1, lifetime=2.5) as simulation:
        simulation.after(2.4, simulation.renew)
        items = [[0, index, "good", 0.2] for index in range(20)]
        options = {"chunksize": 1, "max_concurrency": 1, **simulation.options}
        assert len(list(lambdamap.map(work, items, **options))) == len(items)
        assert 2 <= looked <= 8
        assert sum(RUNS.values()) == len(items)


def test_each_promise_is_described() -> None:
    source = (ROOT / "tests" / "support" / "checks" / "plans.py").read_text()
    promises = set(re.findall(r"f?\"([a-z-]+): ", source))
    page = (ROOT / "docs" / "invariants.md").read_text()
    assert promises == {"once", "not-means-not", "at-most-once", "ran-means-ran", "own-reply",
                        "order", "complete", "progress", "nothing-left", "one-item"}  # fmt: skip
    for promise in promises:
        assert f"| `{promise}` |" in page


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_plans(capfd: pytest.CaptureFixture[str]) -> None:
    assert explore(200_000, 1_000_000) == 200_000, capfd.readouterr().out


def test_there_are_mutants() -> None:
    assert len(MUTANTS) >= 5


@pytest.mark.parametrize("patch", MUTANTS, ids=lambda path: path.stem)
def test_a_mutant_is_found(patch: Path, tmp_path: Path) -> None:
    """Its first line names the promises that it breaks."""
    promises, _, text = patch.read_text().partition("\n")
    shutil.copytree(
        ROOT / "pylambdamap", tmp_path / "pylambdamap",
        ignore=shutil.ignore_patterns("__pycache__", "_net.*.so"),
    )  # fmt: skip
    subprocess.run(["git", "apply", "-"], cwd=tmp_path, input=text, text=True, check=True)
    done = run(f"import plans; plans.explore({SEARCH})", tmp_path / "pylambdamap")
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^([\w-]+): ", done.stdout)
    assert found and set(found) <= set(promises.split()), (
        done.stdout or f"{patch.name} is not found"
    )
