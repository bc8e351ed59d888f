"""The local Lambda keeps Lambda's rules, as boto3 sees them, under both kinds of sandbox."""

from __future__ import annotations

import base64
import contextlib
import gc
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lambdamap.local import LocalLambda
from outside import script_environment

HANG_S = 20
UVLOOP = """
import uvloop
uvloop.install()
import lambdamap, tasks

async def main():
    return sum([value async for value in lambdamap.amap(tasks.square, range(10))])

with lambdamap.configure(backend="local"):
    print(sum(lambdamap.map(tasks.square, range(10))), uvloop.run(main()))
"""


def client(function: LocalLambda, **keys: str) -> Any:
    keys = keys or {
        "aws_access_key_id": function.access_key,
        "aws_secret_access_key": function.secret_key,
    }
    config = Config(retries={"max_attempts": 0}, connect_timeout=HANG_S, read_timeout=HANG_S)
    return boto3.client(
        "lambda",
        endpoint_url=function.endpoint_url,
        region_name="us-east-1",
        config=config,
        **keys,  # type: ignore[arg-type]
    )


@pytest.fixture
def function(sandbox_kind: Any) -> Iterator[LocalLambda]:
    with LocalLambda(
        kind=sandbox_kind, handler="tasks.handler", function_name="f", sandboxes=2, timeout_s=2.0
    ) as running:
        yield running


def call(function: LocalLambda, payload: Any, **more: Any) -> tuple[dict[str, Any], Any]:
    answer = client(function).invoke(FunctionName="f", Payload=json.dumps(payload), **more)
    return answer, json.loads(answer["Payload"].read() or b"null")


