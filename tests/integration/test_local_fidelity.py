"""Sandboxes of the local Lambda behave as Lambda's, and show what builtin map would show."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

import lambdamap
import tasks
from driver import until
from lambdamap.local import LocalLambda, memory
from outside import run_script

HANG_S = 30
PATH = "/2015-03-31/functions/f/invocations"
KINDS = ("builtin", "awslambdaric")


def options(function: LocalLambda, **more: Any) -> dict[str, Any]:
    return {
        "function": "f",
        "endpoint_url": function.endpoint_url,
        "region": "us-east-1",
        "credentials": (function.access_key, function.secret_key),
        **more,
    }


def post(function: LocalLambda, body: bytes, **headers: str) -> tuple[int, str, Any]:
    """Status, error type and body of an unsigned request's answer."""
    request = urllib.request.Request(function.endpoint_url + PATH, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=HANG_S) as answer:
            return answer.status, "", json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["x-amzn-ErrorType"], json.loads(error.read())


@pytest.fixture
def plain() -> Iterator[LocalLambda]:
    with LocalLambda(handler="tasks.handler", sandboxes=1, auth=False) as running:
        yield running


# --- what is shown ------------------------------------------------------------------------------

SPEAKS = """
def speak(x):
    import subprocess, warnings
    warnings.simplefilter("ignore")  # a fork beside threads, which the newer Pythons warn of
    print("plain", x)
    subprocess.run([sys.executable, "-c", "print('child', flush=True)"], check=True)
    os.write(1, b"native out\\n")
    os.write(2, b"native err\\n")
    pid = os.fork()
    if not pid:
        print("forked")
        return
    os.waitpid(pid, 0)
    return x
"""


@pytest.mark.parametrize("kind", KINDS)
def test_children_and_native_code_are_heard(kind: str) -> None:
    done = run_script(
        """
        assert lambdamap.my_map(speak, [5], backend="local", local=options["kind"]) == [5]
        print("after the map")
        """,
        {"kind": kind}, before=SPEAKS, flags=(),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert sorted(said) == sorted(
        ["[0] plain 5", "child", "native out", "native err", "forked", "after the map"]
    )
    assert said[-1] == "after the map"


def test_who_wants_no_logs_hears_nothing() -> None:
    done = run_script(
        """
        with lambdamap.configure(backend="local"):
            assert lambdamap.my_map(speak, [5], logs=False) == [5]
            print("silent so far")
            lambdamap.my_map(speak, [6])
        """,
        before=SPEAKS, flags=(),
    )  # fmt: skip
    before, _, after = done.stdout.partition("silent so far\n")
    assert (before, "native out" in after, "[0] plain 6" in after) == ("", True, True)


ENDS = {
    "exit": "os._exit(3)",
    "abort": "os.abort()",
    "fault": "import faulthandler, ctypes; faulthandler.enable(); ctypes.string_at(0)",
    "kill": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ENDS)
def test_last_words(kind: str, end: str) -> None:
    """What was printed before a crash, and what the crash itself says."""
    done = run_script(
        """
        try:
            lambdamap.my_map(last, range(10, 16), 6, backend="local", local=options["kind"])
        except lambdamap.WorkerCrashedError:
            print("crashed")
        with lambdamap.configure(backend="local", local=options["kind"]):
            assert lambdamap.my_map(abs, [-1]) == [1]  # and nothing is shown again
        """,
        {"kind": kind},
        before=f"""
def last(x):
    print("words of", x)
    if x == 12:
        print("no line end", end="")
        os.write(2, b"native words\\n")
        {ENDS[end]}
    return x
""",
        flags=(),
    )
    assert done.returncode == 0, done.stderr
    for words in (
        "[0] words of 10",
        "[2] words of 12",
        "[2] no line end",
        "native words",
        "crashed",
    ):
        assert done.stdout.count(words) == 1, (words, done.stdout)
    assert done.stdout.index("no line end") < done.stdout.index("crashed")
    assert ("Fatal Python error: Segmentation fault" in done.stdout) == (end == "fault")


def test_words_of_what_takes_too_long() -> None:
    said: list[bytes] = []

    def slow(x: Any) -> None:

        print("at it", flush=True)
        time.sleep(60)

    with (
        LocalLambda(sandboxes=1, timeout_s=1, log=said.append) as function,
        pytest.raises((lambdamap.WorkerTimeoutError, lambdamap.DeadlineError)),
    ):
        lambdamap.my_map(slow, [1], by_value=True, **options(function))
    assert b"".join(said) == b"[0] at it\n"


# --- surroundings -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_next_map_sees_what_has_changed(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def look(name: str) -> Any:
        return os.environ.get(name), sys.argv, os.getcwd()

    def here() -> Any:
        found = lambdamap.my_map(look, ["SEEN"] * 3, 1)
        assert found[0] == found[1] == found[2]
        return found[0]

    with lambdamap.configure(backend="local", local=kind):
        monkeypatch.setenv("SEEN", "one")
        monkeypatch.setattr(sys, "argv", ["report.py", "--year", "2024", "x" * 300_000])
        assert here() == ("one", sys.argv, os.getcwd())
        monkeypatch.setenv("SEEN", "two")
        assert here() == ("two", sys.argv, os.getcwd())
        monkeypatch.delenv("SEEN")
        monkeypatch.setattr(sys, "argv", ["other.py"])
        monkeypatch.chdir(tmp_path)
        assert here() == (None, ["other.py"], str(tmp_path))
        pids = set(lambdamap.my_map(tasks.pid, range(8), 1))
        monkeypatch.setenv("PYTEST_CURRENT_TEST", "another")
        assert set(lambdamap.my_map(tasks.pid, range(8), 1)) <= pids | set(
            lambdamap.local.shared(kind).pids()  # type: ignore[arg-type]
        )


def test_permissions_of_the_environment_are_those_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    with lambdamap.configure(backend="local"):
        assert lambdamap.my_map(tasks.square, [2]) == [4]
        monkeypatch.setenv("LAMBDAMAP_ALLOW", "tasks:identity")
        with pytest.raises(lambdamap.WorkerInitError, match="tasks:square"):
            lambdamap.my_map(tasks.square, [2])


NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
         "BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")  # fmt: skip


