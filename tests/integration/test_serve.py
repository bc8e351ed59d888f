"""``lambdamap serve`` and the pytest fixture: the local Lambda for other people's programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import boto3
import pytest

import lambdamap
import tasks
from places import search_path

HANG_S = 20


@contextmanager
def served(*arguments: str, cwd: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """The server's process, and the variables that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "lambdamap", "serve", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": _path()},
    ) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(3)]
            yield process, dict(re.findall(r"(\w+)=(\S+)", "".join(lines[1:])))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(HANG_S)


def _path() -> str:
    return search_path(Path(lambdamap.__file__).parents[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_boto3_with_the_printed_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    (tmp_path / "mine.py").write_text("def go(event, context):\n print('went')\n return event + 1")
    with served("--handler", "mine.go", "--function-name", "f", cwd=tmp_path) as (process, found):
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_DEFAULT_REGION", found["AWS_REGION"])
        client = boto3.session.Session().client("lambda")
        answer = client.invoke(FunctionName="f", Payload=b"41")
        assert json.loads(answer["Payload"].read()) == 42
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.invoke(FunctionName="g", Payload=b"41")
        # Edited code is loaded again without anybody's asking.
        (tmp_path / "mine.py").write_text("def go(event, context):\n return event + 1000")
        ends = time.monotonic() + HANG_S
        while json.loads(client.invoke(FunctionName="f", Payload=b"1")["Payload"].read()) != 1001:
            assert time.monotonic() < ends
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(HANG_S) == 0
        assert process.stderr is not None
        assert "went" in process.stderr.read()


def test_maps_over_it(tmp_path: Path) -> None:
    with (
        served(cwd=tmp_path) as (_, found),
        lambdamap.configure(
            function="anything",
            endpoint_url=found["AWS_ENDPOINT_URL_LAMBDA"],
            region=found["AWS_REGION"],
            credentials=(found["AWS_ACCESS_KEY_ID"], found["AWS_SECRET_ACCESS_KEY"]),
        ),
    ):
        assert lambdamap.my_map(tasks.square, range(20), 3) == [x * x for x in range(20)]


def test_no_auth(tmp_path: Path) -> None:
    import urllib.request

    with served("--no-auth", "--handler", "tasks.handler", cwd=tmp_path) as (_, found):
        url = found["AWS_ENDPOINT_URL_LAMBDA"] + "/2015-03-31/functions/f/invocations"
        with urllib.request.urlopen(url, data=b"5", timeout=HANG_S) as answer:
            assert json.loads(answer.read())["event"] == 5


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with served(cwd=tmp_path) as (_, found):
        port = found["AWS_ENDPOINT_URL_LAMBDA"].rpartition(":")[2]
        again = subprocess.run(
            [sys.executable, "-m", "lambdamap", "serve", "--port", port],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
            env={**os.environ, "PYTHONPATH": _path()},
        )
        assert again.returncode == 1
        assert "Error" in again.stderr
        assert "Traceback" not in again.stderr


@pytest.mark.parametrize(
    ("source", "handler", "text"),
    [
        ("", "not_there.go", "No module named 'not_there'"),
        ("", "mine.go", "has no attribute 'go'"),
        ("def go(:", "mine.go", "invalid syntax"),
        ("raise RuntimeError('no licence')", "mine.go", "no licence"),
        ("import sys; sys.exit(3)", "mine.go", "exit status 3"),
        (
            "held = bytearray(b'x') * (300 << 20); import time; time.sleep(60)",
            "mine.go",
            "--memory",
        ),
    ],
)  # fmt: skip
def test_a_handler_that_cannot_be_loaded(
    tmp_path: Path, source: str, handler: str, text: str
) -> None:
    (tmp_path / "mine.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", "lambdamap", "serve", "--port", "0", "--sandboxes", "1",
         "--memory", "256", "--handler", handler],
        capture_output=True, text=True, timeout=HANG_S, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": _path()},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("Error: the function cannot start: ")
    assert text in last
    assert "--handler" in last


def test_a_handler_that_breaks_while_it_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its author is editing it: invocations say what is wrong until it loads again."""
    path = tmp_path / "mine.py"
    path.write_text("def go(event, context): return event")
    with served("--handler", "mine.go", "--sandboxes", "1", cwd=tmp_path) as (process, found):
        for name, value in found.items():
            monkeypatch.setenv(name, value)
        client = boto3.session.Session().client("lambda")

        def ask() -> Any:
            return json.loads(client.invoke(FunctionName="f", Payload=b"5")["Payload"].read())

        assert ask() == 5
        for source, wanted in (
            ("def go(:", "Runtime.UserCodeSyntaxError"),
            ("go = max", "TypeError"),
        ):
            path.write_text(source)
            ends = time.monotonic() + HANG_S
            while (said := ask()) == 5 or said["errorType"] != wanted:
                assert time.monotonic() < ends
                time.sleep(0.05)
        assert process.poll() is None


pytest_plugins = ["pytester"]


def test_the_pytest_fixture(pytester: Any) -> None:
    pytester.makepyfile("""
        import json, urllib.request, urllib.error
        import pytest

        def test_it(local_lambda):
            assert local_lambda.running
            assert local_lambda.access_key
            url = local_lambda.endpoint_url + "/2015-03-31/functions/f/invocations"
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(url, data=b"5", timeout=20)
            caught.value.close()
            assert caught.value.code == 403

        def test_maps_go_to_it(local_lambda):
            import lambdamap
            assert lambdamap.my_map(abs, [-1, -2], 1) == [1, 2]
            assert list(lambdamap.map(lambda x: x + 1, [1])) == [2]
            assert local_lambda.stats["invocations"] == 3

        def test_nothing_is_left_behind():
            import lambdamap
            assert lambdamap.Options().function is None
    """)
    # An installed package has its plugin loaded by pytest itself.
    plugin = "lambdamap.integrations.pytest"
    installed = any(point.value == plugin for point in entry_points(group="pytest11"))
    result = pytester.runpytest_subprocess("-q", *(() if installed else ("-p", plugin)))
    result.assert_outcomes(passed=3)


def test_the_plugin_costs_nothing_until_it_is_used() -> None:
    code = """
import sys, pytest
before = set(sys.modules)
import lambdamap.integrations.pytest
assert not {"asyncio", "h11", "lambdamap.local.server"} & (set(sys.modules) - before)
"""
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": _path()}
    )
