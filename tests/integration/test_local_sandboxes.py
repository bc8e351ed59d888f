"""Sandbox processes: what they take over, when they are replaced, and that none is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from lambdamap.local import LocalLambda, pool, server, shared
from places import search_path

HANG_S = 20


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def invoke(function: LocalLambda, payload: Any, **headers: str) -> Any:
    """One unsigned invocation."""
    request = urllib.request.Request(
        f"{function.endpoint_url}/2015-03-31/functions/f/invocations",
        data=json.dumps(payload).encode(),
        headers=headers,
    )
    with urllib.request.urlopen(request, timeout=HANG_S) as answer:
        return json.loads(answer.read())


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    )


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Writes, and writes again, the source of module ``edited``."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str) -> None:
        (tmp_path / "edited.py").write_text(textwrap.dedent(source))

    return write


# --- code ---------------------------------------------------------------------------------------


def test_edited_code_is_picked_up(sandbox_kind: Any, module: Callable[[str], None]) -> None:
    module("def f(x): return 'old', x\ndef handler(event, context): return f(event)")
    with LocalLambda(
        kind=sandbox_kind, handler="edited.handler", sandboxes=2, auth=False
    ) as function:
        assert invoke(function, 1) == ["old", 1]
        wait_for(lambda: function.ready() == 2)
        before = function.pids()
        assert function.refresh_code() == 0
        module("def f(x): return 'brand new', x\ndef handler(event, context): return f(event)")
        assert function.refresh_code() == 2  # the one that has not worked yet, too
        assert [invoke(function, 1) for _ in range(4)] == [["brand new", 1]] * 4
        assert function.refresh_code() == 0
        assert len(function.pids()) == 2
        assert not set(function.pids()) & set(before)
    assert not any(alive(pid) for pid in before)


def test_the_next_map_runs_the_new_version(
    sandbox_kind: Any, module: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module("def f(x): return x + 1")
    import edited  # type: ignore[import-not-found]

    with lambdamap.configure(backend="local", local=sandbox_kind):
        try:
            assert lambdamap.my_map(edited.f, range(6), 1) == [1, 2, 3, 4, 5, 6]
            module("def f(x): return x + 1000")
            importlib.reload(edited)
            assert lambdamap.my_map(edited.f, range(6), 1) == list(range(1000, 1006))
        finally:
            del sys.modules["edited"]


def test_a_file_that_changes_while_it_is_in_use(module: Callable[[str], None]) -> None:
    """The sandbox tells what it read, not what is there when it tells."""
    module("""
        import pathlib
        def handler(event, context):
            path = pathlib.Path(__file__).with_name("helper.py")
            if not path.exists(): path.write_text("name = 'old'")
            import helper
            path.write_text("name = 'newer'")
            return helper.name
    """)
    with LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function:
        assert invoke(function, 0) == "old"
        assert function.refresh_code() == 1
        assert invoke(function, 0) == "newer"


def test_a_sandbox_at_work_is_replaced_afterwards(module: Callable[[str], None]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    source = "import time\ndef handler(event, context): time.sleep(event); return {!r}"
    module(source.format("old"))
    with (
        LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function,
        ThreadPoolExecutor(1) as threads,
    ):
        assert invoke(function, 0) == "old"
        running = threads.submit(invoke, function, 0.5)
        wait_for(lambda: function.stats["invocations"] == 2)
        module(source.format("another"))
        assert function.refresh_code() == 1
        assert running.result(HANG_S) == "old"
        assert invoke(function, 0) == "another"


def test_two_edits_in_one_second(
    module: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python takes cached bytecode for that of a file of the same size and second."""
    import py_compile

    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    path = tmp_path / "edited.py"
    now = int(time.time())
    module("def handler(event, context): return 1")
    os.utime(path, (now, now))
    py_compile.compile(str(path))
    module("def handler(event, context): return 2")
    os.utime(path, ns=(now * 10**9 + 5 * 10**8,) * 2)
    with LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function:
        assert invoke(function, 0) == 2


# --- surroundings -------------------------------------------------------------------------------


