"""Stats: attributes and names, and how a person sees them."""

from __future__ import annotations

import dataclasses

import pytest

import lambdamap
from lambdamap.flight.stats import Stats

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
