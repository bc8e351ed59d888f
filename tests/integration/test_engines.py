"""Other engines as backends: the same results and errors as on Lambda."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks


def _processes() -> Executor:
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


@pytest.fixture(scope="module")
def dask() -> Iterator[Executor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from distributed import Client, LocalCluster
    support = str(Path(tasks.__file__).parent)
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            env={"PYTHONPATH": support},
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor()


@pytest.fixture(params=["threads", "processes", "dask"])
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "dask":
        yield request.getfixturevalue("dask")
        return
    with ThreadPoolExecutor(2) if request.param == "threads" else _processes() as executor:
        yield executor


def outcome(function: Callable[..., Any], items: Any, backend: Any, **options: Any) -> Any:
    """Results, and the error behind them with all that a caller may look at."""
    taken: list[Any] = []
    results = lambdamap.map(function, items, backend=backend, **options)
    try:
        for result in results:
            taken.append(result)
    except Exception as error:
        remote = lambdamap.failure(error)
        assert remote is not None
        about = (list(remote.indices), remote.ran, list(remote.not_run))
        return taken, type(error), error.args, about
    return taken


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
def test_as_on_lambda(engine: Any) -> None:
    factor = 3
    cases: list[tuple[Callable[..., Any], list[Any], dict[str, Any]]] = [
        (tasks.square, list(range(50)), {}),
        (tasks.square, list(range(50)), {"chunksize": 7}),
        (lambda x: x * factor, list(range(5)), {}),
        (tasks.fail_at_seven, list(range(20)), {"chunksize": 3}),
        (tasks.fail_oddly, [1], {}),
        (tasks.stop, [1], {}),
        (tasks.unsendable, [1, 2], {"chunksize": 1}),
        (tasks.square, [0, 1, (x for x in ())], {"chunksize": 1}),
        (tasks.nested, [3], {}),
    ]
    for function, items, options in cases:
        assert outcome(function, items, engine, **options) == outcome(
            function, items, "local", **options
        )
    found = list(lambdamap.map_unordered(tasks.square, range(30), backend=engine))
    assert sorted(found) == [x * x for x in range(30)]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_prints_are_shown(engine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lambdamap.my_map(tasks.say, ["a", "b", "c"], 2, backend=engine)
    shown = capsys.readouterr().out.splitlines()
    assert sorted(shown) == ["[0] saying a", "[1] saying b", "[2] saying c"]


def test_a_process_that_dies() -> None:
    with _processes() as executor:
        with pytest.raises(lambdamap.WorkerCrashedError) as caught:
            list(lambdamap.map(tasks.die, [3], backend=executor))
        assert caught.value.ran == "MAYBE"
        with pytest.raises(lambdamap.WorkerCrashedError) as caught:
            list(lambdamap.map(tasks.square, [3], backend=executor))
        assert caught.value.ran == "NOT"


def test_one_that_is_shut_down() -> None:
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    with pytest.raises(lambdamap.ConfigError):
        list(lambdamap.map(tasks.square, [3], backend=executor))


def test_timeout_and_cancellation() -> None:
    with ThreadPoolExecutor(1) as executor:
        with tasks.HELD, pytest.raises(lambdamap.DeadlineError) as caught:
            items = lambdamap.map(
                tasks.held_at_one, [0, 1], chunksize=1, backend=executor, timeout=1.5
            )
            list(items)
        assert (list(caught.value.indices), caught.value.ran) == ([1], "MAYBE")
        with tasks.HELD, pytest.raises(lambdamap.DeadlineError) as caught:
            executor.submit(tasks.held, 0)
            list(lambdamap.map(tasks.sleep, [0.0], backend=executor, timeout=0.2))
        assert caught.value.ran == "NOT"


def test_who_waits_for_an_abandoned_map_is_told_at_once() -> None:
    with ThreadPoolExecutor(1) as executor, tasks.HELD:
        results = lambdamap.map(tasks.held, [1], backend=executor)
        behind = executor.submit(len, "")
        results._engine.abandon("the request is over")
        with pytest.raises(CancelledError, match="the request is over"):
            next(results)
        assert not behind.done()