def test_success_with_the_log(function: LocalLambda) -> None:
    answer, body = call(function, {"a": 1}, LogType="Tail")
    assert answer["StatusCode"] == 200
    assert answer["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in answer
    assert body["event"] == {"a": 1}
    assert 0 < body["left_ms"] <= 2000
    assert b"handling {'a': 1}" in base64.b64decode(answer["LogResult"])


def test_a_function_error_has_the_real_body(function: LocalLambda) -> None:
    answer, body = call(function, {"raise": True})
    assert answer["StatusCode"] == 200
    assert answer["FunctionError"] == "Unhandled"
    assert (body["errorType"], body["errorMessage"]) == ("ValueError", "boom")
    assert any("tasks.py" in line for line in body["stackTrace"])


def test_timeout_kills_and_a_fresh_process_goes_on(function: LocalLambda) -> None:
    answer, body = call(function, {"sleep": 30})
    assert answer["FunctionError"] == "Unhandled"
    assert body["errorType"] == "Sandbox.Timedout"
    assert "2.00 seconds" in body["errorMessage"]
    assert call(function, 5)[1]["event"] == 5
    assert function.stats["timeouts"] == 1
    assert len(function.pids()) == 2


def test_exit_and_kill(function: LocalLambda) -> None:
    answer, body = call(function, {"exit": 3})
    assert answer["FunctionError"] == "Unhandled"
    assert body["errorType"] == "Runtime.ExitError"
    assert "exit status 3" in body["errorMessage"]
    assert function.kill_sandbox() is None
    assert call(function, 5)[1]["event"] == 5


def test_limits(function: LocalLambda) -> None:
    with pytest.raises(ClientError) as caught:
        call(function, "x" * 6_291_456)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413
    _, body = call(function, {"size": 6_300_000})
    assert body["errorType"] == "Function.ResponseSizeTooLarge"
    assert len(call(function, {"size": 6_000_000})[1]) == 6_000_000


def test_invocation_types_and_qualifiers(function: LocalLambda) -> None:
    lambda_ = client(function)
    assert lambda_.invoke(FunctionName="f", InvocationType="DryRun")["StatusCode"] == 204
    event = lambda_.invoke(FunctionName="f", InvocationType="Event", Payload=b"{}")
    assert event["StatusCode"] == 202
    arn = "arn:aws:lambda:us-east-1:123456789012:function:f"
    for name, more in [(arn, {}), ("f:$LATEST", {}), ("f", {"Qualifier": "$LATEST"})]:
        assert lambda_.invoke(FunctionName=name, Payload=b"1", **more)["StatusCode"] == 200
    for name, more in [("g", {}), ("f:prod", {}), ("f", {"Qualifier": "7"})]:
        with pytest.raises(lambda_.exceptions.ResourceNotFoundException):
            lambda_.invoke(FunctionName=name, Payload=b"1", **more)


def test_throttling(sandbox_kind: Any) -> None:
    with LocalLambda(
        kind=sandbox_kind, handler="tasks.handler", sandboxes=1, concurrency_limit=1
    ) as function:
        lambda_ = client(function)
        lambda_.invoke(FunctionName="f", Payload=b"1")
        function.throttle(HANG_S)
        with pytest.raises(lambda_.exceptions.TooManyRequestsException) as caught:
            lambda_.invoke(FunctionName="f", Payload=b"1")
        assert caught.value.response["Reason"] == "ConcurrentInvocationLimitExceeded"
        function.throttle(0)
        assert lambda_.invoke(FunctionName="f", Payload=b"1")["StatusCode"] == 200


def post(url: str, headers: dict[str, str]) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=b"{}", headers=headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_who_may_call() -> None:
    with LocalLambda(handler="tasks.handler", sandboxes=1) as function:
        url = f"{function.endpoint_url}/2015-03-31/functions/f/invocations"
        assert post(url, {})[0] == 403
        assert post(url, {"Origin": "http://evil.example"})[0] == 403
        with pytest.raises(ClientError) as caught:
            client(
                function,
                aws_access_key_id=function.access_key,
                aws_secret_access_key="wrong",
            ).invoke(FunctionName="f", Payload=b"1")
        assert caught.value.response["Error"]["Code"] == "InvalidSignatureException"
        # The Runtime API needs its secret path.
        assert post(f"{function.endpoint_url}/2018-06-01/runtime/invocation/next", {})[0] == 404
    with LocalLambda(handler="tasks.handler", sandboxes=1, auth=False) as function:
        url = f"{function.endpoint_url}/2015-03-31/functions/f/invocations"
        assert post(url, {})[0] == 200
        assert post(url, {"Origin": "http://evil.example"})[0] == 403


def test_a_handler_that_cannot_be_loaded(sandbox_kind: Any) -> None:
    with LocalLambda(kind=sandbox_kind, handler="no_such_module.handler", sandboxes=1) as function:
        answer, body = call(function, 1)
        assert answer["FunctionError"] == "Unhandled"
        assert body["errorType"] == "Runtime.ImportModuleError"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_sandbox_outlives_its_caller(sandbox_kind: str, number: int) -> None:
    code = (
        "import time; from lambdamap.local import LocalLambda;"
        f"f = LocalLambda(kind={sandbox_kind!r}, handler='tasks.handler', sandboxes=2).start();"
        "print(*f.pids(), flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=script_environment()
    ) as caller:
        assert caller.stdout is not None
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 2
        assert all(alive(pid) for pid in pids)
        caller.send_signal(number)
        caller.wait(HANG_S)
        ends = time.monotonic() + HANG_S
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < ends
            time.sleep(0.02)


def test_a_concurrency_limit(sandbox_kind: Any) -> None:
    with (
        LocalLambda(
            kind=sandbox_kind, handler="tasks.handler", sandboxes=2, concurrency_limit=1
        ) as function,
        ThreadPoolExecutor(1) as threads,
    ):
        lambda_ = client(function)
        running = threads.submit(call, function, {"sleep": 1.0})
        ends = time.monotonic() + HANG_S
        while function.stats["invocations"] == 0:
            assert time.monotonic() < ends
            time.sleep(0.01)
        with pytest.raises(lambda_.exceptions.TooManyRequestsException):
            lambda_.invoke(FunctionName="f", Payload=b"1")
        assert running.result(HANG_S)[0]["StatusCode"] == 200
        assert lambda_.invoke(FunctionName="f", Payload=b"1")["StatusCode"] == 200
        assert function.stats["throttles"] == 1


def test_a_caller_whose_loops_are_uvloops() -> None:
    """The server keeps to asyncio's own loop, whatever the policy makes."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UVLOOP],
        capture_output=True, text=True, timeout=60, env=script_environment(),
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("285 285\n", "")


def test_stopped_while_requests_come(caplog: pytest.LogCaptureFixture) -> None:
    """Their connections are closed: none is served by what is gone, none is left to the garbage
    collector, which would say so."""
    request = b"POST /2015-03-31/functions/f/invocations HTTP/1.1\r\nHost: f\r\nContent-Length: 1\r\n\r\n1"

    def call_again_and_again(port: int) -> None:
        with contextlib.suppress(OSError):
            while True:
                with socket.create_connection(("127.0.0.1", port), HANG_S) as sock:
                    sock.sendall(request)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            with LocalLambda(sandboxes=1, auth=False) as function:
                callers = [threads.submit(call_again_and_again, function.port) for _ in range(4)]
                time.sleep(0.05)
            for caller in callers:
                caller.result(HANG_S)
    gc.collect()
    assert not caplog.records  # nor does asyncio complain
