"""``lambdamap doctor``: what it finds, against real counterparts that lack one thing each."""

from __future__ import annotations

import json
import resource
from types import SimpleNamespace
from typing import Any

import pytest

import lambdamap
from commands import run
from driver import api_options
from lambdamap.cli import doctor
from lambdamap.cli.common import in_options
from lambdamap.cli.doctor import Finding
from lambdamap.local import LocalLambda
from lambdamap.options import resolve
from scripted import Connection, Request, Server, Step, aws_error, plain_reply, raw, reply


def findings(**options: Any) -> dict[str, Finding]:
    found: list[Finding] = []
    doctor.examine(found.append, resolve(**options))
    assert len({finding.subject for finding in found}) == len(found)
    return {finding.subject: finding for finding in found}


def reached(running: LocalLambda, **more: Any) -> dict[str, Any]:
    keys = (running.access_key, running.secret_key)
    return {
        "function": "f",
        "region": "us-east-1",
        "endpoint_url": running.endpoint_url,
        "credentials": keys,
        **more,
    }


def failed(found: dict[str, Finding]) -> list[str]:
    return [subject for subject, finding in found.items() if finding.state == "FAIL"]


def test_all_is_well_with_a_worker(sandbox_kind: Any) -> None:
    with LocalLambda(kind=sandbox_kind, function_name="f", sandboxes=1) as function:
        found = findings(**reached(function))
        assert failed(found) == []
        assert found["function"].text == "f may be invoked (DryRun)"
        assert found["worker"].text.startswith(f"lambdamap {lambdamap.__version__}, Python 3.")
        assert found["allowed"].text.endswith("by value")
        assert function.stats["invocations"] == 1
        assert function.secret_key not in str(found)
        wrong = findings(**reached(function, function="g"))
        assert failed(wrong) == ["function"]
        assert "check the function's name, the region and the account" in wrong["function"].text
        denied = findings(**reached(function, credentials=("AKLOCALX", "no")))
        assert "lambda:InvokeFunction" in denied["function"].text
        for found in (wrong, denied):
            assert "run for them" not in found["function"].text  # nothing was to run
            assert found["function"].text[-1].isalnum()


def test_a_function_that_does_not_run_lambdamap() -> None:
    with LocalLambda(handler="tasks.handler", function_name="f", sandboxes=1) as function:
        found = findings(**reached(function))
        assert failed(found) == ["worker"]
        assert "lambdamap.worker.wrap" in found["worker"].remedy


class Asked:
    """A server that answers DryRun in its own way, and the invocation as a handler of anybody's; what
    had been reported when it was asked."""

    def __init__(self, dry_run: Step) -> None:
        self.dry_run = dry_run
        self.found: list[Finding] = []
        self.said: list[list[str]] = []

    def __call__(self, connection: Connection, request: Request) -> None:
        self.said.append([str(finding) for finding in self.found])
        kind = request.headers.get("x-amz-invocation-type")
        (self.dry_run if kind == "DryRun" else reply(b'{"charged":null}'))(connection, request)

    def examine(self, **how: Any) -> dict[str, Finding]:
        with Server(then=self) as server:
            options = api_options(server)
            del options["chunksize"], options["progress"]
            doctor.examine(self.found.append, resolve(**options), **how)
        return {finding.subject: finding for finding in self.found}


@pytest.mark.parametrize(
    ("dry_run", "state", "text"),
    [
        (raw(plain_reply(b"", 204)), "ok", "may be invoked (DryRun)"),
        (reply(b'{"charged":null}'), "note", "does not support DryRun"),
        (
            aws_error(400, "InvalidParameterValueException", "not supported"),
            "note",
            "does not support DryRun",
        ),
        (aws_error(404, "ResourceNotFoundException", "not there"), "FAIL", "not there"),
        (aws_error(403, "AccessDeniedException", "not you"), "FAIL", "not you"),
    ],
    ids=["known", "run", "refused", "missing", "denied"],
)
def test_dry_run_of_other_endpoints(dry_run: Step, state: str, text: str) -> None:
    """Whatever the endpoint makes of DryRun, that a handler may run is said before it does."""
    asked = Asked(dry_run)
    found = asked.examine()
    assert found["function"].state == state
    assert text in found["function"].text
    assert ("worker" in found) == (state != "FAIL")
    assert len(asked.said) == (1 if state == "FAIL" else 2)
    assert all(any("--no-invoke" in line for line in lines) for lines in asked.said)