@pytest.mark.parametrize(
    ("sandboxes", "cores", "own", "wanted"),
    [
        (1, 8, {}, dict.fromkeys(NAMES, "8")),
        (3, 8, {}, dict.fromkeys(NAMES, "2")),
        (4, 2, {}, dict.fromkeys(NAMES, "1")),
        (2, 8, {"MKL_NUM_THREADS": "3"}, {**dict.fromkeys(NAMES, "4"), "MKL_NUM_THREADS": "3"}),
        # The others follow it.
        (2, 8, {"OMP_NUM_THREADS": "6"}, {"OMP_NUM_THREADS": "6", "VECLIB_MAXIMUM_THREADS": "4"}),
    ],
)
@pytest.mark.parametrize("place", ["environ", "environment"])
def test_sandboxes_share_the_cores(
    sandboxes: int,
    cores: int,
    own: dict[str, str],
    wanted: dict[str, str],
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from lambdamap.local import server

    (tmp_path / "shows.py").write_text(
        "import os\ndef handler(event, context): return {n: os.environ.get(n) for n in event}"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(server, "_cores", lambda: cores)
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        if place == "environ" and name in own:
            monkeypatch.setenv(name, own[name])
    given = own if place == "environment" else {}
    with LocalLambda(
        handler="shows.handler", sandboxes=sandboxes, auth=False, environment=given
    ) as function:
        found = post(function, json.dumps(NAMES).encode())[2]
    assert {name: value for name, value in found.items() if value is not None} == wanted


# --- memory -------------------------------------------------------------------------------------


def take(megabytes: float) -> int:

    held = bytearray(int(megabytes * (1 << 20)))
    held[::4096] = b"x" * len(held[::4096])
    time.sleep(0.5)
    return len(held) >> 20


def take_for_a_moment(megabytes: int) -> int:
    held = bytearray(megabytes << 20)
    held[::4096] = b"x" * len(held[::4096])
    return len(held) >> 20


def take_in_a_child(megabytes: int) -> int:
    import subprocess
    import sys

    code = f"import time; held = bytearray(b'x') * ({megabytes} << 20); time.sleep(5)"
    return subprocess.run([sys.executable, "-c", code]).returncode


def share_with_children(megabytes: int) -> int:
    """The same pages in five processes."""
    import os

    held = bytearray(b"x") * (megabytes << 20)
    pids = [os.fork() for _ in range(1)]
    for _ in range(3):
        if 0 not in pids:
            pids.append(os.fork())
    if 0 in pids:
        time.sleep(1.0)
        os._exit(held[0] != ord("x"))
    return sum(os.waitpid(pid, 0)[1] for pid in pids)


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("greedy", [take, take_for_a_moment, take_in_a_child])
def test_memory_has_a_limit(kind: Any, greedy: Callable[[int], int]) -> None:
    with LocalLambda(kind=kind, sandboxes=1, memory_mb=256) as function:
        where = options(function, by_value=True)
        assert lambdamap.my_map(take, [30], **where) == [30]
        before = function.pids()
        with pytest.raises(lambdamap.WorkerCrashedError, match=r"Runtime\.OutOfMemory") as caught:
            lambdamap.my_map(greedy, [600], **where)
        assert (list(caught.value.indices), caught.value.ran) == ([0], "RAN")
        assert "signal: killed, for using more than 256 MB: raise memory_mb" in str(caught.value)
        assert lambdamap.my_map(take, [30], **where) == [30]
        assert function.pids() != before
        assert function.stats["crashes"] == 1


@needs_proc
def test_shared_pages_count_once() -> None:
    with LocalLambda(sandboxes=1, memory_mb=512) as function:
        where = options(function, by_value=True)
        assert lambdamap.my_map(share_with_children, [200], **where) == [0]
        assert function.stats["crashes"] == 0


@needs_proc
def test_memory_of_a_process() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", "held = bytearray(b'x') * (100 << 20); print(1, flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        known = memory.Memory(process.pid)
        for _ in range(2):
            assert known.exceeds(100 << 20)
            assert not known.exceeds(200 << 20)
            assert known.exceeded(100 << 20)
            assert not known.exceeded(200 << 20)
        process.kill()
        process.wait(HANG_S)
        assert not known.exceeds(0)
        assert not known.exceeded(0)


@needs_proc
def test_the_limit_is_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    with lambdamap.configure(backend="local"):
        assert lambdamap.my_map(take_for_a_moment, [400], by_value=True) == [400]
        with pytest.raises(lambdamap.WorkerCrashedError, match="OutOfMemory"):
            lambdamap.my_map(take_for_a_moment, [400], by_value=True, memory_mb=256)
        monkeypatch.setenv("LAMBDAMAP_MEMORY_MB", "256")
        with pytest.raises(lambdamap.WorkerCrashedError, match="OutOfMemory"):
            lambdamap.my_map(take_for_a_moment, [400], by_value=True)
    for function in (lambdamap.local.shared("builtin", 256),):
        function.stop()
    with pytest.raises(ValueError, match="memory_mb must be"):
        LocalLambda(memory_mb=0)


# --- the Invoke API -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"{oops", b'"', b'{"x": NaN}', b"[Infinity]", b"[-Infinity]", b"\xff", b"\xef\xbb\xbf1", b"1 2",
     '{"a": 1}'.encode("utf-16"), b"[" * 100_000, b" "],
)  # fmt: skip
def test_what_is_not_json_is_refused(plain: LocalLambda, body: bytes) -> None:
    before = plain.stats["invocations"]
    status, kind, said = post(plain, body)
    assert (status, kind) == (400, "InvalidRequestContentException")
    assert said["message"].startswith("Could not parse request body into json")
    assert post(plain, body, **{"X-Amz-Invocation-Type": "Event"})[0] == 400
    assert plain.stats["invocations"] == before
    assert post(plain, b" [1] ")[2]["event"] == [1]


def test_what_is_json_is_taken(plain: LocalLambda) -> None:
    for body in (b"null", b"1e400", b"1" * 4000, b'"\\ud800"', '"\u00e4"'.encode(), b"[[[[]]]]"):
        assert post(plain, body)[0] == 200


def test_the_users_random_numbers_stay(plain: LocalLambda) -> None:
    """The server runs in the user's process, who may have seeded the random module."""
    before = random.getstate()
    assert post(plain, b"{}")[0] == 200
    assert random.getstate() == before


def test_events_have_their_own_limit(plain: LocalLambda) -> None:
    event = {"X-Amz-Invocation-Type": "Event"}
    most = 1_048_576
    assert post(plain, b'"%b"' % (b"x" * (most - 2)), **event)[0] == 202
    status, kind, said = post(plain, b'"%b"' % (b"x" * (most - 1)), **event)
    assert (status, kind) == (413, "RequestTooLargeException")
    assert "1048577 byte payload is too large for the Event invocation type" in said["message"]
    assert post(plain, b'"%b"' % (b"x" * most))[0] == 200


def test_events_wait_in_bounded_memory() -> None:
    """They have their answer already: beyond the room for all bodies there is 429 instead."""
    with LocalLambda(handler="tasks.handler", sandboxes=1) as function:
        client = boto3.client(
            "lambda", endpoint_url=function.endpoint_url, region_name="us-east-1",
            aws_access_key_id=function.access_key, aws_secret_access_key=function.secret_key,
            config=Config(retries={"max_attempts": 0}),
        )  # fmt: skip

        def tell(seconds: float) -> None:
            body = json.dumps({"sleep": seconds, "more": "x" * 50})
            client.invoke(FunctionName="f", InvocationType="Event", Payload=body)

        function._on_loop(lambda _: setattr(function._front._bodies, "limit", 100))
        tell(HANG_S)
        # Its sandbox has fetched it: its body no longer waits.
        until(lambda: not function._on_loop(lambda _: function._front._bodies.used))
        with pytest.raises(client.exceptions.TooManyRequestsException):
            for _ in range(5):
                tell(HANG_S)
        assert function._on_loop(lambda pool: pool.load) == 3  # one runs, the others have room


def test_the_context_is_that_of_awslambdaric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "context.py").write_text(
        "def handler(event, context):\n"
        "    def show(x):\n"
        "        if x is None or isinstance(x, (str, int, dict)): return x\n"
        "        if callable(x): return 'callable'\n"
        "        return {n: show(getattr(x, n)) for n in dir(x) if n[0] != '_'}\n"
        "    found = show(context)\n"
        "    found['trace'] = context.w3c()\n"
        "    found['shown'] = repr(context).replace(context.aws_request_id, '')\n"
        "    del found['aws_request_id']\n"
        "    return found\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import base64

    client = {
        "client": {"app_title": "t", "installation_id": "i"}, "custom": {"a": 1},
        "w3c": {"traceparent": "00-1", "other": "x", "baggage": 3},
    }  # fmt: skip
    headers = {
        "X-Amz-Tenant-Id": "blue-7",
        "X-Amz-Client-Context": base64.b64encode(json.dumps(client).encode()).decode(),
    }
    found = []
    for kind in KINDS:
        with LocalLambda(kind=kind, handler="context.handler", sandboxes=1, auth=False) as function:  # type: ignore[arg-type]
            found.append([post(function, b"1")[2], post(function, b"1", **headers)[2]])
    assert found[0] == found[1]
    bare, full = found[0]
    assert (bare["tenant_id"], bare["client_context"], bare["trace"]) == (None, None, {})
    assert full["tenant_id"] == "blue-7"
    assert full["trace"] == {"traceparent": "00-1"}
    assert full["client_context"]["client"]["app_title"] == "t"


def test_many_sandboxes_are_watched_together() -> None:
    with LocalLambda(sandboxes=4, memory_mb=300) as function:
        where = options(function, by_value=True)
        with ThreadPoolExecutor(4) as threads:
            asked = [
                threads.submit(lambdamap.my_map, take, [n], **where) for n in (20, 500, 21, 22)
            ]
        assert [asked[n].result(HANG_S) for n in (0, 2, 3)] == [[20], [21], [22]]
        with pytest.raises(lambdamap.WorkerCrashedError):
            asked[1].result(HANG_S)
