"""What somebody sees who works in a notebook: edits that count, output, bars, interrupts."""

from __future__ import annotations

import re
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ipykernel")
pytest.importorskip("jupyter_client")

from kernel import Kernel, Shown
from lambdamap.local import LocalLambda


@pytest.fixture(scope="module", params=["builtin", "awslambdaric"])
def notebook(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("notebook")
    with Kernel(folder, LAMBDAMAP_LOCAL=request.param) as kernel:
        kernel.run("import lambdamap; lambdamap.configure(backend='local')")
        yield kernel


def run(notebook: Kernel, code: str) -> str:
    """What a cell that must not fail prints."""
    shown = notebook.run(textwrap.dedent(code))
    assert not shown.error, shown.error
    return shown.stdout


def test_an_edited_function_runs(notebook: Kernel) -> None:
    cell = """
        FACTOR = {factor}
        class Scale:
            def __call__(self, x): return {name!r}, FACTOR * x
        def helper(x): return Scale()(x)
        def f(x): return helper(x)
    """
    run(notebook, cell.format(factor=2, name="old"))
    assert run(notebook, "print(lambdamap.my_map(f, [1, 2], 1))") == "[('old', 2), ('old', 4)]\n"
    run(notebook, cell.format(factor=3, name="new"))
    assert run(notebook, "print(lambdamap.my_map(f, [1, 2], 1))") == "[('new', 3), ('new', 6)]\n"
    run(notebook, "FACTOR = 5")  # one global of it, and then what it calls
    assert run(notebook, "print(lambdamap.my_map(f, [1, 2], 1))") == "[('new', 5), ('new', 10)]\n"
    run(notebook, "def helper(x): return 'newest'")
    assert run(notebook, "print(lambdamap.my_map(f, [1], 1))") == "['newest']\n"


@pytest.mark.parametrize("call", ["beside.f", "lambda x: beside.f(x)"])
def test_an_edited_module_runs(notebook: Kernel, call: str) -> None:
    """Also when nothing but its content tells the versions apart."""
    for name in ("aaa", "bbb", "ccc"):
        run(
            notebook,
            f"""
            import importlib, pathlib
            pathlib.Path("inner.py").write_text("NAME = {name!r}")
            pathlib.Path("beside.py").write_text('''
            import inner
            def f(x): return "{name}", inner.NAME, x
            ''')
            import inner, beside
            importlib.invalidate_caches()
            importlib.reload(inner), importlib.reload(beside)
            """,
        )
        shown = run(notebook, f"print(lambdamap.my_map({call}, [0, 1, 2, 3], 1))")
        assert shown == f"{[(name, name, x) for x in range(4)]}\n"


def test_autoreload(notebook: Kernel) -> None:
    run(notebook, "%load_ext autoreload\n%autoreload 2")
    run(notebook, "open('auto.py', 'w').write('def f(x): return 1')")
    assert run(notebook, "from auto import f\nprint(lambdamap.my_map(f, [0], 1))") == "[1]\n"
    run(notebook, "open('auto.py', 'w').write('def f(x): return 222')")
    assert run(notebook, "print(lambdamap.my_map(f, [0], 1))") == "[222]\n"
    run(notebook, "%autoreload 0")


def test_prints_stand_under_the_cell_with_their_item(notebook: Kernel) -> None:
    code = """
        import sys
        def f(x):
            print("working on", x)
            if x == 20: print("a second line", file=sys.stderr)
        done = lambdamap.my_map(f, [10, 20], 1)
    """
    lines = run(notebook, code).splitlines()
    assert sorted(lines) == ["[0] working on 10", "[1] a second line", "[1] working on 20"]
    assert run(notebook, "done = lambdamap.my_map(f, [10], 1, logs=False)") == ""


def test_a_class_of_a_cell_goes_there_and_back(notebook: Kernel) -> None:
    code = """
        class Point:
            def __init__(self, x): self.x = x
        def move(point): return Point(point.x + 1)
        moved = lambdamap.my_map(move, [Point(1), Point(2)], 1)
        print([type(point) is Point and point.x for point in moved])
    """
    assert run(notebook, code) == "[2, 3]\n"


def test_an_error_of_a_cells_own_type(notebook: Kernel) -> None:
    shown = notebook.run("""
class OddError(Exception): pass
def f(x):
    raise OddError("no", x)
lambdamap.my_map(f, [5], 1)
""")
    assert shown.error[0] == "OddError"
    assert "item 0; remote traceback" in shown.error[2]
    there = shown.error[2].partition("remote traceback")[2]
    assert 'raise OddError("no", x)' in there  # which the worker does not have


def test_an_async_map_at_the_top_of_a_cell(notebook: Kernel) -> None:
    code = "print([x async for x in lambdamap.amap(abs, range(-3, 0), chunksize=1)])"
    assert run(notebook, code) == "[3, 2, 1]\n"


def test_results_have_a_rich_repr(notebook: Kernel) -> None:
    shown = notebook.run("results = lambdamap.map(abs, [-1, 2])\nlist(results)\nresults")
    assert not shown.error, shown.error
    assert "<table" in shown.html and "2 in" in shown.html
    assert "<lambdamap.map: 2 items" in shown.text
    assert "<table" in notebook.run("results.stats").html


BAR = "done = lambdamap.my_map(abs, range(20), 2, progress=True)"


def test_the_bar_is_a_widget(notebook: Kernel) -> None:
    pytest.importorskip("ipywidgets")
    shown = notebook.run(BAR)
    assert not shown.error, shown.error
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown.data)
    assert "20/20" in shown.widgets
    assert "Warning" not in shown.stderr


