"""What the engine does with results and chunks whose turn has not come."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options
from lambdamap.flight.engine import Engine
from scripted import Connection, Request, Server, once, run


def _head_last(gate: threading.Event) -> Any:
    """Answer item 0 behind all others."""

    def step(connection: Connection, request: Request) -> None:
        chosen = once(gate, run()) if request.envelope["chunk"] == 0 else run()
        chosen(connection, request)

    return step


def _finished(results: Any) -> list[Any]:
    return list(results._engine._ready.values())


@pytest.mark.parametrize("megabytes", [0, 1])
def test_large_results_far_ahead_stay_as_they_came(megabytes: int) -> None:
    gate = threading.Event()
    with Server(then=_head_last(gate)) as server:
        results = lambdamap.map(
            tasks.megabytes, [megabytes] * 40, **api_options(server, max_concurrency=20)
        )
        engine: Any = results._engine
        while len(_finished(results)) < 39:
            assert engine.step() is None
            engine.wait()
        waiting = [chunk for chunk in _finished(results) if chunk.completion is not None]
        decoded = sum(chunk.size for chunk in _finished(results))
        assert decoded <= 16 << 20
        assert bool(waiting) == (megabytes > 0)
        gate.set()
        assert [len(result) for result in results] == [megabytes * 1_000_000] * 40


def test_at_most_two_windows_beyond_the_head() -> None:
    gate = threading.Event()
    taken: list[int] = []

    def items() -> Any:
        for i in range(100):
            taken.append(i)
            yield i

    with Server(then=_head_last(gate)) as server:
        results = lambdamap.map(tasks.square, items(), **api_options(server, max_concurrency=3))
        engine: Any = results._engine
        while len(_finished(results)) < 5:
            assert engine.step() is None
            engine.wait()
        for _ in range(3):
            assert engine.step() is None
            engine.wait(0.02)
        assert len(taken) == 6
        gate.set()
        assert list(results) == [i * i for i in range(100)]


def test_an_error_behind_the_head_waits_for_its_turn_and_keeps_what_is_done() -> None:
    gate = threading.Event()
    with Server(then=_head_last(gate)) as server:
        results = lambdamap.map(tasks.fail_at_seven, [0, 1, 7, 3], **api_options(server))
        engine: Any = results._engine
        while len(_finished(results)) < 3:
            assert engine.step() is None
            engine.wait()
        gate.set()
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="seven") as caught:
            next(results)
    known = lambdamap.failure(caught.value)
    assert known is not None and known.partial == {3: 3}


def test_a_reply_that_comes_while_a_map_ends_is_kept_or_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    decode = Engine._results_of

    def slowly(engine: Engine, chunk: Any) -> list[Any]:
        gate.set()
        time.sleep(0.5)
        return decode(engine, chunk)

    with Server(then=_head_last(gate)) as server:
        results = lambdamap.map(tasks.square, [3, 4], **api_options(server))
        engine: Any = results._engine
        while len(_finished(results)) < 1:
            assert engine.step() is None
            engine.wait()
        monkeypatch.setattr(Engine, "_results_of", slowly)
        error = KeyError("of the caller")
        engine.end(error)
    known = lambdamap.failure(error)
    assert known is not None and known.partial == {1: 16}
    assert engine.left_items == 1


def test_the_byte_budget_holds_chunks_back() -> None:
    items = [b"x" * 300_000 for _ in range(30)]
    found = lambdamap.map(len, items, chunksize=1, backend="local", max_inflight_bytes=1_000_000)
    assert list(found) == [300_000] * 30
    assert list(lambdamap.map(len, items, chunksize=1, backend="local")) == [300_000] * 30
