"""What a map cost, from the REPORT lines of the local Lambda."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Any

import pytest

import lambdamap
import tasks
from lambdamap.backends.endpoints import is_own
from lambdamap.flight.bill import billed
from lambdamap.local import LocalLambda
from lambdamap.local.report import with_lines

REPORT = re.compile(
    r"REPORT RequestId: (\S+)\tDuration: ([\d.]+) ms\tBilled Duration: (\d+) ms\t"
    r"Memory Size: (\d+) MB\tMax Memory Used: (\d+) MB\t(?:Init Duration: ([\d.]+) ms\t)?\n"
)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def stats_of(**options: Any) -> lambdamap.Stats:
    results = lambdamap.map(nap, [0.02] * 60, chunksize=1, backend="local", **options)
    assert sum(results) == pytest.approx(1.2)
    return results.stats


def test_a_local_lambda_reports_what_it_measured() -> None:
    stats = stats_of(billing=True)
    assert stats.reports == stats.chunks == 60
    assert stats.billed_ms is not None
    assert stats.gb_seconds is not None
    assert stats.billed_ms >= 60 * 20
    # Each is rounded up to a millisecond.
    assert stats.billed_ms >= 1000 * stats.worker_seconds
    assert stats.memory_mb is not None
    assert stats.max_memory_mb is not None
    assert 0 < stats.max_memory_mb < stats.memory_mb
    assert stats.gb_seconds == pytest.approx(stats.billed_ms / 1000 * stats.memory_mb / 1024)
    assert "billed:    " in repr(stats)
    assert "(from 60 reports)" in repr(stats)


def test_a_sample_is_the_first_32_and_one_in_50() -> None:
    stats = stats_of()
    assert stats.reports == 33  # 0 to 31, and 50
    assert stats.billed_ms is not None
    assert stats.billed_ms >= 1000 * stats.worker_seconds
    assert "about " in repr(stats)


@pytest.mark.parametrize("options", [{"billing": False}, {"logs": False}])
def test_nothing_is_asked_for(options: dict[str, Any]) -> None:
    stats = stats_of(**options)
    assert (stats.reports, stats.billed_ms, stats.max_memory_mb) == (0, None, None)
    assert "billed" not in repr(stats)


def test_starts_of_sandboxes_are_billed_once() -> None:
    with LocalLambda(sandboxes=1, memory_mb=512) as function:
        options = {
            "endpoint_url": function.endpoint_url,
            "function": "f",
            "region": "us-east-1",
            "credentials": (function.access_key, function.secret_key),
            "billing": True,
            "allow_pickle": True,
        }
        results = lambdamap.map(abs, range(-5, 0), chunksize=1, **options)
        assert sum(results) == 15
        stats = results.stats
        assert (stats.cold_starts, stats.memory_mb, stats.reports) == (1, 512, 5)
        assert stats.init_seconds is not None
        assert stats.billed_ms is not None
        assert stats.billed_ms > 1000 * stats.init_seconds > 0
        cold = [chunk.cold for chunk in results.timeline().chunks]
        assert sorted(cold) == [False] * 4 + [True]
        again = lambdamap.map(abs, range(-5, 0), chunksize=1, **options)
        assert sum(again) == 15
        assert again.stats.cold_starts == 0


def test_lines_of_a_log() -> None:
    log = with_lines(b"printed", "id", 0.01234, 0.5, "128", 3 << 20, 4096).decode()
    assert log.startswith(
        "START RequestId: id Version: $LATEST\nprinted\nEND RequestId: id\nREPORT"
    )
    found = REPORT.search(log)
    assert found is not None
    assert found.groups() == ("id", "12.34", "513", "128", "3", "500.00")
    found = REPORT.search(with_lines(b"x" * 10_000, "id", 0, 0, "128", -1, 4096).decode())
    assert found is not None
    assert found.groups() == ("id", "0.00", "1", "128", "0", None)
    assert len(with_lines(b"x" * 10_000, "id", 0, 0, "128", -1, 4096)) == 4096


def test_which_endpoints_are_aws() -> None:
    assert is_own("https://lambda.eu-central-1.amazonaws.com")
    assert is_own("https://lambda-fips.us-east-1.api.aws")
    assert is_own("https://vpce-1.lambda.eu-central-1.vpce.amazonaws.com")
    assert not is_own("https://lambda.example.com")
    assert not is_own("https://amazonaws.com.example.com")
    assert not is_own("http://127.0.0.1:9000")


class TestEstimate:
    """`billed`: what is not reported is estimated from time in f and the others' overhead."""

    def test_nothing(self) -> None:
        none = (0, 0, 0, 0, 0)
        assert billed(None) == billed((none, none, 0, 0, 0, 0)) == {}
        assert billed(((3, 7, 0, 0, 0), none, 0, 0, 0, 0)) == {}

    def test_all_reported(self) -> None:
        found = billed(((2, 30_000, 2, 30_000, 40), (1, 9, 1, 9, 5), 1, 2_500_000, 512, 99))
        assert found == {
            "reports": 3,
            "billed_ms": 45,
            "gb_seconds": pytest.approx(0.045 / 2),
            "memory_mb": 512,
            "max_memory_mb": 99,
            "cold_starts": 1,
            "init_seconds": 2.5,
        }

    def test_later_ones_have_their_own_overhead(self) -> None:
        first = (2, 20_000, 2, 20_000, 1020)  # 500 ms on top of 10 ms each: cold starts
        later = (100, 1_000_000, 2, 20_000, 24)  # 2 ms on top of 10 ms each
        found = billed((first, later, 2, 1_000_000, 1024, 99))
        assert found["billed_ms"] == pytest.approx(1020 + 100 * 12)

    def test_later_ones_without_a_report(self) -> None:
        found = billed(((2, 20_000, 2, 20_000, 24), (10, 100_000, 0, 0, 0), 0, 0, 1024, 9))
        assert found["billed_ms"] == pytest.approx(24 + 10 * 12)

    def test_lines_below_the_time_in_f(self) -> None:
        """Clocks differ: the overhead is not negative."""
        found = billed(((2, 20_000, 1, 10_000, 9), (0, 0, 0, 0, 0), 0, 0, 1024, 9))
        assert found["billed_ms"] == pytest.approx(19)


def test_executors_add_up() -> None:
    with lambdamap.LambdaExecutor(backend="local", billing=True) as executor:
        futures = [executor.submit(tasks.square, i) for i in range(5)]
        futures += [executor.submit(abs, -i) for i in range(5)]
        for future in futures:
            future.result()
        stats = executor.stats
    assert stats.reports == 10
    assert stats.billed_ms is not None
    assert stats.billed_ms >= 10
    assert dataclasses.asdict(stats) == dict(stats)