def test_the_bar_is_text_where_there_are_no_widgets(tmp_path: Path) -> None:
    with Kernel(tmp_path) as kernel:
        run(kernel, "import sys; sys.modules['ipywidgets'] = None\nimport lambdamap")
        shown = kernel.run(f"lambdamap.configure(backend='inline')\n{BAR}")
        assert not shown.error, shown.error
        assert "20/20" in shown.stderr
        assert "Warning" not in shown.stderr  # no word of what could be installed


# --- interrupts ---------------------------------------------------------------------------------

SLOW = """
import time
def slow(x):
    time.sleep(600 if x == 3 else 0)
    return x
def input():
    for x in range(6):
        yield x
        if x == 5:
            print("all are on their way", flush=True)
"""


class Interrupter:
    """Interrupts a cell once, when it has printed."""

    def __init__(self) -> None:
        self.done = False

    def __call__(self, kernel: Kernel, shown: Shown) -> None:
        if shown.stdout and not self.done:
            self.done = True
            kernel.interrupt()


def test_an_interrupt_ends_a_local_map(notebook: Kernel) -> None:
    """And nothing of it goes on: the next map has the sandboxes."""
    run(notebook, SLOW)
    shown = notebook.run("lambdamap.my_map(slow, input(), 1)", Interrupter())
    assert shown.error[0] == "KeyboardInterrupt"
    assert "map cancelled; nothing is still running" in shown.error[2]
    assert run(notebook, "print(lambdamap.my_map(abs, range(8), 1))") == f"{list(range(8))}\n"


def test_an_interrupt_ends_a_groupby_apply(notebook: Kernel) -> None:
    run(
        notebook,
        """
        import time, pandas as pd
        def slow_group(group):
            print("the group", group.name, flush=True)
            time.sleep(600 if group.name == 3 else 0)
        grouped = pd.DataFrame({"k": range(6), "x": 0}).groupby("k")
        """,
    )
    shown = notebook.run("lambdamap.groupby_apply(slow_group, grouped, chunksize=1)", Interrupter())
    assert shown.error[0] == "KeyboardInterrupt"
    assert "map cancelled; nothing is still running" in shown.error[2]
    assert run(notebook, "print(lambdamap.my_map(abs, range(8), 1))") == f"{list(range(8))}\n"


def test_an_interrupt_says_what_runs_on_elsewhere(tmp_path: Path) -> None:
    with LocalLambda(function_name="far", sandboxes=2) as function, Kernel(tmp_path) as kernel:
        run(
            kernel,
            f"""
            import lambdamap
            lambdamap.configure(
                function="far", endpoint_url={function.endpoint_url!r}, region="us-east-1",
                credentials=({function.access_key!r}, {function.secret_key!r}),
            )
            """,
        )
        run(
            kernel,
            f"""
            import pathlib, time
            def slow(x):
                pathlib.Path({str(tmp_path / "begun")!r}).touch()
                time.sleep(600)
            """,
        )
        threading.Thread(target=interrupt_when_there, args=(kernel, tmp_path / "begun")).start()
        shown = kernel.run("lambdamap.my_map(slow, [1], 1)")
        assert shown.error[0] == "KeyboardInterrupt"
        text = "map cancelled; 1 started invocation runs to completion on far"
        assert text in shown.error[2]


def interrupt_when_there(kernel: Kernel, path: Path) -> None:
    ends = time.monotonic() + 60
    while not path.exists() and time.monotonic() < ends:
        time.sleep(0.05)
    kernel.interrupt()


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


SCREEN = 45  # lines; IPython shows some ten for each frame


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("lambdamap.my_map(g, [3], 1)", "ZeroDivisionError: division by zero"),
        ("lambdamap.my_map(g, [3], 1, y=2)", "functools.partial(g, y=...)"),
        ("lambdamap.my_map(g, [3], 1, chunks=2)", "unknown option 'chunks'"),
        ("lambdamap.my_map(g, [3], 1, timeout=-1)", "timeout must be"),
        ("lambdamap.my_map(g, [3], 1, backend='aws')", "LAMBDAMAP_FUNCTION"),
        ("lambdamap.my_map(held, [3], 1)", "cannot be shipped by value"),
        ("lambdamap.my_map(g, [LOCK], 1)", "item 0 cannot be sent"),
        ("[x async for x in lambdamap.amap(g, [3], chunks=2)]", "unknown option 'chunks'"),
        ("lambdamap.LambdaExecutor(chunks=2)", "unknown option 'chunks'"),
    ],
)
def test_an_error_fits_a_screen(notebook: Kernel, call: str, says: str) -> None:
    run(
        notebook,
        """
        import threading
        LOCK = threading.Lock()
        def held(x): return LOCK
        def g(x, y=0): return 1 / (x - 3)
        """,
    )
    (_, _, shown) = notebook.run(call).error
    assert says in plain(shown)
    assert len(shown.splitlines()) <= SCREEN, plain(shown)
