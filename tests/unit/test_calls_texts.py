"""What the functions that a user calls say of wrong use: the one place that holds their wording."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pandas as pd
import pytest

import lambdamap
import tasks

UNTYPED: Any = lambdamap
INLINE = {"backend": "inline"}


def executor(**options: Any) -> lambdamap.LambdaExecutor:
    return lambdamap.LambdaExecutor(**INLINE, **options)


def after_shutdown() -> None:
    with executor() as ended:
        pass
    ended.submit(tasks.square, 1)


def mapped_badly(**options: Any) -> None:
    with executor() as running:
        list(running.map(tasks.square, [1], **options))


def taken(*lengths: int) -> list[Any]:
    return list(lambdamap.map(max, *map(range, lengths), strict=True, **INLINE))  # type: ignore[arg-type]


async def count(to: int) -> AsyncIterator[int]:
    for i in range(to):
        yield i


def awaited(*lengths: int) -> list[Any]:
    async def main() -> list[Any]:
        return [x async for x in lambdamap.amap(max, *map(count, lengths), strict=True, **INLINE)]

    return asyncio.run(main())


FRAME = (
    "data is a DataFrame, which iterates over its column names: pass df.groupby(column) to map over "
    "groups, or df.itertuples() to map over rows"
)
LENGTHS = [
    ((2, 1), "map() argument 2 is shorter than argument 1"),
    ((1, 2), "map() argument 2 is longer than argument 1"),
    ((2, 2, 1), "map() argument 3 is shorter than arguments 1-2"),
    ((1, 1, 2), "map() argument 3 is longer than arguments 1-2"),
]
CASES: list[tuple[Callable[[], object], type[Exception], str]] = [
    (
        lambda: lambdamap.my_map(tasks.square, [1], 1, f=tasks.square),
        TypeError,
        "my_map() got two functions: pass map_function or f, not both",
    ),
    (
        lambda: lambdamap.my_map(tasks.square),
        TypeError,
        "my_map() needs a function and data",
    ),
    (
        lambda: UNTYPED.my_map(tasks.square, [1], 1, False, "yes"),
        lambdamap.ConfigError,
        "invoke_lambda must be True, False or None, not 'yes'",
    ),
    (
        lambda: lambdamap.partition([1], 0),
        lambdamap.ConfigError,
        "chunk_size must be an int of at least 1, not 0",
    ),
    (
        lambda: lambdamap.send_to_other_lambda(tasks.square, 3),
        lambdamap.ConfigError,
        "send_to_other_lambda needs a function: set LAMBDAMAP_FUNCTION, or run it on Lambda",
    ),
    (
        lambda: lambdamap.encode_payload([1, object()], False),
        lambdamap.EncodeError,
        "the payload[1] cannot be encoded: builtins.object needs pickle: pass built-in types, numpy "
        "or pandas data, or allow_pickle=True",
    ),
    (
        lambda: lambdamap.decode_payload("NaN"),
        lambdamap.DecodeError,
        "the payload is neither JSON nor lambdamap's text form: NaN is not JSON",
    ),
    (
        lambda: lambdamap.decode_payload("[" * 100_000),
        lambdamap.DecodeError,
        "the payload's JSON is nested too deeply",
    ),
    (
        lambda: lambdamap.decode_payload("[1"),
        lambdamap.DecodeError,
        "the payload is neither JSON nor lambdamap's text form: Expecting ',' delimiter: line 1 "
        "column 3 (char 2)",
    ),
    (
        lambda: lambdamap.estimate(tasks.square, iter([1])),
        lambdamap.ConfigError,
        "estimate needs n=, the number of items: items has no length",
    ),
    (
        lambda: lambdamap.estimate(tasks.square, iter([]), 3, **INLINE),
        lambdamap.ConfigError,
        "estimate needs at least one item",
    ),
    (
        lambda: lambdamap.estimate(tasks.square, [1], memory=[0]),
        lambdamap.ConfigError,
        "memory must be a list of integers of at least 1, not [0]",
    ),
    (
        lambda: UNTYPED.estimate(tasks.square, [1], memory=1769),
        lambdamap.ConfigError,
        "memory must be a list of integers of at least 1, not 1769",
    ),
    (
        lambda: UNTYPED.estimate(tasks.square, [1], n=1e6),
        lambdamap.ConfigError,
        "n must be an integer of at least 1, not 1000000.0",
    ),
    (
        lambda: lambdamap.estimate(tasks.square, []),
        lambdamap.ConfigError,
        "estimate needs at least one item",
    ),
    (
        lambda: lambdamap.estimate(tasks.square, [1], architecture="arm"),
        lambdamap.ConfigError,
        "architecture must be 'x86_64' or 'arm64', not 'arm'",
    ),
    (
        lambda: UNTYPED.map(tasks.square),
        TypeError,
        "map() needs a function and at least one iterable",
    ),
    (
        lambda: UNTYPED.amap(tasks.square),
        TypeError,
        "amap() needs a function and at least one iterable",
    ),
    (lambda: lambdamap.map(tasks.square, pd.DataFrame({"a": [1]})), TypeError, FRAME),
    *((lambda n=n: taken(*n), ValueError, message) for n, message in LENGTHS),
    *((lambda n=n: awaited(*n), ValueError, message) for n, message in LENGTHS),
    (
        lambda: executor(max_workers=2, max_concurrency=2),
        lambdamap.ConfigError,
        "max_workers and max_concurrency are the same option: pass only one",
    ),
    (
        lambda: executor(max_workers=0),
        lambdamap.ConfigError,
        "max_workers must be greater than 0, not 0",
    ),
    (lambda: mapped_badly(buffersize=1.5), TypeError, "buffersize must be an integer or None"),
    (
        lambda: mapped_badly(buffersize=0),
        lambdamap.ConfigError,
        "buffersize must be None or > 0",
    ),
    (after_shutdown, RuntimeError, "cannot schedule new futures after shutdown"),
]


@pytest.mark.parametrize(("call", "kind", "message"), CASES)
def test_wrong_use(call: Callable[[], object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == message


class Never(Executor):
    """Runs nothing."""

    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        return Future()


def test_results_that_are_dropped_or_shown() -> None:
    results = lambdamap.map(tasks.square, [1, 2], chunksize=1, backend=Never())
    assert repr(results) == "<lambdamap.map: 2 items in 2 chunks, 2 requests>"
    dropped = [results]
    del results
    with pytest.warns(ResourceWarning) as caught:
        dropped.clear()
    assert [str(warning.message) for warning in caught] == [
        "unclosed lambdamap.map: its unfinished chunks were cancelled; close it, or use it in a with "
        "statement"
    ]


def test_async_results_that_are_dropped_or_shared() -> None:
    async def main() -> None:
        results = lambdamap.amap(tasks.square, [1], backend=Never())
        first = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError) as caught:
            await anext(results)
        assert str(caught.value) == "another task is already waiting for this map"
        await results.aclose()
        with pytest.raises(asyncio.CancelledError) as ended:
            await first
        assert ended.value.args in ((), ("the map was closed",))

        dropped = [lambdamap.amap(tasks.square, [1], backend=Never())]
        with pytest.warns(ResourceWarning) as warned:
            dropped.clear()
        assert [str(warning.message) for warning in warned] == [
            "unclosed lambdamap.amap: its unfinished chunks were cancelled; use it in an async with "
            "statement, or await its aclose()"
        ]

    asyncio.run(main())


def test_a_result_that_does_not_come_in_time() -> None:
    with lambdamap.LambdaExecutor(backend=Never()) as running:
        waiting: Iterator[int] = running.map(tasks.square, [1], timeout=0.01)
        with pytest.raises(TimeoutError) as caught:
            next(waiting)
        assert str(caught.value) == "timed out while waiting for a result"
        running.abort()
