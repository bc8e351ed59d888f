"""Replies preceded by something else, and malformed replies."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

import lambdamap
import tasks
from driver import invoke
from lambdamap.worker.call import run_request
from scripted import in_one_segment, plain_reply, raw, reply, run, run_reply

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
    """They are skipped, and the connection is reused for the next request."""
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


@pytest.mark.http1
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


@pytest.mark.http1
def test_row_37_a_second_reply_behind_the_first(site: Any) -> None:
    """It belongs neither to the first request, whose reply is complete, nor to the next one."""
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
    """Check that the reply is refused, the connection is not reused, and the next request succeeds."""
    server = site.server([raw(reply)], then=raw(plain_reply(ANSWER)))
    target = site.target(server)
    (refused,) = invoke(target)
    assert (refused.failure, refused.ran, server.complete) == ("protocol", ran, 1)
    (answered,) = invoke(target)
    assert (answered.failure, answered.body) == ("", ANSWER)
    on_the_same = site.scheme == "h2"  # the other streams of the connection are as good as before
    assert [request.connection for request in server.requests] == [0, 0 if on_the_same else 1]


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
    """Return the error of the third of five items, with some invalid parts."""
    error = {
        "kind": "function", "type": "ValueError", "module": "builtins", "message": "m",
        "traceback": "t", "index": 2, "exception": None, "ran": "RAN", **parts,
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
            "exception": (5, "lm1:", "lm1:wA=="),
        }.items()
        for value in values
    },
}


@pytest.mark.parametrize("lie", _LIES.values(), ids=_LIES)
def test_row_58_a_reply_of_odd_parts(plain_site: Any, lie: dict[str, Any]) -> None:
    """Errors that a worker in another language may get wrong: they concern these items only."""

    def change(answer: dict[str, Any]) -> None:
        answer.update(lie)
        for name in [name for name, value in lie.items() if value is None]:
            del answer[name]

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.LambdaMapError) as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert caught.value.ran == "RAN"
    assert set(caught.value.indices) <= set(range(5))


def _boom(error: Any) -> Any:
    """A worker that fails at the third item and reports it in its own form."""

    def change(answer: dict[str, Any]) -> None:
        answer["lambdamap"]["done"] = 2
        answer.update(_as_text([[0, 1], {}]), error=error)

    return run(change)


@pytest.mark.parametrize(
    "error",
    [
        "boom", ["boom"], 5, True, False, {}, {"errorType": "x"},
        {**_with_error()["error"], "ran": "NOT"},
        {**_with_error()["error"], "ran": "MAYBE"},
        {**_with_error()["error"], "ran": None},
        {**_with_error()["error"], "index": 3},
        {**_with_error()["error"], "index": True},
        {**_with_error()["error"], "message": None},
        {**_with_error()["error"], "kind": "refused", "index": None, "ran": "NOT"},
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_row_58_an_error_that_is_not_one(
    plain_site: Any, idempotent: bool, on_error: Any, error: Any
) -> None:
    """Whatever the worker meant, f has run, and nothing is resent."""
    server = plain_site.server(then=_boom(error))
    options = {"chunksize": 5, "on_error": on_error, "idempotent": idempotent}
    results = plain_site.map(server, tasks.square, range(5), **options)
    if on_error == "return":
        found = list(results)
        assert [type(error) for error in found] == [lambdamap.ProtocolError] * 5
        assert [(error.indices, error.ran) for error in found] == [
            ((index,), "MAYBE") for index in range(5)
        ]
    else:
        with pytest.raises(lambdamap.ProtocolError) as caught:
            list(results)
        assert (caught.value.ran, caught.value.indices) == ("RAN", range(5))
        assert caught.value.partial == {}
    assert server.complete == 1


def test_row_58_an_error_that_is_null_is_none(plain_site: Any) -> None:
    server = plain_site.server([_boom(None)], then=run())
    assert list(plain_site.map(server, tasks.square, range(5), chunksize=5)) == _FIVE
    assert sorted(request.envelope["chunk"] for request in server.requests) == [0, 2, 4]


@pytest.mark.parametrize("protocol", [2, 0, 2**32, "1", None, 1.0, True])
@pytest.mark.parametrize("error", [None, {**_with_error()["error"], "index": None, "ran": "NOT"}])
def test_row_58_a_reply_of_another_protocol(plain_site: Any, protocol: Any, error: Any) -> None:
    """Its contents may mean something else: no result is accepted, nor the word that f did not run."""

    def change(answer: dict[str, Any]) -> None:
        answer["lambdamap"]["protocol"] = protocol
        answer["error"] = error

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert caught.value.ran == "RAN"
    assert server.complete == 1
    if type(protocol) is int and protocol < 2**32:
        assert str(protocol) in str(caught.value)


@pytest.mark.parametrize("done", [None, 0])
def test_row_58_a_refusal_is_believed(plain_site: Any, done: int | None) -> None:
    """Nothing else in the reply says that anything has run."""

    def change(answer: dict[str, Any]) -> dict[str, Any]:
        head = {**answer["lambdamap"], "done": done}
        if done is None:
            del head["done"]
        error = {**_with_error()["error"], "kind": "refused", "index": None, "ran": "NOT"}
        return {"lambdamap": head, "error": error}

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.WorkerInitError, match=r"^m$") as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert (caught.value.ran, caught.value.indices) == ("NOT", range(5))
    assert server.complete == 1


@pytest.mark.parametrize("change", [{"map": "f" * 32}, {"chunk": 7}], ids=str)
def test_row_58_a_refusal_of_another_request(plain_site: Any, change: dict[str, Any]) -> None:
    def refuse(answer: dict[str, Any]) -> dict[str, Any]:
        head = {**answer["lambdamap"], **change}
        del head["done"]
        error = {**_with_error()["error"], "kind": "refused", "index": None, "ran": "NOT"}
        return {"lambdamap": head, "error": error}

    server = plain_site.server(then=run(refuse))
    with pytest.raises(lambdamap.ProtocolError) as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert caught.value.ran == "RAN"


def test_row_58_an_item_that_was_refused_behind_others(plain_site: Any) -> None:
    """The items before it keep their results."""
    error = {**_with_error()["error"], "kind": "refused", "ran": "NOT"}
    server = plain_site.server(then=_boom(error))
    taken = []
    with pytest.raises(lambdamap.WorkerInitError) as caught:
        for result in plain_site.map(server, tasks.square, range(5), chunksize=5):
            taken.append(result)
    assert taken == [0, 1]
    assert (caught.value.ran, caught.value.indices, list(caught.value.not_run)) == (
        "NOT",
        (2,),
        [3, 4],
    )
    found = list(plain_site.map(server, tasks.square, range(5), chunksize=5, on_error="return"))
    assert found[:2] == [0, 1]
    assert [(type(error), error.indices, error.ran) for error in found[2:]] == [
        (lambdamap.WorkerInitError, (2,), "NOT"),
        (lambdamap.WorkerError, (3,), "NOT"),
        (lambdamap.WorkerError, (4,), "NOT"),
    ]
    assert server.complete == 2


def test_row_58_no_time_left(plain_site: Any, idempotent: bool) -> None:
    """The worker says that it has started nothing: a DeadlineError, and no new request."""

    def late(connection: Any, request: Any) -> None:
        event = request.json()
        event["lambdamap"]["left_ms"] = 0
        connection.send(plain_reply(json.dumps(run_request(event)).encode()))

    server = plain_site.server(then=late)
    with pytest.raises(lambdamap.DeadlineError, match="no time left") as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5, idempotent=idempotent))
    assert (caught.value.ran, caught.value.indices) == ("NOT", range(5))
    assert server.complete == 1


@pytest.mark.parametrize(
    "errors",
    [
        {1: {}}, {1: {**_with_error()["error"], "index": 2}},
        {2: {**_with_error()["error"], "ran": "NOT"}},
        {2: {**_with_error()["error"], "ran": 5}},
        {2: {**_with_error()["error"], "message": "\udc80"}},
        {2: _with_error()["error"]},  # next to a result
    ],
    ids=repr,
)  # fmt: skip
def test_row_58_an_error_among_the_results_that_is_not_one(plain_site: Any, errors: Any) -> None:
    server = plain_site.server(then=run(lambda answer: answer.update(_as_text([_FIVE, errors]))))
    found = list(plain_site.map(server, tasks.square, range(5), chunksize=5, on_error="return"))
    assert _all_unread(found, lambdamap.ProtocolError)
    assert server.complete == 1


def _all_unread(found: list[Any], *kinds: type[lambdamap.LambdaMapError]) -> bool:
    """Whether each item of a reply that cannot be read has an error of its own in its place."""
    return all(type(error) in kinds and error.ran != "NOT" for error in found) and [
        error.indices for error in found
    ] == [(index,) for index in range(5)]


def test_row_58_errors_among_the_results_that_nobody_asked_for(plain_site: Any) -> None:
    """With on_error="raise" an exception is raised, and is never a result."""
    errors = {2: _with_error()["error"]}
    server = plain_site.server(then=run(lambda answer: answer.update(_as_text([_FIVE, errors]))))
    with pytest.raises(lambdamap.ProtocolError, match="on_error"):
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))


@pytest.mark.parametrize(
    ("codec", "r"),
    [("native", {"results": _FIVE, "errors": {}}), ("json", _as_text([_FIVE, {}])["r"])],
)
def test_row_58_results_of_another_codec(plain_site: Any, codec: Any, r: Any) -> None:
    server = plain_site.server(then=run(lambda answer: answer.update(r=r)))
    with pytest.raises(lambdamap.ProtocolError, match="codec") as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5, codec=codec))
    assert caught.value.ran == "RAN"


_PLAIN = {
    "a key of a result twice": b'{"results": [1, 2, {"a": 1, "b": {"c": 1, "c": 2}}, 4, 5]}',
    "a key twice, escaped": b'{"results": [1, 2, {"a": 1, "\\u0061": 2}, 4, 5]}',
    "results twice": b'{"results": [1, 2, 3, 4, 5], "results": [1, 2, 3, 4, 5]}',
    "errors twice": b'{"results": [1, 2, 3, 4, 5], "errors": {}, "errors": {}}',
    "an index twice": b'{"results": [1, 2, 3, 4, 5], "errors": {"1": {}, "1": {}}}',
    "too few": b'{"results": [1, 2, 3, 4], "errors": {}}',
    "too many": b'{"results": [1, 2, 3, 4, 5, 6], "errors": {}}',
    "no results": b'{"errors": {}}',
    "null": b'{"results": null}',
    "a text": b'{"results": "12345"}',
    "an object": b'{"results": {"0": 1, "1": 2, "2": 3, "3": 4, "4": 5}}',
    "errors that are null": b'{"results": [1, 2, 3, 4, 5], "errors": null}',
    "NaN": b'{"results": [1, 2, 3, 4, NaN]}',
    "many digits": b'{"results": [1, 2, 3, 4, ' + b"1" * 1_000_000 + b"]}",
    "deep": b'{"results": [1, 2, 3, 4, ' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
}
_GOOD_ERROR = json.dumps(_with_error()["error"]).encode()
for _index in (b" 2", b"0_2", b"+2", b"02", b"2.0", b"-2", b"", b"\\u0662", b"9" * 5000):
    _PLAIN[f"index {_index[:9]!r}"] = (
        b'{"results": [1, 2, null, 4, 5], "errors": {"' + _index + b'": ' + _GOOD_ERROR + b"}}"
    )


def _with_results(text: bytes) -> Any:
    def step(connection: Any, request: Any) -> None:
        answer = json.dumps({**run_reply(request), "r": "@"}).encode()
        connection.send(plain_reply(answer.replace(b'"@"', text)))

    return step


@pytest.mark.parametrize("text", _PLAIN.values(), ids=_PLAIN)
def test_row_58_odd_results_in_plain_json(plain_site: Any, text: bytes) -> None:
    server = plain_site.server(then=_with_results(text))
    options = {"chunksize": 5, "codec": "json", "on_error": "return"}
    found = list(plain_site.map(server, tasks.square, range(5), **options))
    assert _all_unread(found, lambdamap.ProtocolError, lambdamap.DecodeError)
    assert server.complete == 1


def test_row_58_results_in_plain_json(plain_site: Any) -> None:
    """Without the faults of the rows above, such results are accepted."""
    text = b'{"results": [1, {"a": {"a": 2}}, null, 4, 5], "errors": {"2": ' + _GOOD_ERROR + b"}}"
    server = plain_site.server(then=_with_results(text))
    options = {"chunksize": 5, "codec": "json", "on_error": "return"}
    found = list(plain_site.map(server, tasks.square, range(5), **options))
    assert found[:2] + found[3:] == [1, {"a": {"a": 2}}, 4, 5]
    assert isinstance(found[2], lambdamap.RemoteError)


@pytest.mark.parametrize(
    ("unit", "taken"),
    [
        (b"[" * 50 + b"]" * 50, False),
        (b"{}", False),
        (b'{"":0}', False),
        (b'"' + b"x" * 99_998 + b'"', True),  # long text takes little more than its own size
    ],
    ids=lambda value: repr(value)[:12],
)
def test_row_41_what_plain_json_takes_is_bounded(plain_site: Any, unit: bytes, taken: bool) -> None:
    """It is bounded before it is built, by the size of its objects, not by its length."""
    values = b",".join([unit] * (100_000 // len(unit)))
    server = plain_site.server(then=_with_results(b'{"results": [[' + values + b"]]}"))
    options = {"codec": "json", "max_result_bytes": 1 << 20}
    results = plain_site.map(server, tasks.square, [3], **options)
    if taken:
        assert list(results) == [["x" * 99_998]]
        return
    with pytest.raises(lambdamap.ProtocolError, match="1048576") as caught:
        list(results)
    assert caught.value.ran == "RAN"


def test_row_58_what_a_refused_reply_printed_is_not_shown(
    plain_site: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(answer: dict[str, Any]) -> None:
        answer["lambdamap"]["chunk"] = 7
        answer["out"] = [[0, "of another\n"]]

    server = plain_site.server(then=run(change))
    with pytest.raises(lambdamap.ProtocolError):
        list(plain_site.map(server, tasks.square, range(5), chunksize=5, logs=True))
    assert capsys.readouterr().out == ""


def test_row_58_a_deep_error_body(plain_site: Any) -> None:
    """Lambda's description of an exception, with deeply nested brackets."""
    body = b'{"errorType": "E", "errorMessage": "m", "stackTrace": ' + b"[" * 200_000 + b"}"
    server = plain_site.server(then=reply(body, 200, X_Amz_Function_Error="Unhandled"))
    with pytest.raises(lambdamap.RemoteError) as caught:
        list(plain_site.map(server, tasks.square, range(5), chunksize=5))
    assert caught.value.ran == "RAN"


