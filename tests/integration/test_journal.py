"""Maps with a journal: the same call again returns what is there, and runs the rest."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lambdamap
import tasks
from driver import api_options
from lambdamap.flight import replay
from lambdamap.flight.journal import Journal
from scripted import Connection, Request, Server, reset, run


@pytest.fixture
def journal(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "job.journal")


class Counted:
    """A function whose runs are counted."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = tmp_path / "runs"
        self.file.touch()

    @property
    def runs(self) -> list[int]:
        return [int(line) for line in self.file.read_text().split()]

    def options(self, **more: Any) -> dict[str, Any]:
        return {"backend": "inline", "chunksize": 3, **more}

    def f(self, *bad: int) -> Callable[[int], int]:
        return functools.partial(tasks.noted, str(self.file), bad)


@pytest.fixture
def counted(tmp_path: Path) -> Counted:
    return Counted(tmp_path)


def interrupted(function: Callable[..., Any], items: int, options: dict[str, Any]) -> list[Any]:
    """Take some results of a map and close it."""
    with lambdamap.map(function, range(20), **options) as results:
        return [next(results) for _ in range(items)]


def test_the_same_call_runs_the_rest(
    journal: str, counted: Counted, caplog: pytest.LogCaptureFixture
) -> None:
    options = counted.options(journal=journal)
    assert interrupted(counted.f(), 7, options) == [x * x for x in range(7)]
    before = len(counted.runs)
    assert 7 <= before < 20
    caplog.set_level(logging.INFO, "lambdamap")
    with lambdamap.map(counted.f(), range(20), **options) as results:
        assert list(results) == [x * x for x in range(20)]
    assert sorted(counted.runs) == list(range(20))
    assert f"{journal} has the results of {before} items; 0 failed, 0 may have run" in caplog.text
    stats = results.stats
    assert (stats.items, stats.items_from_journal) == (20, before)
    assert f"{before} not sent but from the journal" in repr(stats)
    with lambdamap.map(counted.f(), range(20), **options) as results:
        assert list(results) == [x * x for x in range(20)]
    assert (results.stats.items_from_journal, results.stats.chunks) == (20, 0)
    assert len(counted.runs) == 20


def test_a_longer_input_runs_what_is_new(journal: str, counted: Counted) -> None:
    options = counted.options(journal=journal)
    assert lambdamap.my_map(counted.f(), range(5), **options) == [x * x for x in range(5)]
    assert lambdamap.my_map(counted.f(), range(9), **options) == [x * x for x in range(9)]
    assert lambdamap.my_map(counted.f(), range(3), **options) == [0, 1, 4]
    assert sorted(counted.runs) == list(range(9))


def test_a_changed_item(journal: str, counted: Counted) -> None:
    options = counted.options(journal=journal)
    lambdamap.my_map(counted.f(), range(10), **options)
    taken = []
    with (
        pytest.raises(lambdamap.ConfigError, match="item 4 is not the one whose outcome") as caught,
        lambdamap.map(counted.f(), [0, 1, 2, 3, 40, 5], **options) as results,
    ):
        for result in results:
            taken.append(result)
    assert taken == [0, 1, 4, 9]
    assert caught.value.indices == (4,)
    assert len(counted.runs) == 10


def test_another_function_is_refused_before_anything_is_sent(journal: str) -> None:
    options = {"backend": "inline", "journal": journal}
    lambdamap.my_map(tasks.square, [1], **options)
    for function in (tasks.identity, functools.partial(tasks.square, 2), lambda x: x):
        with pytest.raises(lambdamap.ConfigError, match="is that of another map"):
            lambdamap.map(function, [1], **options)
    with pytest.raises(lambdamap.ConfigError, match="calls was 'item' and is 'star'"):
        lambdamap.starmap(tasks.square, [(1,)], **options)
    with pytest.raises(lambdamap.ConfigError, match="codec was 'native' and is 'json'"):
        lambdamap.map(tasks.square, [1], codec="json", **options)


