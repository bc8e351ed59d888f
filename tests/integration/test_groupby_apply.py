"""groupby_apply on the local Lambda: results, errors, and how much memory it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pandas as pd
import pytest

import groups
import lambdamap
from driver import notes
from lambdamap.local import LocalLambda
from places import search_path

FRAME = pd.DataFrame({
    "k": pd.Categorical(list("abcabcab"), list("abcz")),
    "l": [1, 1, 2, 2, 1, 1, 2, 2],
    "x": np.linspace(0, 1, 8) ** 2,
    "when": pd.date_range("2024-02-28", periods=8, tz="Europe/Berlin"),
})  # fmt: skip


@pytest.mark.parametrize("observed", [True, False])
@pytest.mark.parametrize("by", ["l", ["l"], ["l", "k"]])
def test_frames(local: None, by: Any, observed: bool) -> None:
    grouped = FRAME.groupby(by, observed=observed)
    function = groups.span if observed else groups.count
    found = lambdamap.groupby_apply(function, grouped)
    pd.testing.assert_series_equal(found, grouped.apply(function))


def test_results_that_are_frames(local: None) -> None:
    found = lambdamap.groupby_apply(groups.describe, FRAME.groupby("l"))
    pd.testing.assert_frame_equal(found, FRAME.groupby("l").apply(groups.describe))
    both = lambdamap.groupby_apply(lambda g: g[["x"]] - g["x"].mean(), FRAME.groupby("l"))
    pd.testing.assert_frame_equal(
        both, FRAME.groupby("l").apply(lambda g: g[["x"]] - g["x"].mean())
    )


def test_series_and_selections(local: None) -> None:
    found = lambdamap.groupby_apply(groups.key_and_columns, FRAME.groupby("k", observed=True)["x"])
    assert found.tolist() == [("a", []), ("b", []), ("c", [])]
    assert found.name == "x"
    found = lambdamap.groupby_apply(
        groups.key_and_columns, FRAME.groupby(["l", "k"], observed=True)
    )
    assert found.iloc[0] == ((1, "a"), ["x", "when"])


def test_keys_that_are_intervals_times_and_missing() -> None:
    cuts = FRAME.groupby(pd.cut(FRAME["x"], [0, 0.2, 0.7, 1]), observed=False)
    days = FRAME.groupby(pd.Grouper(key="when", freq="3D"))
    months = FRAME.groupby(FRAME["when"].dt.tz_localize(None).dt.to_period("M"))
    holes = FRAME.assign(k=FRAME["k"].where(FRAME["l"] == 1)).groupby(
        "k", dropna=False, observed=True
    )
    for grouped in (cuts, days, months, holes):
        for function in (groups.count, groups.key_and_columns):
            with lambdamap.configure(backend="inline", allow_pickle=False):
                found = lambdamap.groupby_apply(function, grouped)
            pd.testing.assert_series_equal(found, grouped.apply(function))


@pytest.mark.pandas
def test_no_groups() -> None:
    for grouped in (FRAME.head(0).groupby("l"), FRAME.head(0).groupby("l")["x"]):
        found = lambdamap.groupby_apply(groups.count, grouped, backend="inline")
        more = {} if found.ndim == 1 or pd.__version__ > "3" else {"include_groups": False}
        expected = grouped.apply(groups.count, **more)
        assert type(found) is type(expected) and found.equals(expected)


@pytest.mark.pandas
@pytest.mark.parametrize("backend", ["inline", "local"])
def test_an_error_names_the_group(backend: str) -> None:
    grouped = FRAME.groupby("k", observed=True)
    with pytest.raises(ValueError, match="no b today") as caught:
        lambdamap.groupby_apply(groups.fail_at_b, grouped, chunksize=1, backend=backend)
    assert notes(caught.value)[-1] == "item 1 is the group 'b'"
    known = lambdamap.failure(caught.value)
    assert known is not None and known.indices == (1,)
    assert known.partial[0] == 3


@pytest.mark.pandas
def test_last_stats() -> None:
    lambdamap.groupby_apply(len, FRAME.groupby("l"), chunksize=1, backend="inline")
    stats = lambdamap.last_stats()
    assert stats is not None
    assert stats.items == stats.chunks == FRAME["l"].nunique()


@pytest.mark.pandas
def test_a_group_that_cannot_be_sent() -> None:
    frame = pd.DataFrame({"k": [1, 2, 2], "x": [1.0, 2.0, threading.Lock()]})
    grouped = frame.groupby("k")
    with pytest.raises(lambdamap.EncodeError, match=r"item 1.* cannot be sent") as caught:
        lambdamap.groupby_apply(groups.count, grouped, chunksize=1, backend="inline")
    assert notes(caught.value) == ["item 1 is the group 2"]
    assert caught.value.ran == "NOT"
    assert caught.value.partial == {0: 1}


def failing_at_b(function: Any) -> Any:
    def guarded(group: Any) -> Any:
        if "b" in group.name:
            raise ValueError("no b today", group.name)
        return function(group)

    return guarded


@pytest.mark.pandas
@pytest.mark.parametrize(
    "function",
    [
        groups.count,
        lambda g: g[["x"]].sum(),  # a row each
        lambda g: g[["x"]] - g["x"].mean(),  # labelled as the group
        lambda g: g["x"] * 2,
        lambda g: g[["x"]].describe(),  # all labelled alike
    ],
    ids=["scalar", "row", "frame", "series", "describe"],
)
@pytest.mark.parametrize("by", ["k", ["l", "k"]])
def test_groups_that_failed_are_missing(function: Any, by: Any) -> None:
    """The others are as without them, and their places are in the index."""
    frame = FRAME.astype({"k": str}).drop(columns="when")
    options = {"backend": "inline", "by_value": True, "on_error": "return"}
    found = lambdamap.groupby_apply(failing_at_b(function), frame.groupby(by), **options)
    assert isinstance(found, lambdamap.GroupResults)
    whole = lambdamap.groupby_apply(function, frame.groupby(by), backend="inline", by_value=True)
    assert found.combined.index.equals(whole.index)
    level = found.combined.index.get_level_values("k")
    assert found.combined[level != "b"].equals(whole[level != "b"].astype(float))
    assert found.combined[level == "b"].isna().all(axis=None)
    keys = [key for key, _ in frame.groupby(by)]
    failed = [key for key in keys if "b" in key]
    assert found.errors.index.tolist() == failed
    assert [error.args for error in found.errors] == [("no b today", key) for key in failed]
    assert len(found) == len(keys)
    for key, result in zip(keys, found, strict=True):
        if "b" in key:
            known = lambdamap.failure(result)
            assert known is not None and list(known.indices) == [keys.index(key)]
            assert result is found.errors[key]
    assert repr(found) == f"<groupby_apply: {len(keys)} groups, {len(failed)} of them failed>"


@pytest.mark.pandas
def test_groups_without_and_with_nothing_but_errors() -> None:
    options: dict[str, Any] = {"backend": "inline", "on_error": "return"}
    grouped = FRAME.groupby("k", observed=True)
    none = lambdamap.groupby_apply(groups.count, grouped, **options)
    assert none.combined.equals(lambdamap.groupby_apply(groups.count, grouped, backend="inline"))
    assert len(none.errors) == 0 and list(none) == none.combined.tolist()
    all_of_them = lambdamap.groupby_apply(lambda g: 1 // 0, grouped, **options)
    assert all_of_them.combined.isna().all() and len(all_of_them.errors) == 3
    rows = lambdamap.groupby_apply(
        failing_at_b(lambda g: g[["x"]].iloc[: len(g) - 1]),
        FRAME.groupby("k", observed=True),
        **options,
    )
    assert rows.combined.index.get_level_values(0).tolist().count("b") == 1
    refused = lambdamap.groupby_apply(
        groups.count,
        pd.DataFrame({"k": [1, 2, 2], "x": [1.0, 2.0, threading.Lock()]}).groupby("k"),
        **options,
    )
    assert refused.combined[1] == 1 and isinstance(refused.errors[2], lambdamap.EncodeError)


@pytest.mark.parametrize(
    ("function", "grouped", "kind", "text"),
    [
        (
            groups.count,
            FRAME,
            TypeError,
            r"must be df.groupby\(...\) .*, got DataFrame",
        ),
        (
            groups.count,
            FRAME.set_index("when").resample("D"),
            TypeError,
            "got DatetimeIndexResampler",
        ),
        (FRAME.groupby("l"), groups.count, TypeError, "the first argument of groupby_apply"),
        ("sum", FRAME.groupby("l"), TypeError, "'sum' is not callable"),
    ],
)
def test_wrong_arguments(function: Any, grouped: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        lambdamap.groupby_apply(function, grouped)


def test_options() -> None:
    with pytest.raises(lambdamap.ConfigError, match="codec='json' does not support groups"):
        lambdamap.groupby_apply(groups.count, FRAME.groupby("l"), codec="json")
    with pytest.raises(lambdamap.ConfigError, match="unknown option"):
        lambdamap.groupby_apply(groups.count, FRAME.groupby("l"), chunk_size=3)
    with pytest.raises(lambdamap.ConfigError, match="unknown option 'power'"):
        lambdamap.groupby_apply(groups.count, FRAME.groupby("l"), power=3)


def test_an_old_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pd, "__version__", "2.1.4")
    with pytest.raises(lambdamap.ConfigError, match=r"needs pandas 2\.2 or newer"):
        lambdamap.groupby_apply(groups.count, FRAME.groupby("l"))


def test_prints_and_progress(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[int, int | None]] = []
    lambdamap.groupby_apply(
        groups.say,
        FRAME.groupby("l"),
        backend="inline",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert capsys.readouterr().out == "[0] group 1\n[1] group 2\n"
    assert seen[-1] == (2, 2)


# --- memory -------------------------------------------------------------------------------------

CLIENT = """
import json, sys
import numpy, pandas
import lambdamap, groups

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmHWM"))

