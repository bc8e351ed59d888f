"""fork, Ctrl-C, and exits at awkward moments; each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from outside import NOTHING_LEFT, script_environment

HANG_S = 120


def run(script: str, end: str = "") -> subprocess.CompletedProcess[str]:
    """Run a script with warnings as errors; its local Lambda is the default backend."""
    head = "import lambdamap, os, signal, sys, tasks, threading, time\n"
    head += "lambdamap.configure(backend='local')\n"
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", head + textwrap.dedent(script) + end],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_fork_in_the_middle_of_a_map() -> None:
    done = run(
        """
        results = lambdamap.map(tasks.sleep, [0.05] * 20, chunksize=1)
        next(results)
        child = os.fork()
        if child == 0:
            found = lambdamap.my_map(tasks.square, range(20), 3)
            try:
                next(results)
            except RuntimeError as error:
                assert 'before a fork' in str(error)
                os._exit(0 if found == [x * x for x in range(20)] else 1)
            os._exit(2)
        rest = list(results)
        assert os.waitpid(child, 0)[1] == 0
        assert rest == [0.05] * 19
        assert lambdamap.my_map(tasks.square, [3], 1) == [9]
        print('fine')
        """
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            import lambdamap, tasks

            def work(n):
                with lambdamap.configure(backend="local"):
                    return lambdamap.my_map(tasks.square, range(n), 2)

            if __name__ == "__main__":
                work(3)
                with multiprocessing.get_context({method!r}).Pool(2) as pool:
                    assert pool.map(work, [3, 4]) == [[0, 1, 4], [0, 1, 4, 9]]
                work(3)
                print("fine")
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_what_the_script_defines_travels_from_its_children(method: str, tmp_path: Path) -> None:
    """In spawned ones the script is __mp_main__."""
    script = tmp_path / "main.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import dataclasses, enum, functools, multiprocessing, warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            import cloudpickle, lambdamap, tasks

            @dataclasses.dataclass
            class Point:
                x: int

            class Colour(enum.Enum):
                RED = 1

            class Wrong(Exception):
                pass

            def half(x):
                return x / 2

            def moved(point, by=1, colour=None):
                assert colour is None or colour is Colour.RED
                return Point(half(point.x) + by)

            def fail(x):
                raise Wrong(x)

            def work(n):
                before = cloudpickle.list_registry_pickle_by_value()
                with lambdamap.configure(backend="local"):
                    found = lambdamap.my_map(moved, [Point(x) for x in range(n)], 2)
                    assert found == [Point(x / 2 + 1) for x in range(n)], found
                    red = functools.partial(moved, by=2, colour=Colour.RED)
                    assert lambdamap.my_map(red, [Point(2)]) == [Point(3.0)]
                    assert lambdamap.my_map(tasks.identity, [Colour.RED]) == [Colour.RED]
                    with lambdamap.LambdaExecutor() as executor:
                        assert executor.submit(moved, Point(4), by=3).result() == Point(5.0)
                    try:
                        lambdamap.my_map(fail, [3])
                    except Wrong as error:
                        assert error.args == (3,)
                assert cloudpickle.list_registry_pickle_by_value() == before
                return n

            if __name__ == "__main__":
                with multiprocessing.get_context({method!r}).Pool(1) as pool:
                    assert pool.map(work, [3, 5]) == [3, 5]
                print("fine")
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert done.stdout == "fine\n", done.stderr


def test_ctrl_c_ends_a_map_and_the_next_one_works() -> None:
    done = run(
        """
        def interrupt():
            os.kill(os.getpid(), signal.SIGINT)
        lambdamap.my_map(tasks.square, [1])  # an import that is interrupted stays broken
        for _ in range(3):
            started = time.monotonic()
            try:
                threading.Timer(0.3, interrupt).start()
                lambdamap.my_map(tasks.sleep, [40.0] * 10, 1)
            except KeyboardInterrupt:
                print('interrupted', time.monotonic() - started < 20)
            assert lambdamap.my_map(tasks.square, range(5), 2) == [0, 1, 4, 9, 16]
        """,
        NOTHING_LEFT,
    )
    assert done.stdout == "interrupted True\n" * 3, done.stderr


def test_ctrl_c_while_the_input_blocks() -> None:
    done = run(
        """
        def items():
            yield 1
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
            time.sleep(30)
        lambdamap.my_map(tasks.square, [1])
        try:
            lambdamap.my_map(tasks.square, items(), 1)
        except KeyboardInterrupt:
            print('interrupted')
        """
    )
    assert done.stdout == "interrupted\n", done.stderr


def test_exit_while_a_daemon_thread_maps() -> None:
    done = run(
        """
        def forever():
            while True:
                lambdamap.my_map(tasks.sleep, [0.01] * 50, 1)
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.5)
        print('leaving', flush=True)
        """
    )
    assert done.stdout == "leaving\n"
    assert done.returncode == 0, done.stderr


def test_exit_in_the_middle_of_a_map() -> None:
    done = run(
        """
        results = lambdamap.map(tasks.sleep, [30.0] * 4, chunksize=1)
        import atexit
        atexit.register(results.close)
        sys.exit(3)
        """
    )
    assert done.returncode == 3, done.stderr
