"""The worker: what it answers, what it keeps to, and that it never raises."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import tasks
from lambdamap import _codec
from lambdamap.shipping import envelope, exceptions
from lambdamap.worker import wrap
from lambdamap.worker.call import depth_left, run_request
from lambdamap.worker.entry import handler, zappa_task
from lambdamap.worker.output import Output, captured
from worker_requests import request, results


def test_a_chunk() -> None:
    reply = run_request(request(tasks.square, [1, 2, 3], chunk=40))
    assert results(reply) == [1, 4, 9]
    head = reply["lambdamap"]
    assert (head["map"], head["chunk"], head["done"]) == ("0" * 32, 40, 3)
    assert "error" not in reply
    assert "out" not in reply
    assert results(run_request(request(tasks.add, [(1, 2), (3, 4)], calls="star"))) == [3, 7]


def test_what_items_print_comes_back() -> None:
    reply = run_request(request(tasks.say, ["a", "b"]))
    assert reply["out"] == [[0, "saying a\n"], [1, "saying b\n"]]


def test_the_first_failing_item_ends_the_chunk() -> None:
    reply = run_request(request(tasks.fail_at_seven, [5, 6, 7, 8]))
    assert results(reply) == [5, 6]
    error = reply["error"]
    assert (error["kind"], error["type"], error["index"]) == ("function", "ValueError", 2)
    assert "fail_at_seven" in error["traceback"]
    assert "run_request" not in error["traceback"]
    again = exceptions.unpack(error["exception"], False, 1 << 16)
    assert type(again) is ValueError and again.args == ("seven is out", 7)


def test_on_error_return_guards_each_item() -> None:
    reply = run_request(request(tasks.fail_at_seven, [6, 7, 8], on_error="return"))
    values, failed = _codec.decode_text(reply["r"])
    assert values == [6, None, 8]
    assert failed[1]["type"] == "ValueError"
    assert "error" not in reply


@pytest.mark.parametrize("function", [tasks.stop, tasks.leave])
def test_exceptions_that_steer_the_interpreter(function: Any) -> None:
    error = run_request(request(function, [3]))["error"]
    assert error["type"] in ("StopIteration", "SystemExit")
    assert error["ran"] == "RAN"


def test_a_result_that_cannot_travel() -> None:
    reply = run_request(request(tasks.unsendable, [1, 2, 3]))
    assert results(reply) == [1]
    assert reply["error"]["kind"] == "encode"
    assert reply["error"]["index"] == 1


PAIRS: dict[str, tuple[Any, Any, Any]] = {  # f, item and result by the kind of calls
    "item": (tasks.square, 3, 9),
    "star": (tasks.add, (1, 2), 3),
    "call": (tasks.add, ((1,), {"y": 5}), 6),
    "batch": (tasks.add, [((1, 2), {}), ((3,), {"y": 4})], [3, 7]),
    "each": (None, [("tasks:add", (1, 2), {}), ("tasks:square", (3,), {})], [3, 9]),
}


@pytest.mark.parametrize("calls", PAIRS)
def test_how_calls_are_made(calls: str) -> None:
    function, item, result = PAIRS[calls]
    event = request(function, [item, item], calls=calls)
    assert results(run_request(event)) == [result, result]


asked: list[str] = []  # what code of the next two classes has run


@dataclasses.dataclass
class Willing:
    """Data that would be an item of any kind of calls, if it were asked."""

    x: int

    def __str__(self) -> str:
        asked.append("str")
        return "tasks:add"

    def __iter__(self) -> Any:
        asked.append("iter")
        return iter([(1, 2), {}])

    def __len__(self) -> int:
        asked.append("len")
        return 2

    def keys(self) -> list[str]:
        asked.append("keys")
        return ["y"]

    def __getitem__(self, key: str) -> int:
        asked.append("getitem")
        return 5


class Pair(NamedTuple):
    x: Any
    y: Any

    def __bool__(self) -> bool:
        asked.append("bool")
        return True

    def __iter__(self) -> Any:
        asked.append("iter")
        return iter([7, 8])


WILLING = Willing(1)


@pytest.mark.parametrize(
    ("calls", "item"),
    [
        ("star", WILLING), ("call", WILLING), ("call", ((), WILLING)), ("call", (WILLING, {})),
        ("call", Pair((), {})), ("batch", WILLING), ("batch", [Pair((), {})]), ("batch", [((1,), WILLING)]),
        ("each", WILLING), ("each", [WILLING]), ("each", [(WILLING, (1, 2), {})]),
        ("each", [("tasks:add", WILLING, {})]), ("each", [("tasks:add", (1,), WILLING)]),
        ("group", WILLING), ("group", Pair(1, 2)),
    ],
)  # fmt: skip
def test_data_of_a_class_has_no_say_in_the_calls(calls: str, item: Any) -> None:
    asked.clear()
    function = None if calls == "each" else tasks.add
    reply = run_request(request(function, [item], calls=calls))
    assert "error" in reply
    assert asked == []


@pytest.mark.parametrize(
    ("calls", "item"),
    [
        ("star", Pair(1, 2)), ("call", (Pair(1, 2), {})), ("batch", [(Pair(1, 2), {})]),
        ("each", [("tasks:add", Pair(1, 2), {})]),
    ],
)  # fmt: skip
def test_a_named_tuple_is_the_tuple_that_it_is(calls: str, item: Any) -> None:
    asked.clear()
    function = None if calls == "each" else tasks.add
    reply = run_request(request(function, [item], calls=calls))
    assert results(reply)[0] in (3, [3])
    assert asked == []


def test_no_call_of_several_is_made_where_one_is_none() -> None:
    tasks.RUNS.clear()
    item: Any = [(("a",), {}), (("b",), 5)]
    reply = run_request(request(tasks.counted, [item], calls="batch"))
    assert reply["error"]["type"] == "TypeError"
    assert not tasks.RUNS


def test_calls_that_are_not_what_they_should_be() -> None:
    reply = run_request(request(tasks.square, [1], calls="twice"))
    assert (reply["error"]["kind"], reply["error"]["ran"]) == ("protocol", "NOT")
    for item in (5, [5], [("tasks:add", 1)], ("tasks:add", (1, 2), {})):
        reply = run_request(request(None, [item], calls="each"))
        assert (reply["error"]["kind"], reply["error"]["ran"]) == ("decode", "NOT"), item
    for reference in ("os:system", "tasks:os.system", "lambdamap:my_map", b"cos\nsystem\n.", 5):
        reply = run_request(request(None, [[(reference, ("true",), {})]], calls="each"))
        assert (reply["error"]["kind"], reply["error"]["ran"]) == ("refused", "NOT"), reference
    reply = run_request(request(tasks.identity, [(1, tasks.Sack)], calls="group"))
    assert reply["error"]["type"] == "TypeError"
    assert not hasattr(tasks.Sack, "name")


class Clock:
    """A context whose time runs out after so many looks; the first is for maps that f calls, the
    others are for one item each."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def get_remaining_time_in_millis(self) -> int:
        self.looks -= 1
        return 100_000 if self.looks >= 0 else 10