what, rows, budget = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
url, access_key, secret_key = sys.argv[4:]
lambdamap.configure(function="f", endpoint_url=url, region="us-east-1", max_inflight_bytes=budget,
                    credentials=(access_key, secret_key))
random = numpy.random.default_rng(1)
frame = pandas.DataFrame({"k": random.permutation(rows) // 10, **{c: random.random(rows) for c in "xyz"}})
lambdamap.groupby_apply(groups.count, frame.head(200).groupby("k"))  # both have loaded the same
if what == "loop":
    for key, group in frame.groupby("k"): pass
else:
    results = lambdamap.groupby_apply(groups.count, frame.groupby("k"))
    assert len(results) == rows // 10 and (results == 10).all()
print(json.dumps(peak()))
"""


def peak_mb(what: str, rows: int, budget: int, function: LocalLambda) -> float:
    keys = (function.endpoint_url, function.access_key, function.secret_key)
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, what, str(rows), str(budget), *keys],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    )
    assert done.returncode == 0, done.stderr
    return float(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("rows", "budget_mb"),
    [(10_000, 3), pytest.param(1_000_000, 64, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_memory_is_that_of_the_loop_and_the_budget(rows: int, budget_mb: int) -> None:
    """Ten rows a group; the local Lambda, which holds bytes of its own, is in this process."""
    with LocalLambda(function_name="f") as function:
        loop = peak_mb("loop", rows, budget_mb << 20, function)
        ours = peak_mb("ours", rows, budget_mb << 20, function)
    results_mb = rows / 10 * 40 / 2**20  # an int and its place, and pandas' column of them
    print(f"loop {loop:.1f} MB, groupby_apply {ours:.1f} MB, {ours - loop:+.1f}")
    assert ours - loop <= budget_mb + results_mb
