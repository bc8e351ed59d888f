"""fork with idle connections (row 48), multiprocessing and gunicorn (row 49).

Nothing runs twice, and no process disturbs the connections of another.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from driver import api_options
from outside import run_script, script_environment
from scripted import Server, after, run

N = 24


# Descriptors of the process's TCP connections; libcurl also has pairs of local sockets.
CONNECTIONS = """
import socket
def connections():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as sock:
                if sock.family != socket.AF_UNIX:
                    found[int(name)] = is_alive(sock)
        except OSError:
            continue
    return found
def is_alive(sock):
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
"""


def counted_once(server: Server, items: int, times: int = 1) -> None:
    """Check that every item ran exactly as often as maps asked for it."""
    assert server.items == dict.fromkeys(range(items), times)


def test_row_48_fork_with_a_live_pool(site: Any) -> None:
    """The child maps and exits in any way; the parent's pool stays as it was.

    No new connection, no closed one, no request twice.
    """
    server = site.server(then=after(0.01, run()))
    done = run_script(
        f"""
        numbers = list(range({N}))
        squares = [x * x for x in numbers]
        assert list(lambdamap.map(tasks.square, numbers, **options)) == squares
        pool = connections()
        assert pool and all(pool.values()), pool
        for end in ("sys.exit(0)", "os._exit(0)", "pass"):
            child = os.fork()
            if child == 0:
                assert connections() == {{}}
                assert list(lambdamap.map(tasks.square, numbers, **options)) == squares
                exec(end)
                break
            assert os.waitpid(child, 0)[1] == 0
            assert connections() == pool, (connections(), pool)
        else:
            results = lambdamap.map(tasks.square, numbers, **options)
            assert list(results) == squares
            assert results.stats.retries == 0 and results.stats.connections < {N}
            print("fine")
        """,
        site.options(server, max_concurrency=4),
        before=CONNECTIONS + "import os",
        flags=("-X", "dev", "-W", "ignore::DeprecationWarning"),
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
    counted_once(server, N, 5)


def test_row_48_fork_in_the_middle(site: Any) -> None:
    """Maps of two threads run in the parent when it forks, repeatedly.

    They do not exist in the child, whose own map works at once.
    """
    server = site.server(then=after(0.02, run()))
    done = run_script(
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        numbers = list(range(40))
        found = []
        def work():
            found.append(list(lambdamap.map(tasks.identity, numbers, **options)))
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        results = lambdamap.map(tasks.identity, numbers, **options)
        mine = [next(results)]
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                assert list(lambdamap.map(tasks.identity, [7, 8], **options)) == [7, 8]
                try:
                    next(results)
                except RuntimeError as error:
                    assert "fork" in str(error)
                    os._exit(0)
                os._exit(1)
            children.append(child)
            mine.append(next(results))
        mine += results
        for thread in threads:
            thread.join()
        assert mine == numbers and found == [numbers] * 2
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4
        print("fine")
        """,
        site.options(server, max_concurrency=6),
        flags=("-X", "dev"),
    )
    assert done.stdout == "fine\n", done.stderr
    wanted = dict.fromkeys(range(40), 3)
    wanted[0] += 4  # the children's maps have two items
    wanted[1] += 4
    assert server.items == wanted


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_row_49_multiprocessing(method: str, serve: Callable[..., Server], tmp_path: Path) -> None:
    server = serve(then=after(0.01, run()))
    script = tmp_path / "main.py"
    script.write_text(
        f"""
import json, multiprocessing, os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import lambdamap, tasks
options = json.loads(os.environ["TEST_OPTIONS"])
def work(n):
    return list(lambdamap.map(tasks.square, range(n), **options))
if __name__ == "__main__":
    squares = [x * x for x in range({N})]
    assert work({N}) == squares
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map(work, [{N}] * 4, 1) == [squares] * 4
        assert work({N}) == squares
        pool.close()
        pool.join()
    assert work({N}) == squares
    print("fine")
"""
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=script_environment(api_options(server, max_concurrency=4)),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr
    counted_once(server, N, 7)


APP = """
import json, os
import lambdamap, tasks
options = json.loads(os.environ["TEST_OPTIONS"])
# The pool is alive before the workers are forked.
assert list(lambdamap.map(tasks.square, range(4), **options)) == [0, 1, 4, 9]

def app(environ, start_response):
    found = list(lambdamap.map(tasks.square, range(10), **options))
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "found": found}).encode()]
"""


def ask(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as reply:
        body: bytes = reply.read()
        return body


def test_row_49_gunicorn_preload(serve: Callable[..., Server], tmp_path: Path) -> None:
    """Four workers forked from a master with open connections; one is killed and replaced."""
    import json
    from concurrent.futures import ThreadPoolExecutor

    server = serve(then=after(0.05, run()))
    (tmp_path / "app.py").write_text(APP)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd, port = listener.fileno(), listener.getsockname()[1]
        gunicorn = subprocess.Popen(
            [
                sys.executable, "-m", "gunicorn", "--preload", "--workers", "4", "--bind",
                f"fd://{fd}", "--log-level", "warning", "--graceful-timeout", "5", "app:app",
            ],
            cwd=tmp_path, env=script_environment(api_options(server, max_concurrency=4)),
            pass_fds=[fd], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    try:
        first = json.loads(ask(port))
        with ThreadPoolExecutor(8) as callers:
            answers = [json.loads(body) for body in callers.map(ask, [port] * 24)]
        os.kill(first["pid"], signal.SIGTERM)
        with ThreadPoolExecutor(8) as callers:
            answers += [json.loads(body) for body in callers.map(ask, [port] * 8)]
    finally:
        gunicorn.terminate()
        output, _ = gunicorn.communicate(timeout=30)
    assert gunicorn.returncode == 0, output
    assert all(answer["found"] == [x * x for x in range(10)] for answer in answers)
    assert len({answer["pid"] for answer in answers}) >= 2
    runs = len(answers) + 1
    wanted = {n: runs + (1 if n < 4 else 0) for n in range(10)}
    assert server.items == wanted, output