def test_out_of_time_answers_the_part_that_is_done() -> None:
    reply = run_request(request(tasks.square, list(range(10))), Clock(5))
    assert reply["lambdamap"]["done"] == 4
    assert results(reply) == [0, 1, 4, 9]
    assert "error" not in reply
    assert run_request(request(tasks.square, [5, 6]), Clock(2))["lambdamap"]["done"] == 1


def test_results_that_fill_a_reply() -> None:
    reply = run_request(request(tasks.megabytes, [1] * 10))
    assert reply["lambdamap"]["done"] == 2
    assert "error" not in reply
    assert run_request(request(tasks.megabytes, [2, 2, 1]))["lambdamap"]["done"] == 1
    assert run_request(request(tasks.megabytes, [4, 1]))["lambdamap"]["done"] == 1
    # Three times as large as all before it, and it fits.
    assert len(results(run_request(request(tasks.megabytes, [1, 3, 1])))) == 2


@pytest.mark.parametrize(("size", "remedy"), [(4, "smaller chunksize"), (9, "store the result")])
def test_a_result_that_does_not_fit(size: int, remedy: str) -> None:
    reply = run_request(request(tasks.megabytes, [1, size, 1]))
    assert (reply["error"]["kind"], reply["error"]["index"]) == ("size", 1)
    assert remedy in reply["error"]["message"]
    assert results(reply) == [b"x" * 1_000_000]
    reply = run_request(request(tasks.megabytes, [1, size, 0], on_error="return"))
    values, failed = _codec.decode_text(reply["r"])
    assert values == [b"x" * 1_000_000, None, b""]
    assert failed[1]["kind"] == "size"
    reply = run_request(request(tasks.megabytes, [1, size, 1], idempotent=1))
    assert reply["lambdamap"]["done"] == 1
    assert ("error" in reply) == (size == 9)  # alone it would not fit either


