"""Replies with something before them, or wrong with them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import lambdamap
import tasks
from driver import invoke
from scripted import in_one_segment, plain_reply, raw, run

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


# --- parts that are not as they should be ----------------------------------------------------------


def _with_error(**parts: Any) -> dict[str, Any]:
    """The error of the third of five items, of which parts are not as they should be."""
    error = {
        "kind": "function", "type": "ValueError", "module": "builtins", "message": "m",
        "traceback": "t", "index": 2, "args": None, "ran": "RAN", **parts,
    }  # fmt: skip
    return {"error": error}


def _as_text(value: Any) -> dict[str, Any]:
    from lambdamap import _codec

    return {"r": _codec.encode_text(value)}


_FIVE = [0, 1, 4, 9, 16]
_LIES: dict[str, dict[str, Any]] = {
    "a number": _as_text(5),
    "results alone": _as_text(_FIVE),
    "results that are none": _as_text([5, {}]),
    "results without an index": _as_text([dict(enumerate([0, 1, 4, 9])) | {5: 16}, {}]),
    "errors that are none": _as_text([_FIVE, 5]),
    "an error by name": _as_text([_FIVE, {"a": {}}]),
    "an error behind the end": _as_text([_FIVE, {5: {}}]),
    "an error before the first": _as_text([_FIVE, {-1: {}}]),
    "an error that is none": _as_text([_FIVE, {1: 5}]),
    "plain results that are none": {"r": {"results": 1}},
    "a plain error that is none": {"r": {"results": _FIVE, "errors": {"0": 5}}},
    "a plain error behind the end": {"r": {"results": _FIVE, "errors": {"5": {}}}},
    "plain errors that are none": {"r": {"results": _FIVE, "errors": []}},
    "an error and no results": {**_with_error(), "r": None},
    "an empty error": {"error": {}},
    **{
        f"{part} {value!r}": _with_error(**{part: value})
        for part, values in {
            "index": ("x", [], 10**30, -3, 1.5, True),
            "kind": ([], None),
            "ran": ([], {}, "PERHAPS"),
            "type": (5, "ValueError.__init__", "BaseException"),
            "module": (None, "os"),
            "args": (5, "lm1:", "lm1:wA=="),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("lie", _LIES.values(), ids=_LIES)
def test_row_58_a_reply_of_odd_parts(plain_site: Any, lie: dict[str, Any]) -> None:
    """What a worker in another language may get wrong, too: an error that speaks of these items."""

    def change(answer: dict[str, Any]) -> None:
        answer.update(lie)
        for name in [name for name, value in lie.items() if value is None]:
            del answer[name]

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.LambdaMapError) as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert caught.value.ran == "RAN"
    assert set(caught.value.indices) <= set(range(5))


@pytest.mark.parametrize("out", [5, [1, 2], {}, [["a", 1]], [["a", "b"]], [[None, None]], [[1]]])
def test_row_58_odd_output(plain_site: Any, out: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not shown; the results are good."""
    server = plain_site.server(then=run(lambda answer: answer.update(out=out)))
    assert list(plain_site.map(server, tasks.square, range(5), chunksize=5)) == _FIVE
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [5, [], {}, {"module": 7}])
def test_row_58_odd_word_of_stale_code(plain_site: Any, code: Any) -> None:
    server = plain_site.server(then=run(lambda answer: answer["lambdamap"].update(code=code)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(plain_site.map(server, tasks.square, range(5), chunksize=5)) == _FIVE
    assert all(w.category is lambdamap.StaleCodeWarning for w in caught)
