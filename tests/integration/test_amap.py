"""amap, amap_unordered and map_unordered over the local Lambda, under both kinds of sandbox."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lambdamap
import tasks
from driver import Endless, api_options
from leaks import native_state
from scripted import Connection, Request, Server, Step, hold, once, run

HANG_S = 30


async def numbers(
    n: int, pause_s: float = 0.0, seen: list[int] | None = None
) -> AsyncIterator[int]:
    for i in range(n):
        if seen is not None:
            seen.append(i)
        if pause_s:
            await asyncio.sleep(pause_s)
        yield i


async def collect(results: lambdamap.AsyncResults[Any]) -> list[Any]:
    async with results:
        return [result async for result in results]


def run_main(main: Any) -> Any:
    return asyncio.run(asyncio.wait_for(main, HANG_S))


async def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


@pytest.mark.usefixtures("local")
class TestBothKinds:
    def test_equal_to_builtin_map(self) -> None:
        data = list(range(50))
        wanted = [tasks.square(x) for x in data]
        for chunksize in (1, 7, 100, "auto"):
            assert (
                run_main(collect(lambdamap.amap(tasks.square, data, chunksize=chunksize))) == wanted
            )
            found = run_main(
                collect(lambdamap.amap_unordered(tasks.square, data, chunksize=chunksize))
            )
            assert sorted(found) == wanted
            found = list(lambdamap.map_unordered(tasks.square, data, chunksize=chunksize))
            assert sorted(found) == wanted

    def test_async_iterables(self) -> None:
        async def main() -> None:
            for chunksize in (1, 7, "auto"):
                found = await collect(
                    lambdamap.amap(tasks.square, numbers(30), chunksize=chunksize)
                )
                assert found == [x * x for x in range(30)]
            found = await collect(lambdamap.amap(tasks.add, numbers(5), [10, 20, 30], numbers(4)))
            assert found == []

        with pytest.raises(TypeError, match="positional argument"):
            run_main(main())

    def test_fs_own_exception(self) -> None:
        async def main() -> list[int]:
            taken = []
            with pytest.raises(ValueError, match="seven is out") as caught:
                async with lambdamap.amap(tasks.fail_at_seven, range(20), chunksize=3) as results:
                    async for result in results:
                        taken.append(result)
            known = lambdamap.failure(caught.value)
            assert known is not None and known.indices == (7,)
            assert [x async for x in results] == []
            return taken

        assert run_main(main()) == list(range(7))


class TestUnordered:
    def test_the_quick_ones_first(self, serve_beside: Callable[..., Server]) -> None:
        gate = threading.Event()
        server = serve_beside([once(gate, run())], then=run())
        results = lambdamap.map_unordered(tasks.square, range(4), **api_options(server))
        quick = [next(results) for _ in range(3)]
        gate.set()
        assert sorted([*quick, *results]) == [0, 1, 4, 9]

    def test_the_quick_ones_first_in_asyncio(self, serve_beside: Callable[..., Server]) -> None:
        async def main() -> None:
            gate = threading.Event()
            server = serve_beside([once(gate, run())], then=run())
            results = lambdamap.amap_unordered(tasks.square, range(4), **api_options(server))
            quick = [await anext(results) for _ in range(3)]
            gate.set()
            assert sorted([*quick, *[x async for x in results]]) == [0, 1, 4, 9]

        run_main(main())

    def test_error_when_it_arrives(self, serve_beside: Callable[..., Server]) -> None:
        server = serve_beside(then=_only(1))
        results = lambdamap.map_unordered(tasks.fail_at_seven, [7, 7], **api_options(server))
        with pytest.raises(ValueError, match="seven is out"):
            next(results)

    def test_results_before_the_error_are_given(self) -> None:
        results = lambdamap.map_unordered(
            tasks.fail_at_seven, [1, 2, 7, 3], chunksize=4, backend="inline"
        )
        assert [next(results), next(results)] == [1, 2]
        with pytest.raises(ValueError, match="seven"):
            next(results)
        assert list(results) == []

    def test_finished_ones_are_partial(self) -> None:
        results = lambdamap.map_unordered(
            tasks.fail_at_seven, [7, 1, 2], chunksize=1, backend="inline", buffersize=3
        )
        with pytest.raises(ValueError, match="seven") as caught:
            next(results)
        known = lambdamap.failure(caught.value)
        assert known is not None and known.partial == {1: 1, 2: 2}

    def test_strict(self) -> None:
        with pytest.raises(ValueError, match="argument 2"):
            list(lambdamap.map_unordered(tasks.add, [1], [2, 3], strict=True, backend="inline"))


class TestAsync:
    def test_the_loop_goes_on_meanwhile(self, serve_beside: Callable[..., Server]) -> None:
        """Nothing would be answered if it did not."""

        async def main() -> None:
            gate = threading.Event()
            server = serve_beside(then=once(gate, run()))

            async def tick() -> None:
                for _ in range(5):
                    await asyncio.sleep(0.01)
                gate.set()

            ticker = asyncio.create_task(tick())
            assert await collect(lambdamap.amap(tasks.square, [3], **api_options(server))) == [9]
            await ticker

        run_main(main())

    def test_first_window_leaves_at_the_call(self) -> None:
        async def main() -> None:
            results = lambdamap.amap(tasks.square, range(3), chunksize=1, backend="local")
            assert results.stats["chunks"] > 0
            await results.aclose()

        run_main(main())
        with pytest.raises(lambdamap.ConfigError, match="chunksize"):
            lambdamap.amap(tasks.square, [1], chunk_size=3)
        with pytest.raises(TypeError, match="not iterable"):
            lambdamap.amap(tasks.square, 3)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="amap"):
            lambdamap.amap(tasks.square)

    @pytest.mark.parametrize("backend", ["inline", "threads"])
    def test_in_this_process(self, backend: str) -> None:
        with ThreadPoolExecutor(2) as pool:
            where: Any = pool if backend == "threads" else "inline"
            found = run_main(collect(lambdamap.amap(tasks.square, numbers(9), backend=where)))
            assert found == [x * x for x in range(9)]
            found = run_main(collect(lambdamap.amap(tasks.square, range(9), backend=where)))
            assert found == [x * x for x in range(9)]

    def test_mixed_iterables(self) -> None:
        async def main() -> None:
            add = tasks.add
            common: dict[str, Any] = {"backend": "inline"}
            assert await collect(lambdamap.amap(add, numbers(3), [10, 20], **common)) == [10, 21]
            assert await collect(lambdamap.amap(add, [10, 20], numbers(3), **common)) == [10, 21]
            for inputs in (
                ([1, 2, 3], [1, 2]),
                ([1, 2], [1, 2, 3]),
                ([1, 2], [1, 2]),
            ):
                left, right = inputs
                try:
                    wanted: Any = [tasks.add(x, y) for x, y in zip(left, right, strict=True)]
                except ValueError as error:
                    wanted = str(error).replace("zip", "map")
                for data in (inputs, (left, _slowly(right)), (_slowly(left), right)):
                    try:
                        found: Any = await collect(
                            lambdamap.amap(add, *data, strict=True, **common)
                        )
                    except ValueError as error:
                        found = str(error)
                    assert found == wanted

        run_main(main())

    def test_input_that_raises(self) -> None:
        async def failing() -> AsyncIterator[int]:
            for i in range(5):
                yield i
            raise KeyError("input")

        async def main() -> None:
            taken = []
            with pytest.raises(KeyError, match="input"):
                async for result in lambdamap.amap(
                    tasks.square, failing(), chunksize=2, backend="local"
                ):
                    taken.append(result)
            assert taken == [0, 1, 4, 9, 16]

        run_main(main())

    def test_input_is_read_as_far_as_buffersize(self) -> None:
        async def main() -> None:
            seen: list[int] = []
            source = numbers(100, seen=seen)
            given = 0
            async with lambdamap.amap(
                tasks.square, source, chunksize=2, buffersize=5, backend="local"
            ) as results:
                async for _ in results:
                    given += 1
                    assert len(seen) - (given - 1) <= 5
                    await asyncio.sleep(0)

        run_main(main())

    def test_results_come_while_the_input_waits(self) -> None:
        async def main() -> None:
            gate = asyncio.Event()

            async def source() -> AsyncIterator[int]:
                yield 2
                yield 3
                await gate.wait()
                yield 4

            results = lambdamap.amap(tasks.square, source(), chunksize=2, backend="local")
            assert [await anext(results), await anext(results)] == [4, 9]
            gate.set()
            assert [x async for x in results] == [16]

        run_main(main())

    def test_one_task_at_a_time(self, serve_beside: Callable[..., Server]) -> None:
        async def main() -> None:
            gate = threading.Event()
            server = serve_beside(then=once(gate, run()))
            results = lambdamap.amap(tasks.square, [3], **api_options(server))
            first = asyncio.create_task(_next(results))
            await asyncio.sleep(0.05)
            with pytest.raises(RuntimeError, match="task"):
                await anext(results)
            gate.set()
            assert await first == 9
            await results.aclose()

        run_main(main())

    def test_timeout(self) -> None:
        async def main(where: Any) -> None:
            with pytest.raises(lambdamap.DeadlineError):
                await collect(lambdamap.amap(tasks.sleep, [60.0], backend=where, timeout=0.3))

        run_main(main("local"))
        with ThreadPoolExecutor(1) as pool, tasks.HELD:
            started = time.monotonic()
            pool.submit(tasks.held, 0)
            run_main(main(pool))
            assert time.monotonic() - started < HANG_S

    def test_asyncio_timeout(self) -> None:
        async def main() -> None:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(
                    collect(lambdamap.amap(tasks.sleep, [60.0], backend="local")), 0.2
                )
            await until(lambda: native_state()["in_flight"] == 0)

        run_main(main())


@pytest.mark.parametrize("kind", ["sync", "async"])
class TestLeaving:
    """Whatever ends the loop, no connection goes on behind it. One item is answered, the others'
    requests are held by the server until their connection closes."""

    def _slow(self, serve_beside: Callable[..., Server], kind: str) -> lambdamap.AsyncResults[Any]:
        server = serve_beside(then=_only(0))
        items: Any = _slowly(range(8)) if kind == "async" else range(8)
        return lambdamap.amap(tasks.square, items, **api_options(server))

    async def _under_way(self) -> None:
        await until(lambda: native_state()["in_flight"] > 1)

    async def _closed(self) -> None:
        started = time.monotonic()
        await until(lambda: native_state()["in_flight"] == 0)
        assert time.monotonic() - started < HANG_S

    def test_a_with_block(self, serve_beside: Callable[..., Server], kind: str) -> None:
        async def main() -> None:
            async with self._slow(serve_beside, kind) as results:
                async for _ in results:
                    break
            await self._closed()

        run_main(main())

    def test_break(self, serve_beside: Callable[..., Server], kind: str) -> None:
        async def leave_early() -> None:
            async for _ in self._slow(serve_beside, kind):
                break
            gc.collect()

        async def main() -> None:
            with pytest.warns(ResourceWarning, match="aclose"):
                await leave_early()
            await self._closed()

        run_main(main())

    @pytest.mark.parametrize("where", ["in the wait", "elsewhere"])
    def test_cancelling_the_task(
        self, serve_beside: Callable[..., Server], kind: str, where: str
    ) -> None:
        async def main() -> None:
            results = self._slow(serve_beside, kind)

            async def use() -> None:
                async for _ in results:
                    if where == "elsewhere":
                        await asyncio.sleep(HANG_S)

            task = asyncio.create_task(use())
            await self._under_way()
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await self._closed()
            assert [x async for x in results] == []

        run_main(main())

    def test_closed_by_another_task(self, serve_beside: Callable[..., Server], kind: str) -> None:
        async def main() -> None:
            results = self._slow(serve_beside, kind)
            assert await anext(results) == 0
            waiting = asyncio.create_task(_next(results))
            await asyncio.sleep(0.05)
            await results.aclose()
            await results.aclose()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await self._closed()

        run_main(main())

    def test_a_loop_that_ends_first(self, serve_beside: Callable[..., Server], kind: str) -> None:
        async def main() -> lambdamap.AsyncResults[Any]:
            results = self._slow(serve_beside, kind)
            await anext(results)
            return results

        def drop() -> None:
            results = asyncio.run(main())
            del results
            gc.collect()

        with pytest.warns(ResourceWarning, match="aclose"):
            drop()
        asyncio.run(self._closed())


def _only(item: int) -> Step:
    """Answer the request of that item, hold the others."""

    def step(connection: Connection, request: Request) -> None:
        chosen = run() if request.envelope["chunk"] == item else hold()
        chosen(connection, request)

    return step


async def _next(results: lambdamap.AsyncResults[Any]) -> Any:
    return await anext(results)


async def _slowly(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        await asyncio.sleep(0)
        yield item


def test_many_maps_in_one_loop() -> None:
    async def main() -> list[list[int]]:
        maps = [lambdamap.amap(tasks.square, range(n), backend="local") for n in range(20)]
        return await asyncio.gather(*map(collect, maps))

    assert run_main(main()) == [[x * x for x in range(n)] for n in range(20)]


def test_an_infinite_input_is_read_as_far_as_needed(serve_beside: Callable[..., Server]) -> None:
    """From a function of its own: the window is shared by all maps of a function."""
    numbers = Endless()
    options = api_options(serve_beside(then=run()), max_concurrency=2)
    with lambdamap.map(tasks.square, numbers, **{**options, "chunksize": 3}) as results:
        for given, result in zip(range(60), results, strict=False):
            assert result == given * given
            assert numbers.taken - given <= 3 * 2 * 2 + 3
    assert threading.active_count() >= 1
