"""What f may do to its own process, and what no other map may feel of it."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from lambdamap.local import LocalLambda

HANG_S = 20


@pytest.fixture
def function(sandbox_kind: Any) -> Iterator[LocalLambda]:
    """One sandbox, which every map meets in turn."""
    with (
        LocalLambda(kind=sandbox_kind, sandboxes=1) as function,
        lambdamap.configure(
            function="f",
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        yield function


def innocent() -> bool:
    """Whether maps that have done nothing go on; their items run once each."""
    return all(
        lambdamap.my_map(tasks.square, range(6), 1) == [0, 1, 4, 9, 16, 25] for _ in range(5)
    )


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(pid: int) -> bool:
    deadline = time.monotonic() + HANG_S
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return True


def fork(note: str, then: str = "return") -> Callable[[Any], Any]:
    """A function that forks for its first item, whose child does something; each call is noted."""

    def forks(x: Any) -> Any:
        import os
        import sys

        with open(note, "a") as file:
            file.write(f"{x}\n")
        if x != 0:
            return x
        pid = os.fork()
        if pid == 0:
            if then == "raise":
                raise ValueError("in the child")
            if then == "exit":
                sys.exit(3)
            if then == "map":
                import threading

                threading.Thread(target=print).start()
            return -1
        return os.waitpid(pid, 0)[1] >> 8

    return forks


@pytest.mark.parametrize(("then", "code"), [("return", 0), ("raise", 1), ("exit", 3), ("map", 0)])
def test_a_child_that_comes_back(
    function: LocalLambda, then: str, code: int, tmp_path: Path
) -> None:
    """It ends there: it runs no item again, and answers nobody."""
    note = tmp_path / "calls"
    for _ in range(3):
        note.write_text("")
        assert lambdamap.my_map(fork(str(note), then), [0, 1, 2, 3]) == [code, 1, 2, 3]
        assert note.read_text().split() == ["0", "1", "2", "3"]
        assert innocent()
    assert function.stats["crashes"] == 0


def test_a_child_that_comes_back_in_a_batch(function: LocalLambda, tmp_path: Path) -> None:
    """joblib puts several calls into one item."""
    joblib = pytest.importorskip("joblib")
    import lambdamap.integrations.joblib  # noqa: F401

    note = tmp_path / "calls"
    with joblib.parallel_config("lambdamap"):
        parallel = joblib.Parallel(batch_size=4)
        done = parallel(joblib.delayed(fork(str(note)))(x) for x in range(4))
    assert done == [0, 1, 2, 3]
    assert note.read_text().split() == ["0", "1", "2", "3"]
    assert innocent()


def test_a_child_that_comes_back_later(function: LocalLambda, tmp_path: Path) -> None:
    """When its sandbox has long been at work for others."""
    flag = tmp_path / "flag"

    def forks(path: str) -> int:
        import os
        import time

        pid = os.fork()
        while pid == 0 and not os.path.exists(path):
            time.sleep(0.01)
        return pid

    pids = lambdamap.my_map(forks, [str(flag)] * 3)
    assert innocent()
    assert all(alive(pid) for pid in pids)
    flag.touch()
    assert innocent()
    assert all(ends(pid) for pid in pids)
    assert innocent()


def test_a_child_of_a_handler_that_is_not_ours(
    sandbox_kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    import urllib.request

    (tmp_path / "forking.py").write_text(
        "import os\n"
        "def handler(event, context):\n"
        "    pid = os.fork() if event == 'fork' else 0\n"
        "    if pid: os.waitpid(pid, 0)\n"
        "    return [event, os.getpid()]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with LocalLambda(
        kind=sandbox_kind, handler="forking.handler", sandboxes=1, auth=False
    ) as function:
        url = f"{function.endpoint_url}/2015-03-31/functions/f/invocations"
        pid = function.pids()[0]
        for event in ["plain", "fork", "plain", "fork", "plain"]:
            with urllib.request.urlopen(url, json.dumps(event).encode(), HANG_S) as answer:
                assert json.loads(answer.read()) == [event, pid]


def test_processes_of_the_standard_library_still_work(function: LocalLambda) -> None:
    def starts(x: int) -> Any:
        import multiprocessing
        import subprocess
        import sys

        with multiprocessing.get_context("fork").Pool(2) as pool:
            squares = pool.map(abs, [-x, x])
        said = subprocess.run([sys.executable, "-c", "print(7)"], capture_output=True, check=True)
        return squares, int(said.stdout)

    assert lambdamap.my_map(starts, [1, 2]) == [([1, 1], 7), ([2, 2], 7)]
    assert innocent()


def clear_modules(x: Any) -> Any:
    import sys

    sys.modules.clear()
    return x


def delete_ours(x: Any) -> Any:
    import sys

    for name in list(sys.modules):
        if name.startswith("lambdamap"):
            del sys.modules[name]
    return x


def replace_modules(x: Any) -> Any:
    import sys

    sys.modules.update(dict.fromkeys(list(sys.modules)))
    return x


def close_everything(x: Any) -> Any:
    import os

    os.closerange(3, 1000)
    return x


@pytest.mark.parametrize("breaks", [clear_modules, delete_ours, replace_modules, close_everything])
def test_a_sandbox_that_is_broken_is_replaced(
    function: LocalLambda, breaks: Callable[[Any], Any]
) -> None:
    assert innocent()
    for _ in range(3):
        before = function.pids()
        with contextlib.suppress(lambdamap.LambdaMapError):  # its own map may fail
            assert lambdamap.my_map(breaks, [1], by_value=True) == [1]
        assert innocent()
        # AWS's runtime client goes on: it opens a new connection.
        assert breaks is close_everything or function.pids() != before


def test_modules_of_ones_own_may_go(function: LocalLambda) -> None:
    """No reason to replace anything."""

    def forgets(x: Any) -> Any:
        import sys
        import wave  # noqa: F401

        for name in ("wave", "json"):
            sys.modules.pop(name, None)
        return os.getpid()

    pids = function.pids()
    assert lambdamap.my_map(forgets, [1, 2], 1) == pids * 2
    assert innocent()
    assert function.pids() == pids
