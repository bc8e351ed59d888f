"""Maps over the local Lambda, under both kinds of sandbox."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import lambdamap
import tasks
from driver import notes, until
from lambdamap.local import shared

HANG_S = 30


@pytest.mark.usefixtures("local")
class TestMaps:
    def test_equal_to_builtin_map(self) -> None:
        data = list(range(100))
        for chunksize in (1, 7, 100, 1000, "auto"):
            found = lambdamap.my_map(tasks.square, data, chunksize)
            assert found == [tasks.square(x) for x in data]

    def test_several_iterables_and_starmap(self) -> None:
        assert list(lambdamap.map(tasks.add, [1, 2, 3], [4, 5])) == [5, 7]
        assert list(lambdamap.starmap(tasks.add, [(1, 2), (3,)])) == [3, 3]
        with pytest.raises(ValueError, match="argument 2"):
            list(lambdamap.map(tasks.add, [1, 2, 3], [4, 5], strict=True))

    def test_by_value(self) -> None:
        factor = 3
        assert lambdamap.my_map(lambda x: x * factor, range(5), 2) == [0, 3, 6, 9, 12]

    def test_compression(self) -> None:
        data = [{"id": i, "values": [0.5] * 50, "name": "x"} for i in range(40)]
        for compression in (True, False):
            assert lambdamap.my_map(tasks.identity, data, 9, compression) == data

    def test_rich_data(self) -> None:
        import numpy as np
        import pandas as pd

        frame = pd.DataFrame({"id": [1, 1, 2], "x": [0.5, 1.5, 2.5]})
        found = lambdamap.my_map(tasks.identity, frame.groupby("id"), 1)
        for (key, group), (wanted_key, wanted) in zip(found, frame.groupby("id"), strict=True):
            assert key == wanted_key
            pd.testing.assert_frame_equal(group, wanted)
        array = np.arange(10.0)
        assert np.array_equal(lambdamap.my_map(tasks.square, [array], 1)[0], array**2)

    def test_fs_own_exception(self) -> None:
        results = lambdamap.map(tasks.fail_at_seven, range(20), chunksize=3)
        taken = []
        with pytest.raises(ValueError, match="seven is out") as caught:
            for result in results:
                taken.append(result)
        assert taken == list(range(7))
        assert caught.value.args == ("seven is out", 7)
        remote = lambdamap.failure(caught.value)
        assert remote is not None
        assert remote.indices == (7,)
        assert remote.remote_type == "builtins.ValueError"
        assert remote.ran == "RAN"
        assert list(remote.not_run) == [8]
        assert "fail_at_seven" in remote.remote_traceback
        assert any("item 7" in note for note in notes(caught.value))
        assert next(results, "finished") == "finished"

    def test_my_map_keeps_what_is_finished(self) -> None:
        with pytest.raises(ValueError, match="seven") as caught:
            lambdamap.my_map(tasks.fail_at_seven, range(20), 2)
        known = lambdamap.failure(caught.value)
        assert known is not None
        assert {i: known.partial[i] for i in range(7)} == {i: i for i in range(7)}

    def test_exceptions_that_cannot_come_back(self) -> None:
        for function, why in [
            (tasks.fail_with_a_lock, "not a ValueError: its args were not sent: .*lock"),
            (tasks.stop, "not a StopIteration: .* control flow"),
            (tasks.leave, "not a SystemExit: .* control flow"),
        ]:
            with pytest.raises(lambdamap.RemoteError) as caught:
                lambdamap.my_map(function, [3], 1)
            assert re.search(why, "\n".join(notes(caught.value)))

    def test_a_result_that_cannot_come_back(self) -> None:
        with pytest.raises(lambdamap.EncodeError) as caught:
            lambdamap.my_map(lambda x: {"deep": [0, (y for y in x)]}, [[3]], 1)
        assert str(caught.value) == (
            "item 0: f's result cannot be sent back: at result['deep'][1]: a generator cannot be "
            "sent: convert it to a list"
        )
        assert caught.value.ran == "RAN"

    def test_a_traceback_has_lines_of_code_that_travelled(self) -> None:
        def fails(x: int) -> float:
            return x / 0  # here

        with pytest.raises(ZeroDivisionError) as caught:
            lambdamap.my_map(fails, [3], 1)
        shown = "\n".join(notes(caught.value))
        assert f'File "{__file__}"' in shown
        assert "return x / 0  # here" in shown

    def test_on_error_return(self) -> None:
        found = list(lambdamap.map(tasks.fail_at_seven, range(5, 10), on_error="return"))
        assert found[:2] == [5, 6]
        assert isinstance(found[2], ValueError)
        assert found[3:] == [8, 9]

    def test_a_crash(self) -> None:
        with pytest.raises(lambdamap.WorkerCrashedError, match="exit status 3") as caught:
            lambdamap.my_map(tasks.die, [3, 3], 2)
        assert caught.value.ran == "RAN"
        assert list(caught.value.indices) == [0, 1]
        assert lambdamap.my_map(tasks.square, [2], 1) == [4]

    def test_prints_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        lambdamap.my_map(tasks.say, ["a", "b", "c"], 2)
        shown = capsys.readouterr().out.splitlines()
        assert sorted(shown) == ["[0] saying a", "[1] saying b", "[2] saying c"]
        list(lambdamap.map(tasks.say, ["a"], logs=False))
        assert capsys.readouterr().out == ""

    def test_maps_inside_f_run_there(self) -> None:
        assert lambdamap.my_map(tasks.nested, [3], 1) == [[0, 1, 4]]

    def test_input_that_raises(self) -> None:
        def numbers() -> Iterator[int]:
            yield from range(5)
            raise KeyError("input")

        results = lambdamap.map(tasks.square, numbers(), chunksize=2)
        taken = []
        with pytest.raises(KeyError, match="input"):
            for result in results:
                taken.append(result)
        assert taken == [0, 1, 4, 9, 16]

    def test_an_item_that_cannot_be_sent(self) -> None:
        items = [0, 1, {"deep": [1, object()]}, 3]
        with pytest.raises(lambdamap.EncodeError, match=r"item 2\['deep'\]\[1\]") as caught:
            lambdamap.my_map(tasks.square, items, 1, allow_pickle=False)
        assert caught.value.indices == (2,)

    def test_throttled_for_a_while(self, sandbox_kind: Any) -> None:
        function = shared(sandbox_kind)
        before = function.stats["throttles"]
        function.throttle(HANG_S)
        results = lambdamap.map(tasks.square, range(20), chunksize=2)
        until(lambda: function.stats["throttles"] > before)
        function.throttle(0.3)
        assert list(results) == [x * x for x in range(20)]
        assert results.stats["throttles"] > 0

    def test_a_sandbox_killed_at_work(self, sandbox_kind: Any, tmp_path: Path) -> None:
        path = str(tmp_path / "runs")
        function = shared(sandbox_kind)

        over = threading.Event()

        def kill() -> None:
            """Until the map has noticed: each of its items takes long."""
            while not over.wait(0.01):
                if os.path.exists(path):
                    function.kill_sandbox()

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            with pytest.raises(lambdamap.WorkerCrashedError) as caught:
                lambdamap.my_map(tasks.record_slowly, [(path, i) for i in range(6)], 1)
        finally:
            over.set()
            killer.join()
        assert caught.value.ran == "RAN"
        runs = Path(path).read_text().split()
        assert len(runs) == len(set(runs))

    def test_a_chunk_too_large_for_one_request(self) -> None:
        items = [os.urandom(900_000) for _ in range(8)]
        assert lambdamap.my_map(len, items, 8) == [900_000] * 8
        with pytest.raises(lambdamap.PayloadTooLargeError) as caught:
            lambdamap.my_map(len, [b"small", os.urandom(5_000_000)], 1)
        assert list(caught.value.indices) == [1]

    def test_results_that_need_several_replies(self) -> None:
        found = lambdamap.map(tasks.megabytes, [1] * 10, chunksize=10)
        assert [len(result) for result in found] == [1_000_000] * 10
        assert found.stats["requests"] >= 3

    def test_a_text_goes_back_as_it_came(self) -> None:
        """What counts against Lambda's 6 MB is what is sent, both ways."""
        text = "lorem ipsum dolor sit " * 250_000
        with lambdamap.configure(compression=True):
            assert list(lambdamap.map(tasks.identity, [text])) == [text]
            with pytest.raises(lambdamap.PayloadTooLargeError, match="f has run"):
                list(lambdamap.map(tasks.hexadecimal, [20_000_000]))

    @pytest.mark.parametrize("backend", ["local", "aws"])
    def test_compression_by_itself_means_the_same_both_ways(self, backend: str) -> None:
        """Nothing is deflated to loopback, nor from it, however the local Lambda is named."""
        here = shared("builtin")
        options: dict[str, Any] = {"backend": backend, "chunksize": 1}
        if backend == "aws":
            options |= {
                "function": "local", "endpoint_url": here.endpoint_url, "region": "us-east-1",
                "credentials": (here.access_key, here.secret_key),
            }  # fmt: skip
        received = {}
        for how in ("auto", False, True):
            results = lambdamap.map(tasks.spaces, [500_000] * 3, compression=how, **options)
            assert [len(text) for text in results] == [500_000] * 3
            received[how] = results.stats.bytes_received
        assert received["auto"] == pytest.approx(received[False], rel=0.01)
        assert received[True] * 10 < received[False]


