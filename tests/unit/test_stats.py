"""Stats: attributes and names, and how a person sees them."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import lambdamap
from lambdamap import model
from lambdamap.flight.stats import Stats, sum_of

STATS = Stats(
    items=12_345,
    chunks=100,
    items_resent=7,
    requests=103,
    retries=1,
    throttles=2,
    connections=64,
    streams=0,
    bytes_sent=1_500,
    bytes_received=7_200_000,
    worker_seconds=12.34,
    in_flight=0,
    latency_p50=0.0123,
    latency_p90=0.1,
    latency_p99=1.5,
    latency_max=61.0,
)


def test_attributes_are_items() -> None:
    assert STATS.requests == STATS["requests"] == dict(STATS)["requests"] == 103
    assert dict(STATS) == dataclasses.asdict(STATS)
    with pytest.raises(KeyError):
        STATS["keys"]


def test_text_and_html() -> None:
    assert repr(STATS) == (
        "items:     12,345 in 100 chunks, 7 of them resent\n"
        "requests:  103 (1 retry, 2 throttles) on 64 connections\n"
        "bytes:     1.5 kB sent, 7.2 MB received\n"
        "worker:    12.3 s in f\n"
        "latency:   at most: half 12.3 ms, 90 % 100 ms, 99 % 1.5 s, all 61.0 s"
    )
    html = STATS._repr_html_()
    assert html.count("<tr>") == 5
    assert "12,345 in 100 chunks" in html


def test_usd_at_list_prices() -> None:
    assert STATS.usd() is None
    billed = dataclasses.replace(STATS, reports=100, billed_ms=1e6, gb_seconds=2000.0)
    assert billed.usd() == pytest.approx(2000 * 0.0000166667 + 101 * 0.2e-6)
    arm = model.prices("af-south-1", "arm64")
    assert billed.usd(arm) == pytest.approx(2000 * 0.00001768 + 101 * 0.2e-6)
    assert billed.usd(model.Prices(gb_second=0, request=1)) == 101
    region: Any = "eu-south-1"
    with pytest.raises(TypeError, match=r"model\.prices\(region, architecture\)"):
        billed.usd(region)


@pytest.mark.parametrize(
    ("per_second", "text"),
    [
        (0.1234, "0.123"),
        (99.94, "99.9"),
        (508.3, "508"),
        (5068.0, "5,070"),
        (1.2345e6, "1,230,000"),
    ],
)
def test_a_speed_has_three_digits_and_no_exponent(per_second: float, text: str) -> None:
    stats = dataclasses.replace(STATS, seconds=STATS.items / per_second)
    assert f"speed:     {text} items/s in " in repr(stats)


def test_without_latency_and_with_chunks_in_flight() -> None:
    shown = repr(dataclasses.replace(STATS, latency_max=None, in_flight=1))
    assert "latency" not in shown
    assert shown.endswith("in flight: 1 chunk")


def test_of_a_map_in_this_process() -> None:
    results = lambdamap.map(abs, [-1, 2], backend="inline", chunksize=1)
    assert list(results) == [1, 2]
    assert isinstance(results.stats, lambdamap.Stats)
    assert (results.stats.items, results.stats.requests) == (2, 2)
    assert results.stats.latency_max is None


def items_of_last() -> int:
    stats = lambdamap.last_stats()
    assert stats is not None
    return stats.items


class TestLast:
    """`last_stats`: what calls without a handle did."""

    def test_of_my_map_also_when_it_fails(self) -> None:
        lambdamap.my_map(abs, [-1, 2, -3], invoke_lambda=False)
        assert items_of_last() == 3
        with pytest.raises(TypeError):
            lambdamap.my_map(abs, [1, "x"], invoke_lambda=False)
        assert items_of_last() == 2

    def test_of_a_handle_that_was_used_up_or_closed(self) -> None:
        assert sum(lambdamap.map(abs, [-1, 2], backend="inline")) == 3
        assert items_of_last() == 2
        lambdamap.map(abs, [-1], backend="inline").close()
        assert items_of_last() == 1

    def test_of_an_executors_map(self) -> None:
        with lambdamap.LambdaExecutor(backend="inline") as executor:
            assert list(executor.map(abs, range(-5, 0))) == [5, 4, 3, 2, 1]
            assert items_of_last() == 5
            assert list(executor.map(abs, range(-4, 0), buffersize=1)) == [4, 3, 2, 1]
            assert items_of_last() == 4
            assert executor.submit(pow, 2, 3).result() == 8
            assert executor.submit(pow, 2, 4).result() == 16
            assert executor.submit(abs, -1).result() == 1
        assert executor.stats.items == 8  # the lazy map is not the executor's

    def test_threads_and_tasks_have_their_own(self) -> None:
        def in_thread(n: int) -> int:
            lambdamap.my_map(abs, range(n), invoke_lambda=False)
            met.wait(30)
            return items_of_last()

        met = threading.Barrier(2)
        lambdamap.my_map(abs, [1], invoke_lambda=False)
        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(in_thread, [2, 3])) == [2, 3]
        assert items_of_last() == 1

        async def in_task(n: int) -> int:
            async with lambdamap.amap(abs, range(n), backend="inline") as results:
                async for _ in results:
                    await asyncio.sleep(0)
            return items_of_last()

        async def both() -> list[int]:
            return await asyncio.gather(in_task(4), in_task(5))

        assert asyncio.run(both()) == [4, 5]
        assert items_of_last() == 1

    def test_keeps_no_map_alive(self) -> None:
        results = lambdamap.map(abs, [-1], backend="inline")
        engine = weakref.ref(results._engine)
        assert list(results) == [1]
        del results
        gc.collect()
        assert engine() is None
        assert items_of_last() == 1


def test_a_sum_has_no_quantiles_that_nobody_knows() -> None:
    quiet = dataclasses.replace(
        STATS, latency_p50=None, latency_p90=None, latency_p99=None, latency_max=None
    )
    assert sum_of((quiet, STATS)).latency_p90 == STATS.latency_p90
    both = sum_of((STATS, dataclasses.replace(STATS, latency_max=70.0)))
    assert (both.items, both.latency_p50, both.latency_max) == (24_690, None, 70.0)
    assert repr(both).endswith("latency:   at most: all 70.0 s")
    assert sum_of(()).requests == 0