def test_a_changed_lambda_is_another_function(journal: str) -> None:
    options = {"backend": "inline", "journal": journal}
    factor = 2
    assert lambdamap.my_map(lambda x: x * factor, [1, 2], **options) == [2, 4]
    assert lambdamap.my_map(lambda x: x * factor, [1, 2, 3], **options) == [2, 4, 6]
    factor = 3
    with pytest.raises(lambdamap.ConfigError, match="captured values of its lambda differ"):
        lambdamap.map(lambda x: x * factor, [1, 2], **options)


def test_arguments_of_a_partial_of_a_function_sent_by_value(journal: str) -> None:
    def scaled(factor: int, x: int, plus: int = 0) -> int:
        return factor * x + plus

    partial = functools.partial
    options = {"backend": "inline", "journal": journal}
    assert lambdamap.my_map(partial(scaled, 2, plus=1), [1, 2], **options) == [3, 5]
    assert lambdamap.my_map(partial(scaled, 2, plus=1), [1, 2, 3], **options) == [3, 5, 7]
    for changed in (partial(scaled, 3, plus=1), partial(scaled, 2), partial(scaled, 2, plus=2)):
        with pytest.raises(lambdamap.ConfigError, match="the arguments of its partial differ"):
            lambdamap.map(changed, [1, 2], **options)
    with pytest.raises(lambdamap.ConfigError, match="the arguments of its partial differ"):
        lambdamap.map(scaled, [1, 2], **options)


@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_errors_are_kept_too(journal: str, counted: Counted, on_error: str) -> None:
    options = counted.options(journal=journal)
    failing = counted.f(4, 5, 9)

    def outcomes() -> list[Any]:
        with lambdamap.map(failing, range(12), on_error="return", **options) as results:
            return [repr(result) for result in results]

    if on_error == "raise":
        for _ in range(2):  # from f, then from the journal
            with pytest.raises(ValueError, match="4") as caught:
                lambdamap.my_map(failing, range(12), **options)
            known = lambdamap.failure(caught.value)
            assert known is not None
            assert (known.indices, known.ran) == ((4,), "RAN")
            assert "in noted" in known.remote_traceback
        assert counted.runs.count(4) == 1
    expected = [f"ValueError({x})" if x in (4, 5, 9) else repr(x * x) for x in range(12)]
    assert outcomes() == outcomes() == expected
    assert sorted(counted.runs) == list(range(12))
    with pytest.raises(ValueError, match="4"):
        lambdamap.my_map(failing, range(12), **options)
    assert len(counted.runs) == 12


def test_failed_items_run_again_on_request(journal: str, counted: Counted) -> None:
    options = counted.options(journal=journal, on_error="return")
    failing = counted.f(4, 5, 9)
    lambdamap.my_map(failing, range(12), **options)
    switch = counted.file.with_name("runs.mended")
    switch.touch()
    found = lambdamap.my_map(failing, range(12), rerun_failed=True, **options)
    assert found == [x * x for x in range(12)]
    assert sorted(counted.runs) == sorted([*range(12), 4, 5, 9])
    assert lambdamap.my_map(failing, range(12), **options) == found
    assert len(counted.runs) == 15


def lose(first_items: Iterable[int]) -> Callable[[Connection, Request], None]:
    """Run the items, and lose the reply for chunks that begin at these."""
    wanted = set(first_items)
    losing, running = run(afterwards=reset()), run()

    def step(connection: Connection, request: Request) -> None:
        first = request.envelope["chunk"]
        (losing if first in wanted else running)(connection, request)

    return step


