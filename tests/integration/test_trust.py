"""What a deployed worker runs for whom, and what it says to the others. Nothing of it has run then.

The functions are deployed as people do it: nothing set but what a test sets.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import operator
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

import lambdamap
import tasks
from lambdamap.local import LocalLambda

Kind = Literal["builtin", "awslambdaric"]
Write = Callable[[str, str], Any]


@contextlib.contextmanager
def deployed(
    handler: str = "plain", kind: Kind = "builtin", **variables: str
) -> Iterator[LocalLambda]:
    """A function on "AWS", to which the maps inside go."""
    environment = {f"DEPLOYED_{name}": value for name, value in variables.items()}
    with (
        LocalLambda(
            handler=f"deployed.{handler}", kind=kind, sandboxes=1, environment=environment
        ) as function,
        lambdamap.configure(
            function="f",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        yield function


@pytest.fixture(
    scope="module",
    params=[("plain", "builtin"), ("wrapped", "awslambdaric"), ("zappa", "builtin")],
    ids=lambda param: param[0],
)
def worker(request: pytest.FixtureRequest) -> Iterator[LocalLambda]:
    with deployed(*request.param) as function:
        yield function


@pytest.fixture(scope="module")
def by_value() -> Iterator[LocalLambda]:
    with deployed(LAMBDAMAP_BY_VALUE="1") as function:
        yield function


@pytest.fixture
def here_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes and imports modules that no worker started before can import."""
    monkeypatch.syspath_prepend(str(tmp_path))
    made = []

    def write(name: str, source: str) -> Any:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()
        made.append(name)
        return importlib.import_module(name)

    yield write
    for name in made:
        sys.modules.pop(name, None)


def refused(function: Callable[..., Any], text: str, **options: Any) -> lambdamap.WorkerInitError:
    """The map fails with this text, once, and says that nothing has run."""
    with pytest.raises(lambdamap.WorkerInitError, match=text) as caught:
        lambdamap.my_map(function, [1, 2, 3], 1, **options)
    assert caught.value.ran == "NOT"
    assert caught.value.partial == {}
    return caught.value


# --- nothing set --------------------------------------------------------------------------------


def test_functions_and_classes_of_modules_run(worker: LocalLambda) -> None:
    assert lambdamap.my_map(tasks.square, [1, 2], 1) == [1, 4]
    assert lambdamap.my_map(functools.partial(tasks.add, y=5), [1, 2], 1) == [6, 7]
    for make in (tasks.Point, tasks.Point.of):
        assert [str(p) for p in lambdamap.my_map(make, [1, 2], 1)] == ["Point(1)", "Point(2)"]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (abs, "builtins:abs"),
        (os.system, "posix:system"),
        (operator.index, "_operator:index"),
        (functools.partial(pow, 2), "builtins:pow"),
    ],
)
def test_the_standard_library_is_refused(worker: LocalLambda, function: Any, name: str) -> None:
    error = refused(function, f"{name} is in the standard library: wrap it in a function of your")
    assert f"LAMBDAMAP_ALLOW={name} on the worker" in str(error)


def test_nothing_travels_by_value(worker: LocalLambda) -> None:
    text = "LAMBDAMAP_BY_VALUE=1 on it .*--by-value.*--module"
    refused(lambda x: x, text)
    refused(tasks.square, text, by_value=True)


def test_nothing_is_unpickled(worker: LocalLambda) -> None:
    item = tasks.Sack(1)
    with pytest.raises(lambdamap.EncodeError, match=r"item 0.*tasks.Sack.*allow_pickle=True") as no:
        lambdamap.my_map(tasks.identity, [item], 1)
    assert no.value.ran == "NOT"
    with pytest.raises(lambdamap.WorkerInitError, match="LAMBDAMAP_BY_VALUE=1"):
        lambdamap.my_map(tasks.identity, [item], 1, allow_pickle=True)


def test_a_module_that_the_worker_does_not_have(worker: LocalLambda, here_only: Write) -> None:
    module = here_only("only_here", "def f(x): return x")
    text = r"cannot import only_here .*ModuleNotFoundError: .*by_value=\[only_here\]"
    refused(module.f, text)