def test_sandboxes_take_over_the_callers_surroundings(
    sandbox_kind: Any,
    module: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module("""
        import os, sys
        def handler(event, context):
            return {"path": sys.path, "cwd": os.getcwd(), "env": dict(os.environ),
                    "stdin": sys.stdin.read(), "session": os.getsid(0), "pid": os.getpid(),
                    "trace": os.environ.get("_X_AMZN_TRACE_ID"), "arn": context.invoked_function_arn,
                    "client": context.client_context and context.client_context.custom,
                    "memory": context.memory_limit_in_mb, "id": context.aws_request_id}
    """)
    monkeypatch.setenv("MY_SETTING", "ä value")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(tmp_path)
    with LocalLambda(
        kind=sandbox_kind, handler="edited.handler", sandboxes=1, auth=False, memory_mb=512,
        environment={"EXTRA": "1"},
    ) as function:  # fmt: skip
        headers = {
            "X-Amzn-Trace-Id": "Root=1-2-3",
            "X-Amz-Client-Context": "eyJjdXN0b20iOiB7ImEiOiAxfX0=",
        }
        found = invoke(function, 1, **headers)
        wanted = [os.path.join(tmp_path, entry) if entry else str(tmp_path) for entry in sys.path]
        assert found["path"] == wanted
        assert found["cwd"] == str(tmp_path)
        assert found["env"]["MY_SETTING"] == "ä value"
        assert found["env"]["EXTRA"] == "1"
        assert "PYTHONPATH" not in found["env"]
        assert found["env"]["AWS_LAMBDA_FUNCTION_NAME"] == "local"
        assert found["env"]["AWS_EXECUTION_ENV"] == "AWS_Lambda_python%d.%d" % sys.version_info[:2]
        assert found["stdin"] == ""
        assert found["session"] == found["pid"]
        assert (found["trace"], found["client"]) == ("Root=1-2-3", {"a": 1})
        assert found["memory"] == "512"
        assert invoke(function, 1)["trace"] in (None, "")
        with pytest.raises(urllib.error.HTTPError) as caught:
            invoke(function, 1, **{"X-Amz-Client-Context": "e30"})
        with caught.value as answer:
            assert (answer.code, "Base64" in answer.read().decode()) == (400, True)
        (tmp_path / "deeper").mkdir()
        monkeypatch.chdir(tmp_path / "deeper")
        assert function.refresh_code() == 1
        assert invoke(function, 1)["cwd"] == str(tmp_path / "deeper")


def test_a_callers_running_loop_does_not_matter() -> None:
    async def cell() -> list[int]:
        with lambdamap.configure(backend="local"):
            return lambdamap.my_map(tasks.square, range(5), 1)

    assert asyncio.run(cell()) == [0, 1, 4, 9, 16]


def test_maps_in_a_sandbox_go_to_a_local_lambda_of_its_own(sandbox_kind: Any) -> None:
    with lambdamap.configure(backend="local", local=sandbox_kind, depth=1):
        assert lambdamap.my_map(tasks.nested, [3], 1) == [[0, 1, 4]]


def test_a_worker_that_refuses_can_be_tried_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "tasks:sq*")
    with (
        LocalLambda(sandboxes=1) as function,
        lambdamap.configure(
            function="f",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        assert lambdamap.my_map(tasks.square, [3], 1) == [9]
        with pytest.raises(lambdamap.WorkerInitError, match="does not allow tasks:identity"):
            lambdamap.my_map(tasks.identity, [3], 1)


def test_where_processes_cannot_be_watched_by_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with LocalLambda(handler="tasks.handler", sandboxes=1, auth=False) as function:
        assert invoke(function, {"exit": 3})["errorType"] == "Runtime.ExitError"
        assert invoke(function, 1)["event"] == 1


# --- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [{"code": 0}, {"code": 7}, {"signal": 9}, {"signal": 11}])
def test_how_a_process_ended(sandbox_kind: Any, event: Any, module: Callable[[str], None]) -> None:
    module("""
        import os, sys
        def handler(event, context):
            if "signal" in event: os.kill(os.getpid(), event["signal"])
            if "code" in event: sys.exit(event["code"])
            return event
    """)
    with LocalLambda(
        kind=sandbox_kind, handler="edited.handler", sandboxes=1, auth=False
    ) as function:
        found = invoke(function, event)
        assert found["errorType"] == "Runtime.ExitError"
        ends = {0: "without providing a reason", 7: "exit status 7"}
        signals = {9: "signal: killed", 11: "signal: segv"}
        wanted = ends[event["code"]] if "code" in event else signals[event["signal"]]
        assert wanted in found["errorMessage"]
        assert invoke(function, {"fine": 1}) == {"fine": 1}
        assert function.stats["crashes"] == 1


def test_what_cannot_be_json(module: Callable[[str], None]) -> None:
    module("def handler(event, context): return {1, 2} if event else b'[1]'")
    with LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function:
        assert invoke(function, 1)["errorType"] == "Runtime.MarshalError"
        assert invoke(function, 0) == [1]


def test_each_waiting_caller_learns_that_nothing_starts(sandbox_kind: Any) -> None:
    """Also those that come when the server has given up starting by itself."""
    with LocalLambda(
        kind=sandbox_kind, handler="no_such_module.handler", sandboxes=2, auth=False
    ) as function:
        wait_for(lambda: not function.pids())
        for _ in range(4):
            assert "errorType" in invoke(function, 1)


def test_a_start_that_hangs(module: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_INIT_S", 0.5)
    module("import time\ntime.sleep(600)")
    with LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function:
        assert invoke(function, 1)["errorType"] == "Sandbox.Timedout"


def test_what_a_sandbox_has_started_ends_with_it(module: Callable[[str], None]) -> None:
    module("""
        import os, subprocess
        def handler(event, context):
            child = subprocess.Popen(["sleep", "600"])
            if event == "exit": open(event + ".pid", "w").write(str(child.pid)); os._exit(1)
            return child.pid
    """)
    with LocalLambda(handler="edited.handler", sandboxes=1, auth=False) as function:
        pid = invoke(function, "stay")
        assert alive(pid)
    wait_for(lambda: not alive(pid))


STARTS_AND_WAITS = """
    import sys, time, threading
    from lambdamap.local import LocalLambda
    import json, urllib.request
    f = LocalLambda(kind=sys.argv[1], handler=sys.argv[2], sandboxes=2, auth=False).start()
    url = f.endpoint_url + "/2015-03-31/functions/f/invocations"
    def ask():
        urllib.request.urlopen(url, data=sys.argv[3].encode()).read()
    if sys.argv[3]:
        threading.Thread(target=ask, daemon=True).start()
        while not f.stats["invocations"]: time.sleep(0.01)
        time.sleep(0.3)
    print(*f.pids(), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("event", ["", "python", "native"])
def test_nothing_outlives_a_killed_caller(
    sandbox_kind: str, event: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle sandboxes, one in a Python loop, and one in native code that keeps the GIL."""
    (tmp_path / "stuck.py").write_text(
        textwrap.dedent("""
        import ctypes
        def handler(event, context):
            while event == "python": pass
            ctypes.PyDLL(None).sleep(600)
        """)
    )
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    )
    payload = json.dumps(event) if event else ""
    with run_python(STARTS_AND_WAITS, sandbox_kind, "stuck.handler", payload) as caller:
        assert caller.stdout is not None
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert len(pids) == 2
        caller.send_signal(signal.SIGKILL)
        caller.wait(HANG_S)
        wait_for(lambda: not any(alive(pid) for pid in pids))


def test_ctrl_c_is_the_callers_alone() -> None:
    code = """
        import sys, time, signal, os, tasks
        import lambdamap
        from lambdamap.local import shared
        with lambdamap.configure(backend="local"):
            pids = lambdamap.my_map(tasks.pid, range(8), 1)
            try:
                os.killpg(0, signal.SIGINT)
                time.sleep(5)
            except KeyboardInterrupt:
                pass
            assert set(lambdamap.my_map(tasks.pid, range(8), 1)) <= set(shared().pids())
            assert shared().stats["crashes"] == 0
            print("fine")
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=HANG_S * 2,
        check=False,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    )
    assert found.stdout == "fine\n", found.stderr


def test_a_fork_gets_its_own_and_lets_go_of_the_parents() -> None:
    code = """
        import os, sys, time, tasks, lambdamap
        from lambdamap.local import shared
        with lambdamap.configure(backend="local"):
            before = lambdamap.my_map(tasks.square, [3], 1)
            port, pids = shared().port, set(shared().pids())
            child = os.fork()
            if child == 0:
                assert lambdamap.my_map(tasks.square, [4], 1) == [16]
                assert shared().port != port and not pids & set(shared().pids())
                print("child", flush=True)
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            assert lambdamap.my_map(tasks.square, [5], 1) == [25]
            assert set(shared().pids()) == pids
            # A child that lives on holds nothing that the parent's sandboxes wait for.
            if os.fork() == 0:
                os.close(1)
                time.sleep(60)
                os._exit(0)
            print(*pids, flush=True)
            os.kill(os.getpid(), 9)
    """
    with run_python(code) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == "child\n"
        pids = [int(pid) for pid in caller.stdout.readline().split()]
        assert pids
        caller.wait(HANG_S)
        wait_for(lambda: not any(alive(pid) for pid in pids))


def test_start_and_stop_again_and_again() -> None:
    function = LocalLambda(handler="tasks.handler", sandboxes=1, auth=False)
    for _ in range(3):
        function.start()
        assert invoke(function, 1)["event"] == 1
        function.start()
        pids = function.pids()
        function.stop()
        function.stop()
        assert not any(alive(pid) for pid in pids)
    with pytest.raises(RuntimeError, match="not running"):
        function.pids()


def test_a_port_that_is_taken() -> None:
    with LocalLambda(sandboxes=1) as first:
        second = LocalLambda(sandboxes=1, port=first.port)
        with pytest.raises(OSError, match="use"):
            second.start()
        assert not second.running


def test_shared_is_one_and_comes_back() -> None:
    first = shared()
    assert shared() is first
    first.stop()
    assert shared() is not first
    assert shared().running
    server.shared()


@pytest.mark.parametrize(
    "arguments", [{"kind": "docker"}, {"sandboxes": 0}, {"timeout_s": 0}, {"timeout_s": -1.0}]
)
def test_bad_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        LocalLambda(**arguments)
