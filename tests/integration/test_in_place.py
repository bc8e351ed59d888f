"""on_error="return": what concerns single items is in their places, and the others have results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import lambdamap
import tasks


def seen(found: list[Any]) -> list[Any]:
    """Each result, or what is known of the error in its place, which has the item's own index."""
    shown = []
    for index, result in enumerate(found):
        if isinstance(result, Exception):
            known = lambdamap.failure(result)
            assert known is not None and list(known.indices) == [index], (index, known)
            shown.append((type(result).__name__, known.ran))
        else:
            shown.append(result)
    return shown


CRASHED = ("WorkerCrashedError", "RAN")


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("codec", ["native", "json"])
@pytest.mark.parametrize("chunksize", [1, 100, "auto"])
def test_items_that_cannot_be_sent(codec: str, chunksize: Any) -> None:
    """The items before each are a chunk, and packing goes on after it; also of the first and the last."""
    items: list[Any] = [object(), 1, 2, object(), object(), 3, 4.5, "a", object()]
    options = {"codec": codec, "chunksize": chunksize, "allow_pickle": False}
    found = list(lambdamap.map(tasks.identity, items, on_error="return", **options))
    refused = ("EncodeError", "NOT")
    expected = [refused if type(item) is object else item for item in items]
    assert seen(found) == expected


def test_only_items_that_cannot_be_sent() -> None:
    """As many as there are, they do not fill the memory: a few are packed ahead."""
    read = 0

    def endless() -> Iterator[object]:
        nonlocal read
        while True:
            read += 1
            yield object()

    options = {"on_error": "return", "allow_pickle": False, "backend": "inline"}
    with lambdamap.map(tasks.identity, endless(), **options) as results:
        for index in range(50):
            error: Any = next(results)
            assert error.indices == (index,)
        assert read < 100


@pytest.mark.usefixtures("local")
def test_a_crash_of_one_item() -> None:
    items = ["a", "die", "raise", "large", "b"]
    expected = ["a", CRASHED, ("ValueError", "RAN"), ("PayloadTooLargeError", "RAN"), "b"]
    options = {"chunksize": 1, "on_error": "return"}
    assert seen(list(lambdamap.map(tasks.risky, items, **options))) == expected
    pairs = [(kind,) for kind in items]
    assert seen(list(lambdamap.starmap(tasks.risky, pairs, **options))) == expected
    assert seen(lambdamap.my_map(tasks.risky, items, **options)) == expected

    async def arriving() -> AsyncIterator[str]:
        for kind in items:
            yield kind

    async def mapped(source: Any) -> list[Any]:
        return [result async for result in lambdamap.amap(tasks.risky, source, **options)]

    assert seen(asyncio.run(mapped(items))) == expected
    assert seen(asyncio.run(mapped(arriving()))) == expected
    placed = dict(
        (result, items.index(result)) if isinstance(result, str) else (result, result_index(result))
        for result in lambdamap.map_unordered(tasks.risky, items, **options)
    )
    by_place = [result for result, _ in sorted(placed.items(), key=lambda pair: pair[1])]
    assert seen(by_place) == expected


def result_index(error: Exception) -> int:
    known = lambdamap.failure(error)
    assert known is not None
    return known.indices[0]


@pytest.mark.usefixtures("local")
def test_a_crash_of_a_chunk() -> None:
    """Which of its items was running is unknown; each has an error of its own."""
    items = ["a", "b", "c", "d", "die", "e", "f", "g"]
    found = list(lambdamap.map(tasks.risky, items, chunksize=3, on_error="return"))
    crashed = ("WorkerCrashedError", "MAYBE")
    assert seen(found) == ["a", "b", "c", crashed, crashed, crashed, "f", "g"]
    assert str(found[4]).startswith("item 4 of items 3 to 5: ")
    assert "[f may have run; " in str(found[4])


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_a_failed_item_printed(on_error: str, capfd: pytest.CaptureFixture[str]) -> None:
    def speak(x: int) -> Any:
        print("item", x)
        if x == 1:
            raise ValueError("not one")
        return iter(()) if x == 2 else x

    options = {"chunksize": 3, "allow_pickle": False, "by_value": True, "on_error": on_error}
    results = lambdamap.map(speak, range(3), **options)
    assert next(results) == 0
    found = []
    for error in results if on_error == "return" else ():
        found.append(lambdamap.failure(error))
    if on_error == "raise":
        with pytest.raises(ValueError, match="not one") as caught:
            next(results)
        found.append(lambdamap.failure(caught.value))
    shown = [known.output for known in found if known is not None]
    assert shown == ["item 1\n", "item 2\n"][: len(found)]
    assert "[1] item 1" in capfd.readouterr().out


@pytest.mark.usefixtures("local")
def test_the_item_at_fault_is_found_by_halving() -> None:
    """If f may run again, the other items of a crashed chunk have results."""
    items = ["a", "b", "c", "die", "d", "e", "f", "g"]
    options = {"chunksize": 8, "on_error": "return", "idempotent": True}
    results = lambdamap.map(tasks.risky, items, **options)
    assert seen(list(results)) == [CRASHED if item == "die" else item for item in items]
    assert results.stats.requests == 7  # 8, twice 4, 2 and 1
    with pytest.raises(lambdamap.WorkerCrashedError) as caught:
        list(lambdamap.map(tasks.risky, items, chunksize=8, idempotent=True))
    assert caught.value.indices == range(8)


def test_what_concerns_all_items_ends_the_map() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise KeyError("input")

    options = {"on_error": "return", "backend": "inline", "chunksize": 1}
    results = lambdamap.map(tasks.identity, numbers(), **options)
    assert next(results) == 1
    with pytest.raises(KeyError, match="input"):
        next(results)
    with pytest.raises(lambdamap.DeadlineError):
        list(lambdamap.map(tasks.sleep, [0.0, 0.2, 0.2], timeout=0.1, **options))


def test_an_executors_calls() -> None:
    with lambdamap.LambdaExecutor(backend="local") as executor:
        found = [executor.submit(tasks.risky, kind) for kind in ("a", "die", "b")]
        assert [future.result() for future in (found[0], found[2])] == ["a", "b"]
        assert type(found[1].exception()) is lambdamap.WorkerCrashedError
