"""joblib's Parallel on the local Lambda; scikit-learn gives the numbers that it gives with loky."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import joblib
import pytest

import lambdamap
import lambdamap.integrations.joblib  # registers the backend
import tasks
from driver import api_options, until
from scripted import Server, hold, once, run

HANG_S = 30

on_lambda = partial(joblib.parallel_config, backend="lambdamap")


@pytest.fixture
def local(sandbox_kind: str) -> Iterator[None]:
    with lambdamap.configure(backend="local", local=sandbox_kind):
        yield


def squares(n: int) -> list[int]:
    return [i * i for i in range(n)]


def calls(function: Callable[..., Any], n: int) -> Iterator[Any]:
    return (joblib.delayed(function)(i) for i in range(n))


@pytest.mark.usefixtures("local")
def test_both_kinds() -> None:
    with on_lambda():
        assert joblib.Parallel()(calls(tasks.square, 100)) == squares(100)
        assert joblib.Parallel(n_jobs=2)(calls(tasks.square, 30)) == squares(30)
        factor = 3
        assert joblib.Parallel()(calls(lambda x: x * factor, 5)) == [0, 3, 6, 9, 12]
        with pytest.raises(ValueError, match="seven is out"):
            joblib.Parallel()(calls(tasks.fail_at_seven, 10))


@pytest.mark.usefixtures("local")
def test_errors_in_place_and_tasks_that_are_tried_again(tmp_path: Path) -> None:
    """Each task by itself, whatever batches joblib makes."""
    kinds = ["a", "die", "b", "raise", "c"]
    with on_lambda(on_error="return"):
        found = joblib.Parallel(n_jobs=2, batch_size=5)(
            joblib.delayed(tasks.risky)(kind) for kind in kinds
        )
    assert [found[i] for i in (0, 2, 4)] == ["a", "b", "c"]
    assert type(found[1]) is lambdamap.WorkerCrashedError and found[1].ran == "RAN"
    assert type(found[3]) is ValueError and lambdamap.failure(found[3]) is not None
    with on_lambda(retries=2, retry_delay=0.001):
        parallel = joblib.Parallel(n_jobs=2, batch_size=3)
        flaky = joblib.delayed(tasks.raise_at_first)
        assert parallel(flaky(str(tmp_path), n, n % 3) for n in range(6)) == list(range(6))
        assert [(tmp_path / str(n)).stat().st_size for n in range(6)] == [1, 2, 3] * 2
        with pytest.raises(ValueError, match="attempt"):
            parallel(flaky(str(tmp_path), n, 9) for n in range(10, 13))


@pytest.mark.usefixtures("local")
def test_last_stats_are_those_of_the_parallel() -> None:
    with on_lambda():
        joblib.Parallel(batch_size=10)(calls(tasks.square, 100))
    stats = lambdamap.last_stats()
    assert stats is not None
    assert 10 <= stats.chunks == stats.requests <= 100  # joblib makes the last batches smaller
    with on_lambda(), pytest.raises(ValueError, match="seven is out"):
        joblib.Parallel(batch_size=1)(calls(tasks.fail_at_seven, 10))
    stats = lambdamap.last_stats()
    assert stats is not None
    assert 1 <= stats.chunks <= 10


def options_for(server: Server) -> dict[str, Any]:
    options = api_options(server)
    del options["chunksize"], options["progress"]
    return options


class TestParallel:
    @pytest.fixture(autouse=True)
    def _backend(self) -> Iterator[None]:
        with lambdamap.configure(backend="local"), on_lambda():
            yield

    def test_the_work_is_elsewhere_and_at_once(self) -> None:
        from lambdamap.local import shared

        until(lambda: shared().ready() == shared().sandboxes)
        pids = joblib.Parallel(n_jobs=-1)(calls(tasks.pid_after_a_moment, 8))
        assert os.getpid() not in pids
        assert len(set(pids)) > 1 or shared().sandboxes == 1

    def test_n_jobs(self) -> None:
        from lambdamap.integrations.joblib import LambdaBackend
        from lambdamap.local import shared

        sandboxes = shared().sandboxes
        backend = LambdaBackend(backend="local")
        assert backend.effective_n_jobs(-1) == 2 * sandboxes
        assert backend.effective_n_jobs(-2) == 2 * sandboxes - 1
        assert backend.effective_n_jobs(500) == 500
        assert backend.effective_n_jobs(None) == 1
        assert joblib.effective_n_jobs(-1) == 2 * sandboxes
        with pytest.raises(ValueError, match="n_jobs == 0"):
            joblib.Parallel(n_jobs=0)(calls(tasks.square, 2))
        assert joblib.Parallel(n_jobs=1)(calls(tasks.pid, 2)) == [os.getpid()] * 2

    def test_options(self) -> None:
        with (
            pytest.raises(lambdamap.ConfigError, match="unknown option"),
            on_lambda(functoin="f"),
        ):
            pass

    def test_batches(self) -> None:
        assert joblib.Parallel(batch_size=7)(calls(tasks.square, 50)) == squares(50)
        found = joblib.Parallel(batch_size="auto")(calls(tasks.square, 500))
        assert found == squares(500)

    def test_functions_mixed_in_a_batch(self) -> None:
        some = [
            joblib.delayed(tasks.square)(3),
            joblib.delayed(lambda x: -x)(4),
            joblib.delayed(tasks.add)(1, y=2),
        ]
        assert joblib.Parallel(batch_size=3)(some) == [9, -4, 3]

    def test_generators(self) -> None:
        for return_as in ("generator", "generator_unordered"):
            results = joblib.Parallel(return_as=return_as)(calls(tasks.square, 40))
            assert sorted(results) == squares(40)
        naps = (joblib.delayed(tasks.sleep)(seconds) for seconds in [0, *[600] * 8])
        results = joblib.Parallel(batch_size=1, return_as="generator")(naps)
        assert next(results) == 0
        with pytest.warns(UserWarning, match="have been cancelled"):
            results.close()

    def test_used_again(self) -> None:
        with joblib.Parallel(n_jobs=2) as parallel:
            for _ in range(3):
                assert parallel(calls(tasks.square, 10)) == squares(10)
            with pytest.raises(ValueError, match="seven"):
                parallel(calls(tasks.fail_at_seven, 10))
            assert parallel(calls(tasks.square, 10)) == squares(10)

    def test_nested(self) -> None:
        assert joblib.Parallel()(calls(tasks.nested_joblib, 4)) == [
            (squares(n), "ThreadingBackend") for n in range(4)
        ]

    def test_what_cannot_be_sent(self) -> None:
        with pytest.raises(lambdamap.EncodeError, match="cannot be"):
            joblib.Parallel()([joblib.delayed(tasks.square)(x for x in ())] * 2)


def test_the_functions_name() -> None:
    with (
        pytest.raises(lambdamap.ConfigError, match="no AWS region"),
        on_lambda(function="f"),
    ):
        joblib.Parallel()(calls(tasks.square, 2))


@pytest.mark.parametrize("pre_dispatch", ["all", "2*n_jobs", 3])
def test_pre_dispatch(pre_dispatch: Any) -> None:
    """How far it goes while no call has ended."""
    gate = threading.Event()
    taken = []

    def endless() -> Iterator[Any]:
        for i in range(60):
            taken.append(i)
            yield joblib.delayed(tasks.square)(i)

    with Server(then=once(gate, run())) as server, on_lambda(**options_for(server)):
        parallel = joblib.Parallel(
            n_jobs=2, batch_size=1, pre_dispatch=pre_dispatch, return_as="generator"
        )
        results = parallel(endless())
        assert len(taken) == {"all": 60, "2*n_jobs": 4, 3: 3}[pre_dispatch]
        gate.set()
        assert list(results) == squares(60)


def test_timeout() -> None:
    with Server(then=hold()) as server:
        started = time.monotonic()
        with on_lambda(**options_for(server)), pytest.raises(multiprocessing.TimeoutError):
            joblib.Parallel(n_jobs=2, timeout=0.3)(calls(tasks.square, 4))
        assert time.monotonic() - started < HANG_S


def scores(backend: str, **options: Any) -> tuple[Any, Any]:
    from sklearn.datasets import load_breast_cancer, load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    with joblib.parallel_config(backend=backend, n_jobs=2, **options):
        x, y = load_breast_cancer(return_X_y=True)
        model = make_pipeline(StandardScaler(), LogisticRegression())
        validated = cross_val_score(model, x, y, cv=4)
        x, y = load_digits(return_X_y=True)
        forest = RandomForestClassifier(30, random_state=3).fit(x[:1000], y[:1000])
        return validated, forest.predict_proba(x[1000:])


@pytest.mark.timeout(300)  # importing scikit-learn, here, in loky's processes and in every sandbox
def test_scikit_learn_gives_the_same_numbers() -> None:
    import numpy as np

    wanted, found = scores("loky"), scores("lambdamap", local="builtin")
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])


@pytest.mark.soak
def test_scikit_learn_on_awslambdaric() -> None:
    import numpy as np

    wanted, found = scores("loky"), scores("lambdamap", local="awslambdaric")
    assert np.array_equal(found[0], wanted[0])
    assert np.array_equal(found[1], wanted[1])