@pytest.mark.parametrize("on_error", ["raise", "return"])
@pytest.mark.parametrize("codec", ["native", "json"])
def test_no_reply_is_larger_than_lambda_takes(on_error: str, codec: str) -> None:
    """Even where every part takes the most room that it may."""

    def ask(function: Any, items: list[Any]) -> tuple[int, int]:
        event = request(function, items, on_error=on_error, codec=codec)
        if codec == "json":
            event["p"] = {"items": items}
        reply = run_request(event)
        return len(json.dumps(reply)), reply["lambdamap"]["done"]

    for function, items in (
        (tasks.shout, [1_100_000, 3_450_000]),
        (tasks.shout_and_fail, [0] * 500),
        (tasks.identity, [["é", 1, 2.5, {}] * 20_000] * 20),
    ):
        if codec == "json" and function is tasks.shout:
            continue  # its bytes have no form there
        size, done = ask(function, items)
        assert size <= 6_291_556
        assert done or on_error == "raise"


def test_results_that_are_wide_together_go_one_by_one() -> None:
    items = [1] * 800 + [2, 1]
    reply = run_request(request(tasks.constant_or_not, items))
    assert reply["lambdamap"]["done"] == len(items)
    assert len(reply["r"]) < 200_000
    assert results(reply) == dict(enumerate(map(tasks.constant_or_not, items)))


def test_handlers() -> None:
    assert "errorMessage" in handler({"other": 1}, None)
    reply = zappa_task(request(tasks.megabytes, [1]), None)
    assert isinstance(reply, dict)
    assert len(str(reply)) <= 200
    assert len(json.dumps(reply)) > 1000

    def mine(event: Any, context: Any) -> str:
        return "mine"

    wrapped = wrap(mine)
    assert wrapped({"other": 1}, None) == "mine"
    assert results(wrapped(request(tasks.square, [2]), None)) == [4]


def test_stale_code() -> None:
    reply = run_request(request(tasks.square, [1], code="0" * 64))
    assert reply["lambdamap"]["code"]["module"] == "tasks"


# --- it never raises ----------------------------------------------------------------------------


def _interrupt(x: int) -> int:
    raise KeyboardInterrupt


def test_ctrl_c_in_f() -> None:
    event = request(_interrupt, [1])
    assert run_request(event, trusted=True)["error"]["type"] == "KeyboardInterrupt"
    with pytest.raises(KeyboardInterrupt):
        run_request(event, trusted=True, interruptible=True)