def test_first_request_leaves_while_the_input_blocks(tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    gate = threading.Event()

    def items() -> Iterator[tuple[str, int]]:
        yield path, 0
        yield path, 1
        assert gate.wait(HANG_S)
        yield path, 2

    def open_gate() -> None:
        ends = time.monotonic() + HANG_S
        while not os.path.exists(path):
            assert time.monotonic() < ends
            time.sleep(0.01)
        gate.set()

    opener = threading.Thread(target=open_gate)
    opener.start()
    assert lambdamap.my_map(tasks.record, items(), 2, backend="local") == [0, 1, 2]
    opener.join()


def test_edited_code_is_picked_up(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import importlib, pathlib, sys
        sys.path.insert(0, {folder!r})
        import lambdamap
        file = pathlib.Path({folder!r}, "edited.py")
        file.write_text("def f(x): return x + 1\\n")
        import edited
        print(lambdamap.my_map(edited.f, range(4), 1, backend="local"))
        file.write_text("def f(x): return x + 1000\\n")
        importlib.reload(edited)
        print(lambdamap.my_map(edited.f, range(4), 1, backend="local"))
        """
    ).format(folder=str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["[1, 2, 3, 4]", "[1000, 1001, 1002, 1003]"], done.stderr


def test_dropping_a_map_warns_and_cancels() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        results = lambdamap.map(tasks.sleep, [5.0] * 4, chunksize=1, backend="local")
        del results
    assert any(issubclass(warning.category, ResourceWarning) for warning in caught)
    with lambdamap.map(tasks.sleep, [5.0] * 4, chunksize=1, backend="local"):
        pass
    assert lambdamap.my_map(tasks.square, [3], 1, backend="local") == [9]


def test_used_from_two_threads_at_once() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def numbers() -> Iterator[int]:
        yield 3
        inside.set()
        assert go_on.wait(HANG_S)
        yield 4

    results = lambdamap.map(tasks.square, numbers(), chunksize=1, buffersize=1, backend="local")
    assert next(results) == 9
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(next(results)))
    thread.start()
    assert inside.wait(HANG_S)
    with pytest.raises(ValueError, match="executing"):
        next(results)
    go_on.set()
    thread.join()
    assert taken == [16]
    results.close()


def test_timeout_keeps_what_is_finished() -> None:
    function = shared()
    until(lambda: function.ready() == function.sandboxes)
    items = [0.0, 0.0, 60.0, 60.0]
    with pytest.raises(lambdamap.DeadlineError) as caught:
        lambdamap.my_map(tasks.sleep, items, 1, backend="local", timeout=2.0)
    assert caught.value.partial == {0: 0.0, 1: 0.0}
    assert isinstance(caught.value, TimeoutError)


def test_progress() -> None:
    seen: list[tuple[int, int | None]] = []
    lambdamap.my_map(
        tasks.square, range(10), 5, backend="local", progress=lambda *p: seen.append(p)
    )
    assert seen == [(5, 10), (10, 10)]


def test_an_executor_as_backend() -> None:
    with ThreadPoolExecutor(2) as executor:
        found = lambdamap.my_map(tasks.square, range(20), 3, backend=executor)
    assert found == [x * x for x in range(20)]


def test_a_traceback_shows_the_callers_code_and_not_this_librarys() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more of them")

    with pytest.raises(LookupError) as caught:
        lambdamap.my_map(abs, numbers(), 1, backend="inline")
    names = [entry.name for entry in traceback.extract_tb(caught.value.__traceback__)]
    assert names == [
        "test_a_traceback_shows_the_callers_code_and_not_this_librarys", "my_map", "_to_list", "numbers",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "call",
    [
        lambda **given: lambdamap.my_map(tasks.add, [1], **given),
        lambda **given: lambdamap.map(tasks.add, [1], **given),
        lambda **given: lambdamap.map_unordered(tasks.add, [1], **given),
        lambda **given: lambdamap.starmap(tasks.add, [(1,)], **given),
        lambda **given: lambdamap.amap(tasks.add, [1], **given),
        lambda **given: lambdamap.groupby_apply(
            tasks.add, pd.DataFrame({"k": [1], "x": [2]}).groupby("k"), **given
        ),
    ],
)
def test_arguments_of_f_are_told_from_options(call: Callable[..., Any]) -> None:
    text = r"'y' is an argument of add, .*: pass functools.partial\(add, y=...\)"
    with pytest.raises(lambdamap.ConfigError, match=text):
        call(y=3)
    with pytest.raises(lambdamap.ConfigError, match="unknown option 'z'"):
        call(z=3)
    with pytest.raises(lambdamap.ConfigError, match="unknown option"):
        call(chunk_size=3)


def test_ctrl_c_says_what_runs_on() -> None:
    def stopped() -> Iterator[int]:
        yield 1
        yield 2
        assert tasks.HELD.begun.wait(HANG_S)
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as executor, tasks.HELD:
        with pytest.raises(KeyboardInterrupt) as caught:
            lambdamap.my_map(tasks.held, stopped(), 1, backend=executor, max_concurrency=2)
        assert notes(caught.value) == [
            "lambdamap: map cancelled; 1 started invocation runs to completion in the executor"
        ]
