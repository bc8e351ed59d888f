"""kill -9 at random moments of a map with a journal: no item is lost, and none runs twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options, until
from scripted import Server

ITEMS = 2000


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lambdamap.flight.resume", "sqlite3", "tasks"])
    return context


def run_map(options: dict[str, Any]) -> None:
    """Map until killed."""
    with lambdamap.map(tasks.square, range(ITEMS), **options) as results:
        for _ in results:
            pass


def killed(
    processes: ForkServerContext, server: Server, options: dict[str, Any], dice: random.Random
) -> None:
    """Run a map in another process and kill it while it runs."""
    process = processes.Process(target=run_map, args=(options,))
    before = server.complete
    process.start()
    assert process.pid is not None
    chunks = -(-ITEMS // options["chunksize"])
    wanted = before + dice.randrange(1, chunks)
    until(lambda: server.complete >= wanted or not process.is_alive())
    time.sleep(dice.random() / 500)
    process.kill()
    process.join()
    process.close()


def check(
    processes: ForkServerContext, tmp_path: Path, moment: int, kills: int, **resumed: Any
) -> None:
    dice = random.Random(f"{os.environ.get('LAMBDAMAP_SEED', '')}/{moment}/{resumed}")
    with Server(check_signatures=False) as server:
        options = api_options(
            server,
            chunksize=dice.choice([5, 20, 50]),
            max_concurrency=dice.choice([2, 8]),
            journal=str(tmp_path / "job.journal"),
            on_error="return",
            **resumed,
        )
        for _ in range(kills):
            killed(processes, server, options, dice)
        options["chunksize"] = dice.choice([7, 20, 64])
        with lambdamap.map(tasks.square, range(ITEMS), **options) as results:
            found = list(results)
            stats = results.stats
        again = server.complete
        with lambdamap.map(tasks.square, range(ITEMS), **options) as results:
            repeated = list(results)
        assert server.complete == again  # all of it came from the journal
    assert len(found) == ITEMS == len(repeated)
    interrupted = [at for at, result in enumerate(found) if isinstance(result, Exception)]
    for at in interrupted:
        error = found[at]
        assert isinstance(error, lambdamap.InterruptedJobError)
        assert (list(error.indices), error.ran) == ([at], "MAYBE")
        assert isinstance(repeated[at], lambdamap.InterruptedJobError)
    assert [result for at, result in enumerate(found) if at not in interrupted] == [
        at * at for at in range(ITEMS) if at not in interrupted
    ]
    assert stats.items == ITEMS
    at_once = options["max_concurrency"]
    twice = {at for at, runs in server.items.items() if runs > 1}
    if resumed:
        assert not interrupted
        assert set(server.items) == set(range(ITEMS))
    else:
        assert not twice
        assert set(range(ITEMS)) - set(interrupted) <= set(server.items)
    # What is waiting for the connection is begun, too: two windows.
    assert len(interrupted) <= kills * 2 * 50 * (at_once + 1)


@pytest.mark.parametrize("moment", range(16))
def test_no_item_is_lost_and_none_runs_twice(
    processes: ForkServerContext, tmp_path: Path, moment: int
) -> None:
    check(processes, tmp_path, moment, 1 + moment % 2)


@pytest.mark.parametrize("moment", range(4))
def test_what_may_have_run_is_run_again_on_request(
    processes: ForkServerContext, tmp_path: Path, moment: int
) -> None:
    check(processes, tmp_path, moment, 1 + moment % 2, rerun_maybe=True)


@pytest.mark.soak
@pytest.mark.parametrize("moment", range(200))
def test_at_many_moments(processes: ForkServerContext, tmp_path: Path, moment: int) -> None:
    check(processes, tmp_path, 1000 + moment, 1 + moment % 3)