class HostileError(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even this")

    def __reduce__(self) -> Any:
        raise ValueError


def _hostile(x: int) -> int:
    raise HostileError(object(), "\udc80")


def _oddly_named(x: int) -> int:
    raise type("\udc80" + "x" * 100_000, (Exception,), {"__module__": "\udc81"})


def _surrogates(x: int) -> int:
    print("\udc80 printed")
    raise ValueError("\udc80 raised" + "x" * 100_000)


def _deep(x: int) -> int:
    return _deep(x + 1)


@pytest.mark.parametrize("function", [_hostile, _surrogates, _deep, _oddly_named])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_errors_that_resist(function: Any, on_error: str) -> None:
    reply = run_request(request(function, [1], on_error=on_error), trusted=True)
    text = json.dumps(reply)
    assert len(text) < 200_000
    json.loads(text.encode("utf-8"))
    if on_error == "raise":
        error = reply["error"]
        assert envelope.read_error(error, 1, 0) == error
        assert error["kind"] == "function"
        assert len(error["message"]) <= 16384
        assert len(error["traceback"]) <= 16384
        assert "lambdamap/worker/" not in error["traceback"].replace(os.sep, "/")


@pytest.mark.parametrize("left_ms", [0, -5, -(2**63)])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_no_item_runs_when_no_time_is_left(left_ms: int, on_error: str) -> None:
    before = tasks.RUNS.total()
    event = request(tasks.counted, ["a", "b"], left_ms=left_ms, on_error=on_error)
    event["lambdamap"]["function"] = "not_there:f"  # it is not even looked for
    reply = run_request(event)
    error = reply["error"]
    assert (error["kind"], error["ran"], error["index"]) == ("deadline", "NOT", None)
    assert tasks.RUNS.total() == before
    assert "r" not in reply and "done" not in reply["lambdamap"]


@pytest.mark.parametrize("left_ms", [0, -1])
def test_no_item_runs_when_lambda_has_no_time_left(left_ms: int) -> None:
    class Over:
        def get_remaining_time_in_millis(self) -> int:
            return left_ms

    before = tasks.RUNS.total()
    error = run_request(request(tasks.counted, ["a"]), Over())["error"]
    assert (error["kind"], error["ran"]) == ("deadline", "NOT")
    assert tasks.RUNS.total() == before


def test_time_that_loading_the_function_took_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's time is counted from when the request came, and not from when f was there."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "slow_to_load.py").write_text("def f(x): raise SystemExit")
    from slow_to_load import f  # type: ignore[import-not-found]

    event = request(f, [1], left_ms=5)
    del sys.modules["slow_to_load"]
    source = "import time\nends = time.monotonic() + 0.02\nwhile time.monotonic() < ends: pass\n"
    (tmp_path / "slow_to_load.py").write_text(source + "def f(x): raise SystemExit")
    try:
        error = run_request(event)["error"]
    finally:
        sys.modules.pop("slow_to_load", None)
    assert (error["kind"], error["ran"]) == ("deadline", "NOT")


def test_many_failing_items_stay_below_the_limit() -> None:
    reply = run_request(request(_surrogates, [1] * 2000, on_error="return"), trusted=True)
    assert 0 < reply["lambdamap"]["done"] < 2000
    assert len(json.dumps(reply)) < 6_291_556


def test_zappa_may_call_it() -> None:
    import inspect

    parameters = inspect.signature(zappa_task).parameters.values()
    assert [p.name for p in parameters] == ["event", "context"]
    assert all(p.default is p.empty for p in parameters)
    reply = zappa_task(request(tasks.square, [1], chunk="x" * 1000), None)
    assert len(str(reply)) <= 200
    assert len(repr(reply)) <= 200
    assert json.loads(json.dumps(reply)) == dict(reply)


_seen: list[int | None] = []


def _look(x: int) -> int:
    _seen.append(depth_left.get())
    return x


def test_depth_is_known_to_f() -> None:
    _seen.clear()
    run_request(request(_look, [1], depth=2), trusted=True)
    assert _seen == [2]
    assert depth_left.get() is None


# --- stale code ---------------------------------------------------------------------------------


def test_the_same_code_is_not_stale() -> None:
    digest = hashlib.sha256(Path(tasks.__file__).read_bytes()).hexdigest()
    for function in (tasks.square, functools.partial(tasks.add, 1)):
        reply = run_request(request(function, [1], code=digest, function="tasks:x"))
        assert "code" not in reply["lambdamap"]
    reply = run_request(
        request(functools.partial(tasks.add, 1), [1], code="0" * 64, function="tasks:add")
    )
    assert reply["lambdamap"]["code"] == {"module": "tasks", "have": digest, "want": "0" * 64}


def test_code_that_is_older_than_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "aging.py"
    path.write_text("def f(x): return 'old'")
    import aging  # type: ignore[import-not-found]

    def ask() -> dict[str, Any]:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return run_request(request(aging.f, [1], code=digest))["lambdamap"]

    try:
        assert "code" not in ask()
        path.write_text("def f(x): return 'newer'")
        assert ask()["code"]["module"] == "aging"
        importlib.reload(aging)
        assert "code" not in ask()
    finally:
        del sys.modules["aging"]


# --- output -------------------------------------------------------------------------------------


def test_only_the_last_of_much_output_is_kept() -> None:
    output = Output()
    for output.index in range(3000):
        output.write("x" * 9 + "\n")
    kept = output.joined()
    assert sum(len(text) for _, text in kept) == 16384
    assert kept[-1] == [2999, "x" * 9 + "\n"]
    output.index = 3000
    output.write("y" * 50_000)
    assert output.joined() == [[3000, "y" * 16384]]


def test_output_of_single_characters() -> None:
    output = Output()
    for _ in range(100_000):
        output.write("z")
    assert output.joined() == [[0, "z" * 16384]]


def test_output_of_two_chunks_at_once_is_kept_apart() -> None:
    barrier = threading.Barrier(2, timeout=20)
    before = sys.stdout, sys.stderr

    def chunk(name: str) -> list[list[Any]]:
        output = Output()
        with captured(output):
            barrier.wait()
            for _ in range(100):
                print(name)
                print(name, file=sys.stderr)
            barrier.wait()
        return output.joined()

    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(chunk, ["one", "two"]))
    assert found == [[[0, "one\n" * 200]], [[0, "two\n" * 200]]]
    assert (sys.stdout, sys.stderr) == before


