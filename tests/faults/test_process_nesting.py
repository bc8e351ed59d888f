"""Row 55: maps inside maps, inside callbacks, in threads, in subinterpreters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lambdamap
import tasks
from driver import api_options
from outside import INTERPRETERS, NOTHING_LEFT, run_script
from scripted import Server, after, run

SQUARES = [x * x for x in range(20)]


# --- inside f --------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["inline", "local"])
@pytest.mark.parametrize("depth", [0, 1])
def test_row_55_a_map_inside_f(backend: str, depth: int) -> None:
    """Inline by default; with depth, remotely, on the sandbox's own local Lambda."""
    with lambdamap.configure(backend=backend, depth=depth):
        found = list(lambdamap.map(tasks.nested, [3, 4], chunksize=1))
    assert found == [[0, 1, 4], [0, 1, 4, 9]]


@pytest.mark.parametrize("depth", [5, -1, 100])
def test_row_55_a_depth_that_is_refused(depth: int) -> None:
    """More than 4 levels of remote maps would be an accident."""
    with pytest.raises(lambdamap.ConfigError, match=f"depth .*{depth}"):
        lambdamap.map(tasks.nested, [3], depth=depth, backend="inline")


def test_row_55_the_depth_left_travels(serve: Callable[..., Server]) -> None:
    """Each level has one less; the function cannot raise its caller's limit."""
    server = serve()
    options = api_options(server, depth=4)
    assert list(lambdamap.map(tasks.depth_left, [1], **options)) == [4]
    assert server.requests[0].envelope["depth"] == 4
    assert list(lambdamap.map(tasks.depth_of_a_map_inside, [4], **options)) == [3]
    assert list(lambdamap.map(tasks.depth_of_a_map_inside, [4], **{**options, "depth": 0})) == [-1]


# --- inside callbacks ------------------------------------------------------------------------------


def test_row_55_a_map_in_the_input(serve: Callable[..., Server]) -> None:
    """An input that calls map itself, on the same function: no lock is held while it runs."""
    server = serve(then=after(0.005, run()))
    options = api_options(server, max_concurrency=2)

    def numbers() -> Iterator[int]:
        for n in range(5):
            yield from lambdamap.map(tasks.identity, [n], **options)

    assert list(lambdamap.map(tasks.square, numbers(), **options)) == SQUARES[:5]


def test_row_55_a_map_in_the_progress_callback(serve: Callable[..., Server]) -> None:
    server = serve(then=after(0.005, run()))
    options = api_options(server, max_concurrency=2)
    seen: list[list[int]] = []

    def progress(done: int, total: int | None) -> None:
        seen.append(list(lambdamap.map(tasks.square, [done], **options)))

    outer = {**options, "progress": progress}
    assert list(lambdamap.map(tasks.square, range(4), **outer)) == SQUARES[:4]
    assert [4 * 4] in seen


def test_row_55_a_map_while_another_is_drawn(serve: Callable[..., Server]) -> None:
    """Interleaved iterators in one thread, one of them dropped half-way."""
    server = serve(then=after(0.005, run()))
    options = api_options(server, max_concurrency=2)
    outer = lambdamap.map(tasks.square, range(20), **options)
    found = []
    for square in outer:
        with lambdamap.map(tasks.identity, range(20), **options) as inner:
            found.append((square, next(inner)))
    assert found == [(square, 0) for square in SQUARES]


# --- threads ---------------------------------------------------------------------------------------


def test_row_55_many_threads(serve: Callable[..., Server]) -> None:
    server = serve(then=after(0.002, run()))
    options = api_options(server, max_concurrency=8)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        found[number] = [list(lambdamap.map(tasks.square, range(20), **options)) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == dict.fromkeys(range(6), [SQUARES] * 3)
    assert server.items == dict.fromkeys(range(20), 18)


def test_row_55_one_iterator_in_two_threads(serve: Callable[..., Server]) -> None:
    """As for a generator: ValueError in the second thread, no loss in the first."""
    inside, go_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        yield 3
        inside.set()
        assert go_on.wait(60)
        yield 4

    results = lambdamap.map(tasks.square, numbers(), **api_options(serve(), buffersize=1))
    assert next(results) == 9
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(next(results)))
    thread.start()
    assert inside.wait(60)
    with pytest.raises(ValueError, match="executing"):
        next(results)
    go_on.set()
    thread.join(60)
    assert found == [16]
    assert list(results) == []


# --- subinterpreters -------------------------------------------------------------------------------

# Written for every version: 3.14 has concurrent.interpreters for the isolated kind only.
INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
def create(own_gil):
    if sys.version_info >= (3, 13):
        return interpreters.create("isolated" if own_gil else "legacy")
    return interpreters.create(isolated=own_gil)
def run(interpreter, text):
    failed = interpreters.run_string(interpreter, text)  # raises before 3.13, returns since
    if failed is not None:
        raise RuntimeError(failed.formatted)
"""
INSIDE = """
import json, os, threading, time
import lambdamap, tasks
options = json.loads(os.environ["TEST_OPTIONS"])
for _ in range(5):
    found = list(lambdamap.map(tasks.square, range(20), **options))
    assert found == [x * x for x in range(20)], found
"""


@pytest.mark.parametrize("version", INTERPRETERS)
def test_row_55_two_subinterpreters(version: str, serve: Callable[..., Server]) -> None:
    """Three interpreters that share the GIL (as in mod_wsgi) map at once through one dispatcher.

    They end in any order, without affecting the others.
    """
    server = serve(then=after(0.002, run()))
    done = run_script(
        INTERPRETER
        + f"""
inside = {INSIDE!r}
errors = []
def work(interpreter):
    try:
        run(interpreter, inside)
    except BaseException as error:
        errors.append(error)
made = [create(False) for _ in range(2)]
for one in made:
    run(one, "import threading")  # by this thread: CPython takes the first for the main one
threads = [threading.Thread(target=work, args=(one,)) for one in made]
for thread in threads:
    thread.start()
exec(inside)
for thread in threads:
    thread.join()
assert not errors, errors
for one in made:
    interpreters.destroy(one)
    exec(inside)
late = create(False)
run(late, inside)
interpreters.destroy(late)
exec(inside)
"""
        + NOTHING_LEFT
        + "print('fine')",
        api_options(server, max_concurrency=8),
        python=INTERPRETERS[version],
        flags=("-W", "error"),
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert server.items == dict.fromkeys(range(20), 5 * 7)


OWN_GIL = [version for version in INTERPRETERS if tuple(map(int, version.split("."))) >= (3, 12)]


@pytest.mark.parametrize("version", OWN_GIL)
def test_row_55_an_interpreter_with_a_gil_of_its_own(version: str) -> None:
    """A clear ImportError, which does no harm to the interpreter."""
    done = run_script(
        INTERPRETER
        + """
own = create(True)
run(own, '''
try:
    import lambdamap
    lambdamap.map
except ImportError as error:
    print(error)
''')
interpreters.destroy(own)
""",
        python=INTERPRETERS[version],
        flags=(),
    )
    assert done.returncode == 0, done.stderr
    assert "interpreters with their own GIL" in done.stdout, done.stdout
