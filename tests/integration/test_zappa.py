"""The real zappa.handler under AWS's runtime client: an application that maps over its own function."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from served import Served, http_event, read_answer, rest_event

ROOT = Path(__file__).parents[2]
APPLICATION = ROOT / "examples" / "flask_app"
PYTHON = ROOT / ".cache" / "zappa" / "bin" / "python"  # zappa brings an environment of its own

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="./dev test makes the environment that zappa runs in"
)


class Function(Served):
    """The application behind zappa's handler, run by zappa's environment on the sources of here."""

    def __init__(self, folder: Path, kind: str, environment: Mapping[str, str]) -> None:
        self.runs = folder / "runs"
        self.runs.touch()
        super().__init__(
            PYTHON,
            APPLICATION,
            "zappa.handler.lambda_handler",
            f"--local={kind}",
            path=(Path(lambdamap.__file__).parents[1], Path(tasks.__file__).parent),
            log=folder / "log",
            environment={**os.environ, **environment, "ZAPPA_RUNS": str(self.runs)},
        )

    def told(self, path: str, **query: str) -> Any:
        status, text = self.request("GET", path, **query)
        assert status == 200, (text, self.log.read_text())
        return json.loads(text)

    def lines_of_runs(self) -> list[str]:
        return self.runs.read_text().splitlines()


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
    answer = read_answer(function.invoke(form("PUT", "/", TABLE, {"chunksize": "2"})))
    assert answer == (200, SUMS)
    log = function.log.read_text()
    assert log.count("Result of lambdamap.worker.entry.zappa_task") - before == 4


def test_the_classic_task_message(function: Function) -> None:
    rows = [{"id": n, "values": [n, 1.5], "name": "value"} for n in range(5)]
    status, text = function.request("PUT", "/classic", json.dumps(rows))
    assert status == 200, (text, function.log.read_text())
    assert json.loads(text) == [{"id": n, "result": n + 1.5} for n in range(5)]
    log = function.log.read_text()
    assert "Result of lambdamap.worker.entry.zappa_message" in log
    assert "lm1:" not in log  # no payload


def test_a_type_error_in_f_runs_it_once(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/map/type_error", items="5")
    assert told["type"] == "TypeError"
    assert "unsupported operand" in told["says"]
    assert function.lines_of_runs()[before:] == ["type_error 5"]


def test_a_type_error_in_a_classic_task_is_one(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/classic/type_error")
    assert told["type"] == "TypeError"
    assert "unsupported operand" in told["says"]
    assert "remote_type=" in told["known"]
    assert function.lines_of_runs()[before:] == ["type_error 1"]


def test_system_exit_in_a_classic_task(function: Function) -> None:
    before = len(function.lines_of_runs())
    told = function.told("/classic/leave")
    assert told["type"] == "RemoteError"
    assert "SystemExit: 3" in told["says"]
    assert function.lines_of_runs()[before:] == ["leave 1"]


def test_a_type_error_in_a_task_that_zappa_itself_sent(function: Function) -> None:
    """zappa takes it for a wrong signature; it runs once all the same."""
    before = len(function.lines_of_runs())
    message = {
        "command": "zappa.asynchronous.route_lambda_task",
        "task_path": "zappa_service.type_error",
        "args": [1],
        "kwargs": {},
    }
    answer = function.client.invoke(FunctionName="app", Payload=json.dumps(message).encode())
    body = json.loads(answer["Payload"].read())
    # An exception handler that swallows makes it a null.
    assert body is None or "signature is invalid" in body["errorMessage"]
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
        _, text = read_answer(function.invoke(event))
    finally:
        events.unregister("before-call.lambda.Invoke", add)
    [(trace, name)] = json.loads(text)["results"]
    assert trace == header
    assert name == "app"


def test_a_request_that_is_nearly_over_at_the_gateway(function: Function) -> None:
    """26 of 28 s have gone in front of the function: what is left ends in DeadlineError."""
    event = rest_event("GET", "/map/nap", "", {"items": "0.0,30.0"}, age_s=26)
    status, text = read_answer(function.invoke(event))
    assert status == 200, text
    told = json.loads(text)
    assert told["type"] == "DeadlineError"
    assert told["partial"] in ({"0": 0.0}, {})


def test_a_request_that_is_refused_says_which_variable_to_set(function: Function) -> None:
    payload = {
        "command": "lambdamap.worker.entry.zappa_task",
        "lambdamap": {
            "protocol": 1, "function": "os:system", "map": "0" * 32, "chunk": 0, "items": 1,
        },
        "p": "lm1:",
    }  # fmt: skip
    answer = function.invoke(payload)
    assert "LAMBDAMAP_ALLOW" in answer["error"]["message"]
    assert answer["error"]["ran"] == "NOT"
