"""Faults before a connection is established, so that nothing can have run. Rows 1, 6 and 7."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import tasks
from certificates import Authority
from driver import api_options, collect, invoke, open_map, open_target
from scripted import Server, reads, reply, reset_at_once, run, welcome

ANSWER = b'{"ok":1}'
REQUEST = b'{"item":1}'


def test_row_01_refused_port(site: Any, idempotent: bool) -> None:
    """Connecting is retried for connect_timeout; no request has been made after that."""
    server = site.server(then=reply(ANSWER))
    server.refuse()
    net_map = open_map(site.target(server, connect_patience_ms=400), idempotent=idempotent)
    net_map.submit(REQUEST, 0, 1)
    (lost,) = collect(net_map)
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 0)
    assert net_map.stats["retries"] >= 2
    assert not lost.stops_map
    assert lost.bytes_sent == 0
    assert server.complete == 0


def test_row_01_port_that_opens_again(site: Any) -> None:
    """Retrying what has not run needs no idempotent function."""
    server = site.server(then=reply(ANSWER))
    target = site.target(server)
    server.refuse()
    (lost,) = invoke(target)
    server.listen()
    (answered,) = invoke(target)
    assert (lost.failure, answered.failure, answered.body) == ("connect", "", ANSWER)
    assert server.complete == 1


def test_row_01_server_that_starts_late(site: Any, idempotent: bool) -> None:
    """Nothing is lost however many chunks wait, and max_attempts does not matter: nothing was sent."""
    server = site.server(then=run())
    server.refuse()
    options = {"max_attempts": 1, "max_concurrency": 8, "idempotent": idempotent}
    results = site.map(server, tasks.square, range(40), **options)
    time.sleep(0.3)  # some attempts are refused meanwhile
    server.listen()
    assert list(results) == [x * x for x in range(40)]
    assert results.stats["retries"] >= 1
    assert set(server.items.values()) == {1}


def test_row_01_patience_is_of_all_chunks_together(plain_site: Any) -> None:
    """A dead endpoint costs a map its connect_timeout once, not once per window of chunks.

    A later map has its own connect_timeout.
    """
    server = plain_site.server()
    server.refuse()
    options = plain_site.options(server, connect_timeout=0.5, max_concurrency=2)
    for _ in range(2):
        began = time.monotonic()
        found = list(
            lambdamap.invoke_map(
                options["function"], [1] * 30, on_error="return",
                **{k: v for k, v in options.items() if k not in ("function", "chunksize")},
            )
        )  # fmt: skip
        assert [type(one) for one in found] == [lambdamap.ConnectError] * 30
        assert {one.ran for one in found} == {"NOT"}
        assert 0.5 <= time.monotonic() - began < 10  # 15 windows


def test_row_01_the_log_has_one_warning(plain_site: Any, caplog: pytest.LogCaptureFixture) -> None:
    server = plain_site.server()
    server.refuse()
    with caplog.at_level(logging.WARNING, "lambdamap"), pytest.raises(lambdamap.ConnectError):
        list(plain_site.map(server, tasks.square, range(10), connect_timeout=0.4))
    (record,) = [record for record in caplog.records if record.event == "connect"]
    assert "no connection" in record.message
    assert "status 0" not in record.message
    assert "None" not in record.message


def test_row_06_certificates_that_do_not_verify(
    serve: Callable[..., Server], authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = Authority(tmp_path_factory.mktemp("stranger"))
    contexts = {
        "expired": authority.context(days=-1),
        "wrong host": authority.context("DNS:elsewhere.example"),
        "unknown issuer": stranger.context(),
    }
    for name, context in contexts.items():
        server = serve(tls=context, then=reply(ANSWER))
        (lost,) = invoke(open_target(server.url, ca_file=authority.ca_file), idempotent=True)
        assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 1), name
        assert lost.stops_map, name
        assert "certificate" in lost.message, name
        assert "ca_bundle" in lost.message, name
        assert "AWS_CA_BUNDLE" in lost.message, name
        assert server.complete == 0, name
        assert all(connection.buffer == b"" for connection in server.connections), name


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_row_06_too_old_tls(serve: Callable[..., Server], authority: Authority) -> None:
    context = authority.context()
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    server = serve(tls=context, then=reply(ANSWER))
    (lost,) = invoke(open_target(server.url, ca_file=authority.ca_file))
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 1)
    assert lost.stops_map
    assert server.complete == 0


def test_row_06_stops_the_map(serve: Callable[..., Server], authority: Authority) -> None:
    server = serve(tls=authority.context("DNS:elsewhere.example"))
    options = api_options(server, ca_bundle=str(authority.ca_file), max_concurrency=4)
    with pytest.raises(lambdamap.ConnectError, match="certificate") as caught:
        list(lambdamap.map(tasks.square, range(1000), **options))
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.ran == "NOT"
    assert len(server.connections) <= 4
    assert server.complete == 0


def test_row_07_reset_in_the_tls_handshake(
    serve: Callable[..., Server], authority: Authority, idempotent: bool
) -> None:
    """No byte of a request can have left, so it is retried in any case; the third connection works."""
    server = serve(
        greetings=[reads(5), reads(100), welcome()], tls=authority.context(), then=reply(ANSWER)
    )
    target = open_target(server.url, ca_file=authority.ca_file)
    (answered,) = invoke(target, idempotent=idempotent)
    assert (answered.failure, answered.body, answered.attempts) == ("", ANSWER, 1)
    assert server.complete == 1


def test_row_07_reset_in_every_tls_handshake(
    serve: Callable[..., Server], authority: Authority, idempotent: bool
) -> None:
    server = serve(greetings=[reads(5)] * 100, tls=authority.context(), then=reply(ANSWER))
    target = open_target(server.url, ca_file=authority.ca_file)
    (lost,) = invoke(target, idempotent=idempotent)
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 0)
    assert server.complete == 0


def test_row_07_reset_on_accept(serve: Callable[..., Server]) -> None:
    """Without TLS, the reset races with the request's first bytes.

    In either case, NOT is reported and the chunk retried only if no byte has left, and the server
    never counts a request twice.
    """
    server = serve(greetings=[reset_at_once()] * 20, then=reply(ANSWER))
    target = open_target(server.url)
    for _ in range(20):
        (end,) = invoke(target, [REQUEST])
        if end.failure:
            assert (end.failure, end.ran) in [("connect", "NOT"), ("connection_lost", "MAYBE")]
            assert (end.bytes_sent > 0) == (end.ran == "MAYBE")
        else:
            assert end.body == ANSWER
    assert server.complete <= 20
