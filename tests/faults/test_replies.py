"""Replies with something before them, or wrong with them."""

from __future__ import annotations

from typing import Any

import pytest

from driver import invoke
from scripted import in_one_segment, plain_reply, raw

ANSWER = b'{"ok":1}'


@pytest.mark.parametrize(
    "before",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 102 Processing\r\n\r\n",
    ],
    ids=["100", "103", "several"],
)
def test_row_39_informational_replies(site: Any, before: bytes) -> None:
    """They are skipped, and the connection serves the next request."""
    server = site.server(then=raw(before + plain_reply(ANSWER)))
    target = site.target(server)
    for number in range(3):
        (answered,) = invoke(target)
        assert (answered.failure, answered.body, answered.attempts) == ("", ANSWER, 1)
        assert server.complete == number + 1
    assert {request.connection for request in server.requests} == {0}


def test_row_39_endless_informational_replies(site: Any) -> None:
    server = site.server(then=raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + plain_reply(ANSWER)))
    (refused,) = invoke(site.target(server))
    assert (refused.failure, refused.ran) == ("protocol", "MAYBE")
    assert server.complete == 1


@pytest.mark.parametrize(
    ("reply", "ran"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}extra", "RAN"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "MAYBE"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "RAN"),
        (b"SSH-2.0-OpenSSH\r\n", "MAYBE"),
    ],
    ids=["extra", "two-lengths", "bad-chunk", "other-protocol"],
)
def test_row_37_broken_replies(site: Any, reply: bytes, ran: str) -> None:
    refused_and_then_clean(site, reply, ran)


def test_row_37_a_second_reply_behind_the_first(site: Any) -> None:
    """It is nobody's: not the first request's, whose reply is whole, nor the next one's."""
    stray = plain_reply(b'{"ok":"stray"}')
    server = site.server(
        [in_one_segment(plain_reply(ANSWER), stray)], then=raw(plain_reply(ANSWER))
    )
    target = site.target(server)
    (first,) = invoke(target)
    assert (first.failure, first.body) in [("", ANSWER), ("protocol", None)]
    (second,) = invoke(target)
    assert (second.failure, second.body) == ("", ANSWER)
    assert [request.connection for request in server.requests] == [0, 1]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, identity"])
def test_row_40_content_encoding_that_was_not_asked_for(site: Any, coding: str) -> None:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: 2\r\n\r\n"
    refused_and_then_clean(site, head.encode() + b"{}", "RAN")


def refused_and_then_clean(site: Any, reply: bytes, ran: str) -> None:
    """They are refused, the connection is not used again, and the next request is clean."""
    server = site.server([raw(reply)], then=raw(plain_reply(ANSWER)))
    target = site.target(server)
    (refused,) = invoke(target)
    assert (refused.failure, refused.ran, server.complete) == ("protocol", ran, 1)
    (answered,) = invoke(target)
    assert (answered.failure, answered.body) == ("", ANSWER)
    assert [request.connection for request in server.requests] == [0, 1]


def test_row_30_redirects_are_not_followed(site: Any) -> None:
    other = site.server(then=raw(plain_reply(ANSWER)))
    location = f"Location: {site.scheme}://127.0.0.1:{other.port}/".encode()
    server = site.server(
        then=raw(b"HTTP/1.1 307 Moved\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n")
    )
    (refused,) = invoke(site.target(server))
    assert refused.failure == "protocol"
    assert (server.complete, other.complete) == (1, 0)