def test_output_of_other_threads_is_not_taken(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    with captured(output):
        other = threading.Thread(target=print, args=("elsewhere",))
        other.start()
        other.join()
        print("here")
        assert not sys.stdout.isatty()
        sys.stdout.writelines(["a", "b"])
        sys.stdout.flush()
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    assert output.joined() == [[0, "here\nab"]]
    assert capsys.readouterr().out == "elsewhere\n"


def test_a_stream_that_f_replaces_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    mine = io.StringIO()
    with captured(Output()):
        sys.stdout = mine
    assert sys.stdout is mine


# --- weight -------------------------------------------------------------------------------------


def test_the_worker_imports_little() -> None:
    code = """
import sys, lambdamap.worker.entry
ours = {name for name in sys.modules if name.startswith("lambdamap")}
assert ours == {"lambdamap", "lambdamap._codec", "lambdamap._version", "lambdamap.worker", "lambdamap.shipping",
    "lambdamap.worker.allow", "lambdamap.worker.call", "lambdamap.worker.calls", "lambdamap.worker.chunk",
    "lambdamap.worker.describe", "lambdamap.worker.load", "lambdamap.worker.source", "lambdamap._process",
    "lambdamap.worker.entry", "lambdamap.worker.project", "lambdamap.shipping.lookup", "lambdamap.shipping.envelope",
    "lambdamap.worker.deadline", "lambdamap.worker.output"} | ({"lambdamap.shipping.kinds"} & ours), ours
heavy = {"lambdamap._net", "asyncio", "click", "h11", "tqdm", "boto3", "numpy", "pandas",
    "cloudpickle", "http.client", "ssl"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)
