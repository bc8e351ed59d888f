"""Replies with status 200 that report a failure of the function. Rows 31 to 35."""

from __future__ import annotations

from typing import Any

import pytest

import lambdamap
import tasks
from scripted import Connection, Request, Step, function_error, raw, reply, run

RAISED = {
    "errorMessage": "division by zero",
    "errorType": "ZeroDivisionError",
    "requestId": "8fbb3df9",
    "stackTrace": ['  File "/var/task/app.py", line 7, in handler\n', "    1 / 0\n"],
}
TIMED_OUT = {
    "errorType": "Sandbox.Timedout",
    "errorMessage": "RequestId: 8fbb3df9 Error: Task timed out after 3.00 seconds",
}
TIMED_OUT_BEFORE_2024 = {
    "errorMessage": "2024-04-02T10:00:00.000Z 8fbb3df9 Task timed out after 3.00 seconds"
}
EXITED = {
    "errorType": "Runtime.ExitError",
    "errorMessage": "RequestId: 8fbb3df9 Error: Runtime exited with error: exit status 3",
}
KILLED = {
    "errorType": "Runtime.ExitError",
    "errorMessage": "RequestId: 8fbb3df9 Error: Runtime exited with error: signal: killed",
}
NO_MEMORY = {"errorType": "Runtime.OutOfMemory", "errorMessage": "RequestId: 8fbb3df9 Error"}
TOO_LARGE = {
    "errorType": "Function.ResponseSizeTooLarge",
    "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
}


def at(first_item: int, step: Step) -> Step:
    """Run this step for the chunk that begins at an item; run the others."""
    running = run()

    def chosen(connection: Connection, request: Request) -> None:
        (step if request.envelope["chunk"] == first_item else running)(connection, request)

    return chosen


def test_row_31_handler_that_raised(site: Any, idempotent: bool) -> None:
    """The failed chunk is never retried; the other chunks are finished and returned."""
    server = site.server(then=at(3, function_error(RAISED)))
    results = site.map(server, tasks.square, range(8), idempotent=idempotent)
    taken = []
    with pytest.raises(lambdamap.RemoteError, match="division by zero") as caught:
        for result in results:
            taken.append(result)
    assert taken == [0, 1, 4]
    error = caught.value
    assert (error.indices, error.ran, error.attempts) == (range(3, 4), "RAN", 1)
    assert error.remote_type == "ZeroDivisionError"
    assert "line 7, in handler" in error.remote_traceback
    assert error.request_id == "request-f"
    assert all(error.partial[index] == index * index for index in error.partial)
    assert server.complete <= 8
    assert server.runs[3] == 0 and max(server.runs.values()) == 1


def test_row_31_an_error_without_words(site: Any) -> None:
    """An error without a message, as from a function not written in Python, or from an emulator."""
    server = site.server(then=at(1, function_error({})))
    with pytest.raises(lambdamap.RemoteError, match=r"item 1: .*\{\}") as caught:
        list(site.map(server, tasks.square, range(3)))
    assert caught.value.ran == "RAN"


def test_row_31_the_first_by_index_is_raised(site: Any) -> None:
    """The first failure by position is raised, whatever the order in which failures arrive."""
    late = at(5, function_error(RAISED))

    def step(connection: Connection, request: Request) -> None:
        if request.envelope["chunk"] == 2:
            connection.wait(0.1)
            function_error({**RAISED, "errorMessage": "the first"})(connection, request)
        else:
            late(connection, request)

    server = site.server(then=step)
    with pytest.raises(lambdamap.RemoteError, match="the first") as caught:
        list(site.map(server, tasks.square, range(8)))
    assert caught.value.indices == range(2, 3)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (TIMED_OUT, lambdamap.WorkerTimeoutError),
        (TIMED_OUT_BEFORE_2024, lambdamap.WorkerTimeoutError),
        (EXITED, lambdamap.WorkerCrashedError),
        (KILLED, lambdamap.WorkerCrashedError),
        (NO_MEMORY, lambdamap.WorkerCrashedError),
    ],
    ids=["time-out", "old-time-out", "exit", "killed", "memory"],
)
def test_row_32_function_that_ended_early(
    site: Any, idempotent: bool, body: dict[str, str], kind: type[lambdamap.LambdaMapError]
) -> None:
    server = site.server(then=at(4, function_error(body)))
    with pytest.raises(kind) as caught:
        list(site.map(server, tasks.square, range(8), chunksize=2, idempotent=idempotent))
    assert type(caught.value) is kind
    assert (caught.value.indices, caught.value.ran) == (range(4, 6), "RAN")
    assert caught.value.attempts == 1
    assert server.complete <= 4


