"""The real zappa.handler under AWS's runtime client: an application that maps over its own function."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest
from botocore.config import Config

import lambdamap
import tasks

ROOT = Path(__file__).parents[2]
APPLICATION = ROOT / "examples" / "flask_app"
PYTHON = ROOT / ".cache" / "zappa" / "bin" / "python"  # zappa brings an environment of its own
HANG_GUARD_S = 90

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="./dev test makes the environment that zappa runs in"
)


class Function:
    """zappa's handler behind the Invoke API of the local Lambda, run by the environment of zappa."""

    def __init__(self, folder: Path, kind: str, environment: Mapping[str, str]) -> None:
        self.log = folder / "log"
        self.runs = folder / "runs"
        self.runs.touch()
        paths = [Path(lambdamap.__file__).parents[1], Path(tasks.__file__).parent]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(PYTHON, "-m", "lambdamap", "serve", "--port=0", f"--local={kind}"),
                    *("--handler=zappa.handler.lambda_handler", "--function-name=app"),
                    *("--self-invocation", "--sandboxes=3"),
                ],
                cwd=APPLICATION,
                env={
                    **os.environ,
                    **environment,
                    "ZAPPA_RUNS": str(self.runs),
                    "PYTHONPATH": os.pathsep.join(str(path) for path in paths),
                },
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        lines = [self.process.stdout.readline() for _ in range(3)]
        found = dict(re.findall(r"(\w+)=(\S+)", "".join(lines[1:])))
        assert found, self.log.read_text()
        self.client = boto3.client(
            "lambda",
            region_name="us-east-1",
            endpoint_url=found["AWS_ENDPOINT_URL_LAMBDA"],
            aws_access_key_id=found["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=found["AWS_SECRET_ACCESS_KEY"],
            config=Config(read_timeout=HANG_GUARD_S, retries={"total_max_attempts": 1}),
        )

    def invoke(self, event: Any) -> Any:
        """The function's answer, whatever it is."""
        answer = self.client.invoke(FunctionName="app", Payload=json.dumps(event).encode())
        body = json.loads(answer["Payload"].read())
        assert "FunctionError" not in answer, (body, self.log.read_text())
        return body

    def request(self, method: str, path: str, body: str = "", **query: str) -> tuple[int, str]:
        """A request as a REST API of API Gateway passes it on; status and text of the answer."""
        return read(self.invoke(rest_event(method, path, body, query)))

    def told(self, path: str, **query: str) -> Any:
        status, text = self.request("GET", path, **query)
        assert status == 200, (text, self.log.read_text())
        return json.loads(text)

    def lines_of_runs(self) -> list[str]:
        return self.runs.read_text().splitlines()

    def stop(self) -> None:
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        assert self.process.stdout is not None
        with self.process.stdout:
            self.process.wait(30)


def read(answer: Any) -> tuple[int, str]:
    text = answer.get("body") or ""
    if answer.get("isBase64Encoded"):
        text = base64.b64decode(text).decode()
    return answer["statusCode"], text


def rest_event(
    method: str, path: str, body: str, query: Mapping[str, str], age_s: float = 0
) -> dict[str, Any]:
    """The event of a REST API, "version 1"."""
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {"Host": "x.execute-api.eu-central-1.amazonaws.com",
                    "Content-Type": "application/json" if body[:1] == "[" else "text/csv"},
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()},
        "queryStringParameters": dict(query),
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "stage": "dev",
            "requestTimeEpoch": int((time.time() - age_s) * 1000),
            "identity": {"sourceIp": "192.0.2.1"},
        },
        "body": body,
        "isBase64Encoded": False,
    }  # fmt: skip


def http_event(method: str, path: str, body: str, query: Mapping[str, str]) -> dict[str, Any]:
    """The event of an HTTP API, "version 2.0"."""
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": f"/dev{path}",
        "rawQueryString": urlencode(query),
        "headers": {"host": "x.execute-api.eu-central-1.amazonaws.com", "content-type": "text/csv"},
        "queryStringParameters": dict(query),
        "requestContext": {
            "stage": "dev",
            "timeEpoch": int(time.time() * 1000),
            "http": {"method": method, "path": f"/dev{path}", "sourceIp": "192.0.2.1"},
        },
        "body": base64.b64encode(body.encode()).decode(),
        "isBase64Encoded": True,
    }


