"""Row 50: the interpreter ends while maps run, in every possible way, with every Python built.

A few times each; a hundred in `./dev soak`.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from driver import api_options
from outside import INTERPRETERS, run_script
from scripted import Server, after, run

MAIN = next(iter(INTERPRETERS))
FOREVER = """
def forever():
    while True:
        list(lambdamap.map(tasks.square, range(20), **options))
"""
# what happens, and the exit status
WAYS: dict[str, tuple[str, int]] = {
    "daemon thread": (
        """
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.2)
        """,
        0,
    ),
    "daemon threads that get the GIL after the dispatcher's end": (
        """
        import atexit
        atexit.unregister(_net.shutdown)
        atexit.register(time.sleep, 0.3)
        atexit.register(_net.shutdown, 2.0, True)
        for _ in range(3):
            threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.2)
        """,
        0,
    ),
    "sys.exit beside a daemon thread": (
        """
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1)
        sys.exit(3)
        """,
        3,
    ),
    "sys.exit beside a thread that is waited for": (
        """
        def once():
            assert list(lambdamap.map(tasks.square, range(40), **options)) == squares
        squares = [x * x for x in range(40)]
        threading.Thread(target=once).start()
        time.sleep(0.05)
        sys.exit(4)
        """,
        4,
    ),
    "sys.exit in another thread": (
        """
        def leave():
            time.sleep(0.05)
            sys.exit(9)  # ends that thread only
        threading.Thread(target=leave).start()
        assert list(lambdamap.map(tasks.square, range(40), **options)) == [x*x for x in range(40)]
        """,
        0,
    ),
    "in the middle of a map": (
        """
        import warnings
        warnings.simplefilter("ignore", ResourceWarning)
        results = lambdamap.map(tasks.square, range(400), **options)
        next(results)
        """,
        0,
    ),
    "an exception while results are held": (
        """
        import atexit
        results = lambdamap.map(tasks.square, range(400), **options)
        atexit.register(results.close)
        sys.excepthook = lambda *args: None
        raise ValueError
        """,
        1,
    ),
    "os._exit": (
        """
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.1)
        os._exit(5)
        """,
        5,
    ),
    "SIGTERM": (
        """
        threading.Thread(target=forever, daemon=True).start()
        threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        forever()
        """,
        -signal.SIGTERM,
    ),
    "a map in atexit": (
        """
        import atexit
        def last():
            assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
            os.write(1, b"mapped")
        atexit.register(last)
        list(lambdamap.map(tasks.square, [3], **options))
        """,
        0,
    ),
    "a map in atexit, after the dispatcher's own": (
        """
        import atexit
        def last():
            assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
            os.write(1, b"mapped")
        atexit.unregister(_net.shutdown)
        atexit.register(last)
        atexit.register(_net.shutdown, 2.0, True)
        list(lambdamap.map(tasks.square, [3], **options))
        """,
        0,
    ),
}


def leave(way: str, python: str, server: Server) -> None:
    script, status = WAYS[way]
    options = api_options(server, max_concurrency=8)
    done = run_script(script, options, python=python, before=FOREVER)
    assert done.returncode == status, done.stderr
    assert done.stderr == "", done.stderr
    if way.startswith("a map in atexit"):
        assert done.stdout == "mapped"


@pytest.mark.parametrize("way", WAYS)
def test_row_50_exits(way: str, serve: Callable[..., Server]) -> None:
    leave(way, INTERPRETERS[MAIN], serve(then=after(0.01, run())))


@pytest.mark.parametrize("version", [v for v in INTERPRETERS if v != MAIN])
@pytest.mark.parametrize("way", ["daemon thread", "in the middle of a map", "a map in atexit"])
def test_row_50_exits_of_other_pythons(
    way: str, version: str, serve: Callable[..., Server]
) -> None:
    leave(way, INTERPRETERS[version], serve(then=after(0.01, run())))


@pytest.mark.soak
@pytest.mark.parametrize("version", INTERPRETERS)
@pytest.mark.parametrize("way", WAYS)
def test_row_50_a_hundred_exits(way: str, version: str, serve: Callable[..., Server]) -> None:
    server = serve(then=after(0.01, run()))
    for _ in range(100):
        leave(way, INTERPRETERS[version], server)
