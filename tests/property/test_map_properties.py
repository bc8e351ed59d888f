"""The map family beside the builtin map, executors and asyncio: the same results in the same order,
the same exception at the same place, for random inputs, failures and early exits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lambdamap
import tasks

HANG_S = 60

good = st.tuples(st.just("give"), st.integers(-9, 9))
bad = st.tuples(st.sampled_from(["value", "key", "zero"]), st.integers(-9, 9))
ops = st.lists(st.one_of(good, good, good, bad), max_size=30)
chunksizes = st.one_of(st.just("auto"), st.integers(1, 12))
buffersizes = st.one_of(st.none(), st.integers(1, 20))
stops = st.one_of(st.none(), st.integers(0, 20))

Outcome = tuple[list[Any], Any]


class Broken:
    """An input that ends, or that raises at a place."""

    def __init__(self, items: list[Any], at: int | None) -> None:
        self.items = items
        self.at = at

    def __iter__(self) -> Iterator[Any]:
        for number, item in enumerate(self.items):
            if number == self.at:
                raise LookupError("input", number)
            yield item

    async def slowly(self) -> AsyncIterator[Any]:
        for item in self:
            await asyncio.sleep(0)
            yield item


def take(results: Iterable[Any], stop: int | None) -> Outcome:
    """What comes out, as far as it is taken, and what ends it."""
    taken: list[Any] = []
    iterator = iter(results)
    try:
        while stop is None or len(taken) < stop:
            taken.append(next(iterator))
    except StopIteration:
        return taken, "end"
    except Exception as error:
        again = next(iterator, "nothing")
        return taken, (type(error), error.args, again)
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
    return taken, "left"


async def take_async(results: AsyncIterator[Any], stop: int | None) -> Outcome:
    taken: list[Any] = []
    try:
        while stop is None or len(taken) < stop:
            taken.append(await anext(results))
    except StopAsyncIteration:
        return taken, "end"
    except Exception as error:
        again = await anext(results, "nothing")
        return taken, (type(error), error.args, again)
    return taken, "left"


async def take_map(results: lambdamap.AsyncResults[Any], stop: int | None) -> Outcome:
    async with results:
        return await take_async(results, stop)


class Once:
    """builtin map, finished for good after an exception, as generators and executors are."""

    def __init__(self, function: Callable[..., Any], *inputs: Iterable[Any], strict: bool = False):
        def run() -> Iterator[Any]:
            for group in zip(*inputs, strict=strict):
                yield function(*group)

        self._run = run()

    def __iter__(self) -> Iterator[Any]:
        return self._run


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@given(ops, chunksizes, buffersizes, stops, st.one_of(st.none(), st.integers(0, 30)))
def test_as_the_builtin(
    items: list[Any], chunksize: Any, buffersize: int | None, stop: int | None, at: int | None
) -> None:
    wanted = take(Once(tasks.act, Broken(items, at)), stop)
    options: dict[str, Any] = {
        "chunksize": chunksize,
        "buffersize": buffersize,
        "backend": "inline",
    }
    assert take(lambdamap.map(tasks.act, Broken(items, at), **options), stop) == wanted

    async def main() -> None:
        found = await take_map(lambdamap.amap(tasks.act, Broken(items, at), **options), stop)
        assert found == wanted
        slowly = Broken(items, at).slowly()
        found = await take_map(lambdamap.amap(tasks.act, slowly, **options), stop)
        assert found == wanted

    asyncio.run(main())


@given(ops, chunksizes, st.integers(1, 20), stops)
def test_unordered_is_a_permutation(
    items: list[Any], chunksize: Any, buffersize: int, stop: int | None
) -> None:
    options: dict[str, Any] = {"chunksize": chunksize, "backend": "inline"}
    good_ones = [op for op in items if op[0] == "give"]
    wanted = sorted(map(tasks.act, good_ones))
    assert sorted(lambdamap.map_unordered(tasks.act, good_ones, **options)) == wanted
    found, end = take(
        lambdamap.map_unordered(tasks.act, items, buffersize=buffersize, **options), stop
    )
    assert all(value in wanted for value in found)
    if stop is None and len(good_ones) < len(items):
        assert end[0] in (ValueError, KeyError, ZeroDivisionError)


@given(ops, st.lists(st.integers(-9, 9), max_size=30), st.booleans(), chunksizes)
def test_several_inputs(items: list[Any], numbers: list[int], strict: bool, chunksize: Any) -> None:
    def text(outcome: Outcome) -> Any:
        taken, end = outcome
        if isinstance(end, tuple) and end[0] is ValueError and end[1][0] != "asked for":
            return taken, ValueError, end[1][0].replace("zip()", "map()")
        return taken, end

    wanted = text(take(Once(tasks.act_on_two, items, numbers, strict=strict), None))
    options: dict[str, Any] = {"chunksize": chunksize, "backend": "inline", "strict": strict}
    found = take(lambdamap.map(tasks.act_on_two, items, numbers, **options), None)
    assert text(found) == wanted

    async def main() -> None:
        mixed = lambdamap.amap(tasks.act_on_two, Broken(items, None).slowly(), numbers, **options)
        assert text(await take_map(mixed, None)) == wanted

    asyncio.run(main())
    if not strict:
        pairs = zip(items, numbers, strict=False)
        found = take(lambdamap.starmap(tasks.act_on_two, pairs, backend="inline"), None)
        assert text(found) == wanted


@given(ops, chunksizes, st.integers(0, 20))
def test_each_error_in_its_place(items: list[Any], chunksize: Any, buffersize: int) -> None:
    def guarded(op: Any) -> Any:
        try:
            return tasks.act(op)
        except Exception as error:
            return type(error), error.args

    found = lambdamap.map(
        tasks.act, items, on_error="return", chunksize=chunksize, backend="inline",
        buffersize=buffersize or None,
    )  # fmt: skip
    plain = [(type(x), x.args) if isinstance(x, Exception) else x for x in found]
    assert plain == [guarded(op) for op in items]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(items=ops, chunksize=chunksizes, buffersize=buffersizes, stop=stops)
def test_as_an_executors_map(
    threads: ThreadPoolExecutor, items: list[Any], chunksize: Any, buffersize: Any, stop: Any
) -> None:
    wanted = take(threads.map(tasks.act, items), stop)
    with lambdamap.LambdaExecutor(backend="inline") as executor:
        results = executor.map(tasks.act, items, chunksize=chunksize, buffersize=buffersize)
        assert take(results, stop) == wanted
        futures = [executor.submit(tasks.act, item) for item in items]
        own = [threads.submit(tasks.act, item) for item in items]
        for found, future in zip(futures, own, strict=True):
            error, other = found.exception(HANG_S), future.exception(HANG_S)
            assert (type(error), error and error.args) == (type(other), other and other.args)
            assert error is not None or found.result() == future.result()


async def one_by_one(items: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """What is written with asyncio today: a thread for each item, in order."""
    async for item in items:
        yield await asyncio.to_thread(tasks.act, item)


@settings(max_examples=25)
@given(ops, chunksizes, buffersizes, stops, st.one_of(st.none(), st.integers(0, 30)))
def test_as_asyncios_own(
    items: list[Any], chunksize: Any, buffersize: int | None, stop: int | None, at: int | None
) -> None:
    options: dict[str, Any] = {
        "chunksize": chunksize,
        "buffersize": buffersize,
        "backend": "inline",
    }

    async def main() -> None:
        async with contextlib.aclosing(one_by_one(Broken(items, at).slowly())) as own:
            wanted = await take_async(own, stop)
        slowly = Broken(items, at).slowly()
        assert await take_map(lambdamap.amap(tasks.act, slowly, **options), stop) == wanted

        good_ones = [op for op in items if op[0] == "give"]
        calls = [asyncio.to_thread(tasks.act, op) for op in good_ones]
        completed = sorted([await call for call in asyncio.as_completed(calls)])
        unordered = lambdamap.amap_unordered(tasks.act, Broken(good_ones, None).slowly(), **options)
        assert sorted([result async for result in unordered]) == completed

    asyncio.run(main())


@settings(max_examples=15)
@given(ops, chunksizes, buffersizes, stops, st.one_of(st.none(), st.integers(0, 30)))
@pytest.mark.parametrize("kind", ["builtin", "awslambdaric"])
def test_on_the_local_lambda(
    kind: str,
    items: list[Any],
    chunksize: Any,
    buffersize: int | None,
    stop: int | None,
    at: int | None,
) -> None:
    wanted = take(Once(tasks.act, Broken(items, at)), stop)
    options: dict[str, Any] = {
        "chunksize": chunksize,
        "buffersize": buffersize,
        "backend": "local",
        "local": kind,
    }
    assert take(lambdamap.map(tasks.act, Broken(items, at), **options), stop) == wanted

    async def main() -> None:
        slowly = Broken(items, at).slowly()
        found = await take_map(lambdamap.amap(tasks.act, slowly, **options), stop)
        assert found == wanted

    asyncio.run(main())
    if at is None:
        with lambdamap.LambdaExecutor(backend="local", local=kind) as executor:
            assert take(executor.map(tasks.act, items, chunksize=chunksize), stop) == wanted
