"""Maps over HTTP/2 through servers that others wrote: nginx and nghttpx."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fronts
import lambdamap
import tasks
from certificates import Authority
from driver import api_options
from scripted import Server, run


@pytest.fixture(scope="module", params=fronts.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if fronts.program(found) is None:
        pytest.skip(f"{found} is not installed")
    return found


@pytest.fixture
def server(serve: Callable[..., Server]) -> Server:
    """What the front passes requests to."""
    return serve(then=run())


@pytest.fixture
def front(
    kind: str, server: Server, authority: Authority, tmp_path: Path
) -> Iterator[fronts.Front]:
    with fronts.Front(kind, server.port, authority.certificate(), tmp_path) as front:
        yield front


@pytest.fixture
def options(front: fronts.Front, server: Server, authority: Authority) -> dict[str, Any]:
    return {
        **api_options(server),
        "endpoint_url": front.url,
        "ca_bundle": str(authority.ca_file),
        "http_version": "2",
    }


def test_many_chunks_share_a_few_connections(options: dict[str, Any], server: Server) -> None:
    results = lambdamap.map(tasks.square, range(300), max_concurrency=64, **options)
    assert list(results) == [n * n for n in range(300)]
    assert results.stats.streams == 300
    assert 0 < results.stats.connections <= 24
    assert set(server.items.values()) == {1}


def test_large_chunks_both_ways(options: dict[str, Any], server: Server) -> None:
    data = [bytes([n]) * 3_000_000 for n in range(8)]
    results = lambdamap.map(tasks.identity, data, compression=False, **options)
    assert list(results) == data
    assert set(server.items.values()) == {1}


def test_a_front_that_restarts_loses_nothing(
    options: dict[str, Any], server: Server, front: fronts.Front
) -> None:
    """Its old process says GOAWAY while chunks run on it; the rest goes to the new one."""
    with lambdamap.map(tasks.square, itertools.count(), max_concurrency=16, **options) as results:
        for n in range(50):
            assert next(results) == n * n
        before = results.stats.connections
        front.restart()
        left = 100  # after the first new connection
        for n in itertools.count(50):
            assert next(results) == n * n
            left -= results.stats.connections > before
            if left == 0:
                break
    assert set(server.items.values()) == {1}


def test_a_map_that_is_closed_leaves_its_connection_to_the_next(options: dict[str, Any]) -> None:
    results = lambdamap.map(tasks.square, itertools.count(), max_concurrency=1, **options)
    with results:
        assert next(results) == 0
    again = lambdamap.map(tasks.square, range(100), max_concurrency=1, **options)
    assert list(again) == [n * n for n in range(100)]
    # The closed map's last stream may be open for a moment, which is a reason for one more.
    assert results.stats.connections + again.stats.connections <= 2