def test_a_function_that_the_worker_does_not_have(
    worker: LocalLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newer(x: Any) -> Any:
        return x

    newer.__module__, newer.__qualname__ = "tasks", "newer"
    monkeypatch.setattr(tasks, "newer", newer, raising=False)
    refused(newer, "tasks on the worker has no newer")


def test_data_of_a_package_that_the_worker_does_not_have() -> None:
    import pandas as pd

    with deployed("without_pandas"):
        with pytest.raises(lambdamap.WorkerInitError, match="the items need pandas") as caught:
            lambdamap.groupby_apply(tasks.identity, pd.DataFrame({"k": [1], "x": [2]}).groupby("k"))
        assert caught.value.ran == "NOT"


# --- LAMBDAMAP_ALLOW and LAMBDAMAP_BY_VALUE -----------------------------------------------------


def test_allow_names_what_may_be_called() -> None:
    with deployed(LAMBDAMAP_ALLOW="tasks:sq*, builtins:abs"):
        assert lambdamap.my_map(tasks.square, [3], 1) == [9]
        assert lambdamap.my_map(abs, [-3], 1) == [3]
        refused(tasks.identity, "LAMBDAMAP_ALLOW on the worker does not allow tasks:identity: add")
        refused(lambda x: x, "set LAMBDAMAP_BY_VALUE=1")


def test_by_value(by_value: LocalLambda, here_only: Write) -> None:
    assert lambdamap.my_map(lambda x: x + 1, [1, 2], 1) == [2, 3]
    module = here_only(
        "mine",
        """
        FACTOR = 3
        def helper(x): return FACTOR * x
        def f(x): return helper(x) + 1
        """,
    )
    refused(module.f, "cannot import mine on the worker")
    for wish in ([module], ["mine"], True):
        assert lambdamap.my_map(module.f, [1, 2], 1, by_value=wish) == [4, 7]


def test_a_function_by_value_that_needs_what_is_not_there(
    by_value: LocalLambda, here_only: Write
) -> None:
    module = here_only("near", "def g(x): return x")
    error = refused(lambda x: module.g(x), "ModuleNotFoundError: .*'near'")
    assert "by_value=[near]" in str(error)
    assert lambdamap.my_map(lambda x: module.g(x), [3], 1, by_value=[module]) == [3]


def test_allow_pickle(by_value: LocalLambda) -> None:
    item = tasks.Sack(1)
    with pytest.raises(lambdamap.EncodeError, match="allow_pickle=True"):
        lambdamap.my_map(tasks.identity, [item], 1)
    assert lambdamap.my_map(tasks.identity, [item], 1, allow_pickle=True)[0].content == 1
    with pytest.raises(lambdamap.EncodeError, match="f's result cannot be sent back") as caught:
        lambdamap.my_map(tasks.Sack, [1], 1)
    assert caught.value.ran == "RAN"
    assert "allow_pickle=True" in str(caught.value)


# --- stale code ---------------------------------------------------------------------------------


def test_a_worker_with_older_code_is_told_of_once_a_map(here_only: Write, tmp_path: Path) -> None:
    module = here_only("deployed_code", "def f(x): return x, 'old'")
    with deployed():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert lambdamap.my_map(module.f, [1], 1) == [(1, "old")]
        (tmp_path / "deployed_code.py").write_text("def f(x): return x, 'brand new'")
        importlib.reload(module)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert lambdamap.my_map(module.f, [1, 2, 3], 1) == [(n, "old") for n in (1, 2, 3)]
        assert [warning.category for warning in caught] == [lambdamap.StaleCodeWarning]
        assert "deployed_code" in str(caught[0].message)
        assert caught[0].filename == __file__


# --- what other libraries' functions need, as their pages say ---------------------------------------


def test_functions_of_installed_packages_need_allowing(worker: LocalLambda) -> None:
    import numpy as np

    text = r"numpy.linalg:norm belongs to the installed distribution numpy"
    error = refused(np.linalg.norm, text)
    assert 'set LAMBDAMAP_ALLOW="numpy:* numpy.*:*" on the worker' in str(error)


def test_joblib_as_its_page_says() -> None:
    import joblib
    import numpy as np

    import lambdamap.integrations.joblib

    rows = [[3.0, 4.0], [6.0, 8.0], [0.0, 2.0]]
    both = [joblib.delayed(np.linalg.norm)(row) for row in rows]
    both += [joblib.delayed(tasks.square)(n) for n in range(4)]
    with joblib.parallel_config(backend="lambdamap", n_jobs=2):
        with deployed(LAMBDAMAP_ALLOW="tasks:* tasks.*:*"):
            assert joblib.Parallel()(both[3:]) == [0, 1, 4, 9]
            with pytest.raises(
                lambdamap.WorkerInitError, match=r"does not allow numpy.linalg:norm"
            ):
                joblib.Parallel()(both[:3])
        with deployed(LAMBDAMAP_ALLOW="tasks:* tasks.*:* numpy.linalg:norm"):
            assert joblib.Parallel(batch_size=7)(both) == [5.0, 10.0, 2.0, 0, 1, 4, 9]


def test_pandas_as_its_page_says() -> None:
    import pandas as pd

    grouped = pd.DataFrame({"k": list("aabb"), "x": [1.0, 2.0, 3.0, 5.0]}).groupby("k")["x"]
    with deployed(LAMBDAMAP_ALLOW="tasks:* tasks.*:*"):
        assert lambdamap.groupby_apply(tasks.size, grouped).tolist() == [2, 2]
        with pytest.raises(
            lambdamap.WorkerInitError, match=r"does not allow pandas\.\S+:Series.mean"
        ):
            lambdamap.groupby_apply(pd.Series.mean, grouped)
    with deployed(LAMBDAMAP_ALLOW="tasks:* tasks.*:* pandas.*:Series.mean"):
        assert lambdamap.groupby_apply(pd.Series.mean, grouped).tolist() == [1.5, 4.0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_tsfresh_as_its_page_says() -> None:
    import numpy as np
    import pandas as pd
    from tsfresh import extract_features
    from tsfresh.feature_extraction import MinimalFCParameters

    from lambdamap.integrations.tsfresh import LambdaDistributor

    series = pd.DataFrame({"id": np.repeat([1, 2, 3], 9), "x": np.arange(27.0) % 5})

    def features() -> Any:
        return extract_features(
            series,
            column_id="id",
            default_fc_parameters=MinimalFCParameters(),
            distributor=LambdaDistributor(),
        )

    name = "tsfresh.feature_extraction.extraction:_do_extraction_on_chunk"
    with (
        deployed(LAMBDAMAP_ALLOW="tasks:*"),
        pytest.raises(lambdamap.WorkerInitError, match=f"does not allow {name}"),
    ):
        features()
    with deployed(LAMBDAMAP_ALLOW=f"tasks:* {name}"):
        assert features()["x__maximum"].tolist() == [4.0, 4.0, 4.0]