@pytest.mark.parametrize("again", [{}, {"rerun_maybe": True}, {"idempotent": True}])
def test_a_lost_reply(journal: str, again: dict[str, Any]) -> None:
    """The first map says what happened; the next ones what the journal knows of it."""
    with Server(then=lose([4])) as server:
        options = api_options(server, chunksize=2, journal=journal, on_error="return")
        first = lambdamap.my_map(tasks.square, range(10), **options)
        assert [type(found) for found in first[3:7]] == [
            int, lambdamap.ConnectionLostError, lambdamap.ConnectionLostError, int
        ]  # fmt: skip
        server.then = run()
        found = lambdamap.my_map(tasks.square, range(10), **{**options, **again})
        if again:
            assert found == [x * x for x in range(10)]
        else:
            for at in (4, 5):
                error = found[at]
                assert isinstance(error, lambdamap.InterruptedJobError)
                assert (list(error.indices), error.ran) == ([at], "MAYBE")
        runs = 2 if again else 1
        assert [server.items[at] for at in range(10)] == [
            runs if at in (4, 5) else 1 for at in range(10)
        ]


def test_what_was_not_run_is_not_marked(journal: str) -> None:
    """A chunk whose failure says NOT is sent by the next map."""
    with Server() as server:
        server.refuse()
        options = api_options(server, journal=journal, connect_timeout=0.1)
        with pytest.raises(lambdamap.ConnectError):
            lambdamap.my_map(tasks.square, range(5), **options)
        server.listen()
        assert lambdamap.my_map(tasks.square, range(5), **options) == [0, 1, 4, 9, 16]


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    data=st.lists(
        st.tuples(
            st.integers(0, 25),  # results taken
            st.one_of(st.just("auto"), st.integers(1, 9)),
            st.one_of(st.none(), st.integers(1, 6)),
            st.sampled_from(["map", "map_unordered", "starmap", "amap"]),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_however_often_it_is_interrupted(
    tmp_path_factory: pytest.TempPathFactory, data: list[tuple[int, Any, Any, str]]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    counted = Counted(folder)
    seen: set[int] = set()
    for taken, chunksize, buffersize, how in [*data, (25, 4, None, "map")]:
        options: dict[str, Any] = {
            "backend": "inline",
            "chunksize": chunksize,
            "buffersize": buffersize,
            "journal": str(folder / f"{'star' if how == 'starmap' else 'item'}"),
        }
        if how == "starmap":
            options["journal"] += "2"
            f = functools.partial(tasks.noted, os.devnull, ())
            expected = [x * x for x in range(20)]
            with lambdamap.starmap(f, [(x,) for x in range(20)], **options) as results:
                assert [x for x, _ in zip(results, range(taken), strict=False)] == expected[:taken]
            continue
        if how == "amap":
            found = asyncio.run(some_async(counted.f(), taken, options))
        else:
            with getattr(lambdamap, how)(counted.f(), range(20), **options) as results:
                found = [next(results) for _ in range(min(taken, 20))]
                if taken > 20:
                    assert list(results) == []
        if how == "map_unordered":
            assert set(found) <= {x * x for x in range(20)}
        else:
            assert found == [x * x for x in range(min(taken, 20))]
        seen.update(found)
    assert sorted(counted.runs) == list(range(20))


async def some_async(f: Callable[[int], int], taken: int, options: dict[str, Any]) -> list[int]:
    found: list[int] = []

    async def items() -> Any:
        for x in range(20):
            yield x

    async with lambdamap.amap(f, items(), **options) as results:
        if taken:
            async for result in results:
                found.append(result)
                if len(found) == taken:
                    break
    return found


def test_large_frames_and_values_of_every_kind(journal: str) -> None:
    pandas = pytest.importorskip("pandas")
    values = [b"x" * 300_000, {"a", "b"}, pandas.DataFrame({"a": [1, 2]}), 1.5, None, "ü" * 1000]
    options = {"journal": journal, "backend": "inline", "chunksize": 4}
    first = lambdamap.my_map(tasks.identity, values, **options)
    with lambdamap.map(tasks.identity, values, **{**options, "chunksize": 1}) as results:
        again = list(results)
    assert results.stats.items_from_journal == len(values)
    assert repr(first) == repr(again) == repr(values)


def test_the_other_calls(journal: str, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"k": list("abab"), "v": [1, 2, 3, 4]})
    options: dict[str, Any] = {"backend": "inline"}
    made = [
        lambdamap.groupby_apply(len, frame.groupby("k"), journal=journal, **options)
        for _ in range(2)
    ]
    assert made[0].equals(made[1])
    with lambdamap.LambdaExecutor(**options) as executor:
        path = tmp_path / "executor"
        for buffersize in (None, 2):
            results = executor.map(tasks.square, range(5), journal=path, buffersize=buffersize)
            assert list(results) == [0, 1, 4, 9, 16]


def test_where_there_is_no_journal(journal: str) -> None:
    with pytest.raises(lambdamap.ConfigError, match="pass it to map"):
        lambdamap.LambdaExecutor(journal=journal)
    with (
        lambdamap.configure(journal=journal),
        pytest.raises(lambdamap.ConfigError, match=r"pass it to LambdaExecutor.map\(\)"),
    ):
        lambdamap.LambdaExecutor()
    joblib = pytest.importorskip("lambdamap.integrations.joblib")
    with pytest.raises(lambdamap.ConfigError, match="joblib does not accept 'journal'"):
        joblib.LambdaBackend(journal=journal)
    assert not os.path.exists(journal)


def test_payloads(journal: str) -> None:
    from scripted import reply

    with Server(then=reply('{"answer": 42}')) as server:
        options = {**api_options(server), "journal": journal}
        del options["chunksize"]
        name = options.pop("function")
        for _ in range(2):
            with lambdamap.invoke_map(name, [{"id": 1}, {"id": 2}], **options) as results:
                assert list(results) == [{"answer": 42}] * 2
        assert server.complete == 2
        with pytest.raises(lambdamap.ConfigError, match="item 0 is not the one"):
            list(lambdamap.invoke_map(name, [{"id": 3}], **options))
        with pytest.raises(lambdamap.ConfigError, match="function was"):
            lambdamap.invoke_map("another", [{"id": 1}], **options)
        with pytest.raises(lambdamap.ConfigError, match="cannot be combined"):
            lambdamap.invoke_map(name, [1], durable_execution_name="x{index}", **options)


class _Full:
    """A journal whose disk becomes full after some commits."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, journal: Journal) -> None:
        self.left -= 1
        if self.left == 0:
            pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
            journal._db.execute(f"PRAGMA max_page_count = {pages}")


@pytest.mark.parametrize("after", [1, 2, 5])
def test_a_disk_that_becomes_full(
    journal: str, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    full, commit = _Full(after), Journal.commit

    def committing(self: Journal) -> None:
        full(self)
        commit(self)

    monkeypatch.setattr(Journal, "commit", committing)
    taken = []
    with Server() as server:
        options = api_options(server, journal=journal, max_concurrency=2)
        sizes = [20_000] * 40
        with (
            pytest.raises(OSError, match="the journal cannot be written") as caught,
            lambdamap.map(tasks.spaces, sizes, **options) as results,
        ):
            for result in results:
                taken.append(result)
        known = lambdamap.failure(caught.value)
        assert known is not None
        # What was finished is there: as a result, or with the error.
        assert set(known.partial.values()) <= {" " * 20_000}
        assert len(taken) + len(known.partial) <= sum(server.items.values()) < 40
        monkeypatch.undo()
        options["on_error"] = "return"
        found = lambdamap.my_map(tasks.spaces, sizes, **options)
        kept = [at for at, result in enumerate(found) if isinstance(result, str)]
        assert set(range(len(taken))) <= set(kept)  # what was returned is in the journal
        assert max(server.items.values()) == 1
    assert all(
        isinstance(found[at], lambdamap.InterruptedJobError) for at in range(40) if at not in kept
    )


def _lines(items: Iterator[Any]) -> Iterator[Any]:
    yield from items


def test_memory_is_not_needed_for_all_results(
    journal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are read when their turn comes."""
    options = {"backend": "inline", "journal": journal, "chunksize": 1}
    lambdamap.my_map(tasks.spaces, [1000] * 50, **options)
    read = []
    frame = replay.Replay.frame.fget
    assert frame is not None

    def reading(self: replay.Replay) -> Any:
        read.append(self.first_item)
        return frame(self)

    monkeypatch.setattr(replay.Replay, "frame", property(reading))
    with lambdamap.map(tasks.spaces, _lines(iter([1000] * 50)), **options) as results:
        next(results)
        assert len(set(read)) < 10
        assert len(list(results)) == 49


@pytest.mark.parametrize("chunksize", [1, 4, 20])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_items_that_are_tried_again(
    journal: str, tmp_path: Path, on_error: str, chunksize: int
) -> None:
    """The journal has the last outcome of each; when resuming, retries are counted anew."""
    folder = tmp_path / "attempts"
    folder.mkdir()
    flaky = functools.partial(tasks.raise_at_first, str(folder))
    pairs = list(enumerate([0, 1, 2, 0, 5, 1, 0]))
    options: dict[str, Any] = {
        "backend": "inline",
        "chunksize": chunksize,
        "journal": journal,
        "retry_delay": 0.001,
    }

    def runs() -> list[int]:
        return [(folder / str(at)).stat().st_size for at in range(len(pairs))]

    found = lambdamap.my_map(_Star(flaky), pairs, retries=2, on_error="return", **options)
    assert [x for x in found if isinstance(x, int)] == [0, 1, 2, 3, 5, 6]
    assert found[4].args == ("attempt", 3)
    assert runs() == [1, 2, 3, 1, 3, 2, 1]
    found = lambdamap.my_map(_Star(flaky), pairs, on_error="return", **options)
    assert found[4].args == ("attempt", 3)
    assert runs() == [1, 2, 3, 1, 3, 2, 1]
    found = lambdamap.my_map(_Star(flaky), pairs, retries=4, on_error=on_error, **options)
    assert found == list(range(7))
    assert runs() == [1, 2, 3, 1, 6, 2, 1]
    assert lambdamap.my_map(_Star(flaky), pairs, **options) == found


class _Star:
    """A function of one argument from one of several."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, item: tuple[Any, ...]) -> Any:
        return self.function(*item)


def test_payloads_that_are_tried_again(journal: str) -> None:
    from scripted import function_error, reply

    raised = function_error({"errorType": "ValueError", "errorMessage": "no"})
    with Server([reply("1"), raised, raised, raised], then=reply("2")) as server:
        options = {**api_options(server, max_concurrency=1), "journal": journal}
        del options["chunksize"]
        options |= {"retry_delay": 0.001, "on_error": "return", "function": "f"}
        name = options.pop("function")
        with lambdamap.invoke_map(name, [1, 2], retries=2, **options) as results:
            first, second = results
        assert (first, type(second)) == (1, lambdamap.RemoteError)
        with lambdamap.invoke_map(name, [1, 2], **options) as results:
            assert type(list(results)[1]) is lambdamap.RemoteError
        assert server.complete == 4
        with lambdamap.invoke_map(name, [1, 2], retries=1, **options) as results:
            assert list(results) == [1, 2]
        assert server.complete == 5


def test_an_estimate_does_not_touch_it(journal: str) -> None:
    found = lambdamap.estimate(abs, range(100), memory=[1769], backend="inline", journal=journal)
    assert found.items == 100
    assert not os.path.exists(journal)


@pytest.mark.usefixtures("local")
def test_a_chunk_that_crashed_and_was_halved(journal: str) -> None:
    """The parts take the place of the chunk's failure; the item at fault keeps its own."""
    options: dict[str, Any] = {
        "journal": journal, "on_error": "return", "chunksize": 8, "max_attempts": 1
    }  # fmt: skip
    for again in (True, False):
        with lambdamap.map(tasks.exit_at_five, range(8), idempotent=again, **options) as results:
            found = list(results)
        assert found[:5] + found[6:] == [0, 1, 2, 3, 4, 6, 7]
        assert isinstance(found[5], lambdamap.WorkerCrashedError)
        assert (list(found[5].indices), found[5].ran) == ([5], "RAN")
    assert results.stats.items_from_journal == 8