def test_row_58_an_executors_call(plain_site: Any) -> None:
    for change in (
        lambda answer: answer.update(error="boom"),
        lambda answer: answer.update(error={}),
        lambda answer: answer["lambdamap"].update(protocol=2),
        lambda answer: answer.update(_as_text([[1, 2], {}])),
        lambda answer: answer.update(_as_text([[1], {0: _with_error()["error"]}])),
        lambda answer: answer.update(_as_text(5)),
    ):
        server = plain_site.server(then=run(change))
        options = plain_site.options(server)
        del options["chunksize"], options["progress"]
        with lambdamap.LambdaExecutor(**options) as executor:
            error = executor.submit(tasks.square, 3).exception(timeout=30)
        assert isinstance(error, (lambdamap.ProtocolError, lambdamap.DecodeError))
        assert (error.ran, server.complete) == ("RAN", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"error": "boom"}, {"error": {}}, {"lambdamap": {}}, {"lambdamap": {"protocol": 2}},
        {"lambdamap": {"protocol": True}}, {"lambdamap": 1}, {"r": None},
        {"error": {**_with_error()["error"], "index": 0, "ran": "NOT"}},
    ],
    ids=repr,
)  # fmt: skip
def test_row_58_the_reply_to_zappas_message(plain_site: Any, change: dict[str, Any]) -> None:
    answer = {"lambdamap": {"protocol": 1, "chunk": 0, "done": 1, "us": 1}, "r": [5], **change}
    if answer["r"] is None:
        del answer["r"]
    server = plain_site.server(then=reply(json.dumps(answer)))
    options = plain_site.options(server)
    with lambdamap.configure(**options), pytest.raises(lambdamap.ProtocolError) as caught:
        lambdamap.send_to_other_lambda(tasks.square, 3)
    assert (caught.value.ran, server.complete) == ("RAN", 1)


@pytest.mark.parametrize("error", [None, {**_with_error()["error"], "index": 0}])
def test_row_58_a_good_reply_to_zappas_message(plain_site: Any, error: Any) -> None:
    head = {"protocol": 1, "chunk": 0, "done": int(error is None), "us": 1}
    answer = {"lambdamap": head, "r": [5], "error": error}
    server = plain_site.server(then=reply(json.dumps(answer)))
    with lambdamap.configure(**plain_site.options(server)):
        if error is None:
            assert lambdamap.send_to_other_lambda(tasks.square, 3) == [5]
            return
        with pytest.raises(lambdamap.RemoteError, match="ValueError: m"):
            lambdamap.send_to_other_lambda(tasks.square, 3)


@pytest.mark.parametrize(
    "out",
    [
        5, [1, 2], {}, [["a", 1]], [["a", "b"]], [[None, None]], [[1]], [[True, "x"]], [[-1, "x"]],
        [[5, "x"]], [[10**300, "x"]], [[1.0, "x"]], None,
    ],
    ids=repr,
)  # fmt: skip
def test_row_58_odd_output(plain_site: Any, out: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not shown; the results are valid."""
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