@pytest.mark.parametrize(
    "how", [{"invoke": False}, {"agree": lambda: False}], ids=["told", "asked"]
)
def test_no_foreign_handler_runs_when_told_so(how: Any) -> None:
    """An endpoint that is not AWS's may answer even a DryRun by running the handler."""
    asked = Asked(raw(plain_reply(b"", 204)))
    found = asked.examine(**how)
    assert asked.said == []
    assert found["function"].state == "note"
    assert "worker" not in found


def test_a_handler_that_is_not_there() -> None:
    with LocalLambda(handler="nowhere.handler", function_name="f", sandboxes=1) as function:
        found = findings(**reached(function))
        assert failed(found) == ["worker"]
        assert "nowhere" in found["worker"].text


@pytest.mark.parametrize(
    ("answer", "state", "text"),
    [
        ({"protocol": 99, "version": "9.0", "python": "3.13"}, "FAIL", "deploy the same release"),
        ({"protocol": 1, "version": "9.0", "python": "2.7"}, "note", "by value"),
        ({"protocol": 1}, "FAIL", "does not run lambdamap"),
    ],
)
def test_versions_that_differ(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], state: str, text: str
) -> None:
    """The reply alone is made up: workers of other releases are not installed here."""
    found: list[Finding] = []
    reply = SimpleNamespace(failure="", body=json.dumps({"lambdamap": answer}).encode())
    monkeypatch.setattr(doctor, "_ask", lambda *_, **__: reply)
    doctor._worker(found.append, None, resolve())  # type: ignore[arg-type]
    assert found[0].state == state
    assert text in str(found[0])


def test_too_few_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, before[1]))
    try:
        found = findings(backend="inline", max_concurrency=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert failed(found) == ["limits"]
    assert "ulimit -n 1064" in found["limits"].remedy
    assert found["backend"].text == "inline: maps do not use Lambda"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("pass region=, or set AWS_REGION", "pass --region, or set AWS_REGION"),
        ("backend='local' needs none", "--backend local needs none"),
        ("set idempotent=True if it may", "set --idempotent if it may"),
        ("ship it with by_value=[mine]", "ship it with by_value=[mine]"),
        ("raise invocation_timeout or LAMBDAMAP_REGION=x", None),
    ],
)
def test_messages_name_the_options_of_the_command_line(text: str, wanted: str | None) -> None:
    assert in_options(text) == (wanted or text)


def test_as_a_command() -> None:
    well = run("doctor", "--backend", "local")
    assert well.returncode == 0, well.stderr
    assert [line.split()[0] for line in well.stdout.splitlines()] == ["ok"] * 10
    ill = run("doctor", "--function", "f")
    assert ill.returncode == 1
    assert "FAIL  credentials" in ill.stdout
    assert "AWS_ACCESS_KEY_ID" in ill.stdout
    assert "FAIL  region       no AWS region: pass --region" in ill.stdout
    secret = {"AWS_ACCESS_KEY_ID": "AKIASEEN", "AWS_SECRET_ACCESS_KEY": "hidden"}
    url = ("--endpoint-url", "http://127.0.0.1:1", "--timeout", "3", "--region", "us-east-1")
    away = run("doctor", "--function", "f", *url, **secret)
    assert away.returncode == 1
    assert "ok    credentials  environment" in away.stdout
    assert "Connection refused" in away.stdout
    assert "hidden" not in away.stdout + away.stderr
    odd = run("doctor", "--function", "f g")
    assert odd.returncode == 2
    assert "Error: --function must be" in odd.stderr
