"""retries=: items whose function raised are tried again by themselves, others are not."""

from __future__ import annotations

import asyncio
import functools
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options, notes
from scripted import Server, function_error, plain_reply

FAST: dict[str, Any] = {"retry_delay": 0.001}


@pytest.fixture
def flaky(tmp_path: Path) -> Any:
    return functools.partial(tasks.raise_at_first, str(tmp_path))


def runs(tmp_path: Path) -> dict[int, int]:
    """How often f has run, by item."""
    return {int(path.name): path.stat().st_size for path in tmp_path.iterdir()}


ITEMS = [0, 1, 2, 0, 3, 1]  # each raises so often before it returns
PAIRS = list(enumerate(ITEMS))


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("chunksize", [1, 4, "auto"])
def test_each_item_by_itself(flaky: Any, tmp_path: Path, on_error: str, chunksize: Any) -> None:
    options = {"on_error": on_error, "chunksize": chunksize, "retries": 3, **FAST}
    found = list(lambdamap.starmap(flaky, PAIRS, **options))
    assert found == list(range(6))
    assert runs(tmp_path) == {index: fails + 1 for index, fails in PAIRS}


@pytest.mark.parametrize("codec", ["native", "json"])
def test_the_last_exception_tells_of_the_others(flaky: Any, tmp_path: Path, codec: str) -> None:
    options: dict[str, Any] = {"chunksize": 3, "retries": 2, "backend": "local", **FAST}
    if codec == "json":
        flaky, options["codec"] = tasks.raise_at_first, codec
        pairs = [(str(tmp_path), *pair) for pair in PAIRS]
    else:
        pairs = PAIRS
    found = list(lambdamap.starmap(flaky, pairs, on_error="return", **options))
    assert [found[i] for i in (0, 1, 2, 3, 5)] == [0, 1, 2, 3, 5]
    assert found[4].args == ("attempt", 3)
    assert notes(found[4])[-2:] == [f"attempt {n}: ValueError: ('attempt', {n})" for n in (1, 2)]
    known = lambdamap.failure(found[4])
    assert known is not None and (list(known.indices), known.ran) == ([4], "RAN")
    with pytest.raises(ValueError, match="attempt") as caught:
        list(lambdamap.starmap(flaky, [pairs[0], (*pairs[4][:-1], 9)], **options))
    assert notes(caught.value)[-2].startswith("attempt 1: ValueError: ")


def test_only_what_was_asked_for(flaky: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"retries": 3, "backend": "inline", "on_error": "return", **FAST}
    found = list(lambdamap.starmap(flaky, PAIRS, retry_on=(KeyError, OSError), **options))
    assert [type(x) for x in found] == [int, ValueError, ValueError, int, ValueError, ValueError]
    assert set(runs(tmp_path).values()) == {1}
    # Neither what cannot be sent back nor a crash is an exception of f.
    refused = list(lambdamap.map(tasks.unsendable, [-1], allow_pickle=False, **options))
    assert type(refused[0]) is lambdamap.EncodeError
    crashed = lambdamap.map(
        tasks.risky, ["die", "a"], chunksize=1, **{**options, "backend": "local"}
    )
    assert [type(x) for x in crashed] == [lambdamap.WorkerCrashedError, str]
    assert crashed.stats.requests == 2


def test_not_after_the_deadline(flaky: Any, tmp_path: Path) -> None:
    options = {"retries": 3, "retry_delay": 1000.0, "timeout": 100.0, "backend": "inline"}
    with pytest.raises(ValueError, match="attempt"):
        list(lambdamap.starmap(flaky, PAIRS, **options))
    assert runs(tmp_path)[1] == 1


@pytest.mark.usefixtures("local")
def test_in_an_event_loop_and_in_executors(flaky: Any, tmp_path: Path) -> None:
    async def mapped() -> list[Any]:
        numbers = ([index for index, _ in PAIRS], ITEMS)
        return [x async for x in lambdamap.amap(flaky, *numbers, retries=3, **FAST)]

    assert asyncio.run(mapped()) == list(range(6))
    with lambdamap.LambdaExecutor(retries=3, **FAST) as executor:
        futures = [executor.submit(flaky, index + 10, fails) for index, fails in PAIRS]
        assert [future.result() for future in futures] == list(range(10, 16))
        assert list(executor.map(flaky, range(20, 26), ITEMS)) == list(range(20, 26))
    counted = Counter({index + ten: fails + 1 for index, fails in PAIRS for ten in (0, 10, 20)})
    assert runs(tmp_path) == counted


def test_payloads(serve: Any) -> None:
    """An exception of a function in any language; the payload is sent again as it was."""
    seen: Counter[bytes] = Counter()

    def step(connection: Any, request: Any) -> None:
        seen[request.body] += 1
        if seen[request.body] < 3:
            function_error({"errorType": "Odd", "errorMessage": "no"})(connection, request)
        else:
            connection.send(plain_reply(request.body))

    server: Server = serve(then=step)
    options = api_options(server)
    payloads = [{"n": n} for n in range(5)]
    for name in ("function", "chunksize"):
        options.pop(name, None)
    assert list(lambdamap.invoke_map("f", payloads, retries=2, **FAST, **options)) == payloads
    assert set(seen.values()) == {3}