@pytest.fixture(
    scope="module",
    params=[
        ("awslambdaric", {}),
        ("builtin", {"ZAPPA_EXCEPTION_HANDLER": "zappa_service.swallow"}),
    ],
    ids=["awslambdaric", "builtin-swallows"],
)
def function(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Function]:
    kind, environment = request.param
    running = Function(tmp_path_factory.mktemp("zappa"), kind, environment)
    try:
        yield running
    finally:
        running.stop()


TABLE = "id,value\n" + "".join(f"{n % 7},{n / 2}\n" for n in range(210))
SUMS = "id,result\n" + "".join(f"{k},{sum(n / 2 for n in range(k, 210, 7))}\n" for k in range(7))


@pytest.mark.parametrize("form", [rest_event, http_event])
def test_the_example_maps_over_its_own_function(function: Function, form: Any) -> None:
    before = function.log.read_text().count("Result of lambdamap.worker.entry.zappa_task")
    answer = read(function.invoke(form("PUT", "/", TABLE, {"chunksize": "2"})))
    assert answer == (200, SUMS)
    log = function.log.read_text()
    assert log.count("Result of lambdamap.worker.entry.zappa_task") - before == 4


def test_the_classic_task_message(function: Function) -> None:
    rows = [{"id": n, "values": [n, 1.5], "name": "value"} for n in range(5)]
    status, text = function.request("PUT", "/classic", json.dumps(rows))
    assert status == 200, (text, function.log.read_text())
    assert json.loads(text) == [{"id": n, "result": n + 1.5} for n in range(5)]
    assert "Result of zappa.asynchronous.route_lambda_task" in function.log.read_text()


def test_a_type_error_in_f_runs_it_once(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/map/type_error", items="5")
    assert told["type"] == "TypeError"
    assert "unsupported operand" in told["says"]
    assert function.lines_of_runs()[before:] == ["type_error 5"]


def test_a_type_error_in_a_classic_task_runs_it_once(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/classic/type_error")
    # zappa takes it for a wrong signature; an exception handler that swallows makes it a null.
    assert told == {"result": None} or told["type"] == "RemoteError"
    assert function.lines_of_runs()[before:] == ["type_error 1"]


def test_system_exit_in_f(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/map/leave", items="1,2")
    assert told["type"] == "RemoteError"
    assert "SystemExit" in told["says"]
    assert sorted(function.lines_of_runs()[before:])[0] == "leave 1"
    assert set(function.lines_of_runs()[before:]) <= {"leave 1", "leave 2"}


def test_a_big_reply_and_a_short_log(function: Function) -> None:
    size = function.log.stat().st_size
    told = function.told("/map/big", items="4,3")
    assert told["results"] == [4_000_000, 3_000_000]
    text = function.log.read_text()[size:]
    assert "<lambdamap reply, chunk 0, 1 items done>" in text
    assert len(text) < 10_000, text[:2000]


def test_the_trace_goes_on(function: Function) -> None:
    event = rest_event("GET", "/map/trace", "", {"items": "1"})
    root = "Root=1-5759e988-bd862e3fe1be46a994272793"
    events = function.client.meta.events
    header = f"{root};Parent=53995c3f42cd8ad8;Sampled=0"

    def add(params: Any, **_: Any) -> None:
        params["headers"]["X-Amzn-Trace-Id"] = header

    events.register("before-call.lambda.Invoke", add)
    try:
        _, text = read(function.invoke(event))
    finally:
        events.unregister("before-call.lambda.Invoke", add)
    [(trace, name)] = json.loads(text)["results"]
    assert trace == header
    assert name == "app"


def test_a_request_that_is_nearly_over_at_the_gateway(function: Function) -> None:
    """26 of 28 s have gone in front of the function: what is left ends in DeadlineError."""
    event = rest_event("GET", "/map/nap", "", {"items": "0.0,30.0"}, age_s=26)
    status, text = read(function.invoke(event))
    assert status == 200, text
    told = json.loads(text)
    assert told["type"] == "DeadlineError"
    assert told["partial"] in ({"0": 0.0}, {})


def test_a_request_that_is_refused_says_which_variable_to_set(function: Function) -> None:
    payload = {
        "command": "lambdamap.worker.entry.zappa_task",
        "lambdamap": {"protocol": 1, "function": "os:system", "by_value": 0},
        "p": "lm1:",
    }
    answer = function.invoke(payload)
    assert "LAMBDAMAP_ALLOW" in answer["error"]["message"]
    assert answer["error"]["ran"] == "NOT"
