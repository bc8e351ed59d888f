"""Log records and `.stats` of a map that meets faults."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options
from scripted import SECRET_KEY, Server, after, aws_error, run, throttle

TOKEN = "IQoJb3JpZ2luX2VjCANARYTOKEN"
FACTS = {
    "event", "map_id", "first_item", "n_items", "attempt", "status", "failure", "ran",
    "request_id", "delay", "seconds", "bytes_sent", "bytes_received",
}  # fmt: skip


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "event", "") == name]


def test_one_record_per_chunk(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lambdamap")
    server = serve()
    assert list(lambdamap.map(tasks.identity, [7, 8, 9], **api_options(server, chunksize=2))) == [
        7,
        8,
        9,
    ]
    records = sorted(events(caplog, "chunk"), key=lambda record: record.first_item)  # type: ignore[attr-defined]
    assert all(record.levelno == logging.DEBUG for record in records)
    assert all(record.__dict__.keys() >= FACTS for record in records)
    first, second = (vars(record) for record in records)
    assert (first["first_item"], first["n_items"], second["first_item"]) == (0, 2, 2)
    assert len(first["map_id"]) == 32 and first["map_id"] == second["map_id"]
    assert (first["status"], first["ran"], first["attempt"]) == (200, "RAN", 1)
    assert first["request_id"].startswith("request-")
    assert 0 < first["seconds"] < 30 and first["bytes_sent"] > 0 < first["bytes_received"]
    assert (
        "items 0 to 1: done, RAN, attempt 1 (status 200, request id request-"
        in records[0].getMessage()
    )
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [record for record in caplog.records if record.name == "lambdamap.wire"]


def test_one_warning_per_retry(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    server = serve([aws_error(500, "ServiceException"), aws_error(500, "ServiceException")])
    results = lambdamap.map(tasks.identity, [7], **api_options(server))
    assert list(results) == [7]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [vars(record)["event"] for record in warnings] == ["retry", "retry"]
    assert [vars(record)["attempt"] for record in warnings] == [1, 2]
    for record in warnings:
        assert vars(record).keys() >= FACTS
        assert (vars(record)["status"], vars(record)["failure"]) == (500, "service")
        assert vars(record)["ran"] == "NOT"
        assert 0 <= vars(record)["delay"] <= 0.1
        assert "service after attempt" in record.getMessage()
    assert (results.stats.retries, results.stats.requests) == (2, 3)


def test_the_first_429_is_a_warning(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "lambdamap")
    busy = throttle(x_amz_retry_after="1")
    server = serve([busy, busy, busy])
    results = lambdamap.map(tasks.identity, [1, 2, 3, 4], **api_options(server))
    assert list(results) == [1, 2, 3, 4]
    levels = [record.levelno for record in events(caplog, "throttle")]
    assert levels == [logging.WARNING] + [logging.DEBUG] * (results.stats.throttles - 1)
    assert results.stats.throttles == 3


def test_silence_is_cheap(serve: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    """With the logger off, nothing is kept and no record is made."""
    caplog.set_level(logging.ERROR, "lambdamap")
    server = serve([aws_error(500, "ServiceException")])
    results = lambdamap.map(tasks.identity, [7], **api_options(server))
    assert results._engine._log is None
    assert list(results) == [7]
    assert results._engine._port.notes() == []
    assert not caplog.records


@pytest.mark.parametrize("scheme", ["plain", "tls"])
def test_the_wire_log_redacts(
    scheme: str,
    serve: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    authority: Any,
) -> None:
    caplog.set_level(logging.DEBUG, "lambdamap.wire")
    caplog.set_level(logging.DEBUG, "lambdamap")
    tls = authority.context() if scheme == "tls" else None
    server = serve([aws_error(500, "ServiceException")], tls=tls)
    options = api_options(server, ca_bundle=str(authority.ca_file))
    options["credentials"] = (*options["credentials"], TOKEN)
    payload = "canary payload"
    assert list(lambdamap.map(tasks.identity, [payload], **options)) == [payload]
    text = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    sent = [r.getMessage() for r in events(caplog, "sent")]
    assert len(sent) == 2
    assert "POST /2015-03-31/functions/" in sent[0]
    assert "x-amz-security-token: [redacted]" in sent[0].lower()
    assert "authorization: [redacted]" in sent[0].lower()
    assert f"{server.host} port {server.port}" in events(caplog, "connected")[0].getMessage()
    assert "status 500" in events(caplog, "reply")[0].getMessage()
    assert "status 200" in events(caplog, "reply")[1].getMessage()
    for secret in (SECRET_KEY, TOKEN, "Signature=", payload):
        assert secret not in text, secret


def test_the_wire_log_is_asked_for_by_name(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server = serve()
    assert list(lambdamap.map(tasks.identity, [7], **api_options(server))) == [7]
    assert events(caplog, "chunk") and not events(caplog, "sent")


def test_more_notes_than_are_kept(
    serve: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    """The calling thread is busy with its input; notes that do not fit are counted."""
    caplog.set_level(logging.DEBUG, "lambdamap.wire")
    server = serve()
    options = api_options(server, buffersize=2000, max_concurrency=64)
    results = lambdamap.map(tasks.identity, range(600), **options)
    server.wait_for(600)
    assert list(results) == list(range(600))
    assert len(events(caplog, "sent")) + len(events(caplog, "reply")) <= 1200
    assert any("events" in r.getMessage() for r in caplog.records)


def test_stats_of_a_map(serve: Callable[..., Server]) -> None:
    server = serve([throttle(x_amz_retry_after="1")], then=after(0.05, run()))
    results = lambdamap.map(
        tasks.identity, range(8), **api_options(server, chunksize=2, max_concurrency=4)
    )
    assert list(results) == list(range(8))
    stats = results.stats
    assert (stats.items, stats.chunks, stats.throttles, stats.requests) == (8, 4, 1, 5)
    assert 1 <= stats.connections <= 4
    assert stats.bytes_sent > 1000 and stats.bytes_received > 500
    assert stats.in_flight == 0 and stats.retries == 0 and stats.worker_seconds > 0
    quantiles = (stats.latency_p50, stats.latency_p90, stats.latency_p99, stats.latency_max)
    assert all(value is not None and 0.045 < value < 30 for value in quantiles)
    assert list(quantiles) == sorted(quantiles)  # type: ignore[type-var]
