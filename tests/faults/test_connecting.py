"""Faults before a connection stands: nothing can have run. Rows 1, 6 and 7."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

import lambdamap
import tasks
from certificates import Authority
from driver import api_options, invoke, open_target
from scripted import Server, reads, reply, reset_at_once, welcome

ANSWER = b'{"ok":1}'
REQUEST = b'{"item":1}'


def test_row_01_refused_port(site: Any, idempotent: bool) -> None:
    server = site.server(then=reply(ANSWER))
    server.refuse()
    (lost,) = invoke(site.target(server), idempotent=idempotent)
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 3)
    assert not lost.stops_map
    assert lost.bytes_sent == 0
    assert server.complete == 0


def test_row_01_port_that_opens_again(site: Any) -> None:
    """The retries of what has not run need no idempotent function."""
    server = site.server(then=reply(ANSWER))
    target = site.target(server)
    server.refuse()
    (lost,) = invoke(target)
    server.listen()
    (answered,) = invoke(target)
    assert (lost.failure, answered.failure, answered.body) == ("connect", "", ANSWER)
    assert server.complete == 1


def test_row_01_one_attempt_when_asked(site: Any) -> None:
    server = site.server()
    server.refuse()
    (lost,) = invoke(site.target(server, max_attempts=1))
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 1)


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
    """No byte of a request can have left: retried without asking, answered at the third."""
    server = serve(
        greetings=[reads(5), reads(100), welcome()], tls=authority.context(), then=reply(ANSWER)
    )
    target = open_target(server.url, ca_file=authority.ca_file)
    (answered,) = invoke(target, idempotent=idempotent)
    assert (answered.failure, answered.body, answered.attempts) == ("", ANSWER, 3)
    assert server.complete == 1


def test_row_07_reset_in_every_tls_handshake(
    serve: Callable[..., Server], authority: Authority, idempotent: bool
) -> None:
    server = serve(greetings=[reads(5)] * 10, tls=authority.context(), then=reply(ANSWER))
    target = open_target(server.url, ca_file=authority.ca_file)
    (lost,) = invoke(target, idempotent=idempotent)
    assert (lost.failure, lost.ran, lost.attempts) == ("connect", "NOT", 3)
    assert server.complete == 0


def test_row_07_reset_on_accept(serve: Callable[..., Server]) -> None:
    """Over plain TCP the reset races with the request's first bytes. Whichever wins: NOT is
    said and retried only when no byte has left, and the server never counts a request twice."""
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