def test_row_33_reply_above_lambdas_limit(site: Any) -> None:
    """f has run: it does not run again, whatever the size of the chunk."""
    server = site.server(then=at(0, function_error(TOO_LARGE)))
    with pytest.raises(lambdamap.PayloadTooLargeError, match="6291556") as caught:
        list(site.map(server, tasks.square, range(8), chunksize=4, max_concurrency=1))
    assert (caught.value.indices, caught.value.ran) == (range(4), "RAN")
    assert server.complete <= 2


def test_row_33_halves_when_f_may_run_again(site: Any) -> None:
    running = run()

    def step(connection: Connection, request: Request) -> None:
        too_large = request.envelope["items"] > 1
        (function_error(TOO_LARGE) if too_large else running)(connection, request)

    server = site.server(then=step)
    results = site.map(server, tasks.square, range(8), chunksize=4, idempotent=True)
    assert list(results) == [x * x for x in range(8)]
    assert server.complete == 8 + 2 + 4


@pytest.mark.parametrize(
    "error_type",
    [
        "Runtime.ImportModuleError",
        "Runtime.HandlerNotFound",
        "Runtime.UserCodeSyntaxError",
        "Extension.InitError",
    ],
)
def test_row_34_function_that_cannot_begin(
    plain_site: Any, idempotent: bool, error_type: str
) -> None:
    """It fails for every chunk, so the map stops."""
    body = {
        "errorType": error_type,
        "errorMessage": "Unable to import module 'app': No module named 'numpy'",
        "requestId": "",
        "stackTrace": [],
    }
    server = plain_site.server(then=function_error(body))
    results = plain_site.map(
        server, tasks.square, range(1000), max_concurrency=4, idempotent=idempotent
    )
    with pytest.raises(lambdamap.WorkerInitError, match="No module named 'numpy'") as caught:
        list(results)
    assert (caught.value.ran, caught.value.attempts) == ("NOT", 1)
    assert server.complete <= 4


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"errorType":"ValueError","errorMessage":"boom","stackTrace":[]}', "RemoteError"),
        (b'{"errorType":"Sandbox.Timedout","errorMessage":"late"}', "WorkerTimeoutError"),
        (b"Task timed out after 3.00 seconds", "ProtocolError"),
        (b'"a string"', "ProtocolError"),
        (b"null", "ProtocolError"),
        (b"[1, 4, 9]", "ProtocolError"),
        (b"", "ProtocolError"),
        (b'{"statusCode": 200, "body": "hello"}', "ProtocolError"),
    ],
)
def test_row_35_reply_that_is_not_the_workers(
    plain_site: Any, idempotent: bool, body: bytes, kind: str
) -> None:
    """A reply that drops headers, or of another function, is never taken for a result."""
    server = plain_site.server(then=reply(body))
    with pytest.raises(getattr(lambdamap, kind)) as caught:
        list(plain_site.map(server, tasks.square, [3], idempotent=idempotent))
    assert type(caught.value).__name__ == kind
    assert caught.value.ran == "RAN"
    assert server.complete == 1


def test_row_35_the_remedy_is_named(plain_site: Any) -> None:
    server = plain_site.server(then=reply(b'{"hello": 1}'))
    with pytest.raises(lambdamap.ProtocolError, match="invoke_map"):
        list(plain_site.map(server, tasks.square, [3]))


def test_row_35_text_before_the_json(plain_site: Any) -> None:
    server = plain_site.server(then=raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello {} "))
    with pytest.raises(lambdamap.ProtocolError):
        list(plain_site.map(server, tasks.square, [3]))
