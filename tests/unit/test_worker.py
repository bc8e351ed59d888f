"""The worker: what it refuses before it decodes, what it answers, and that it never raises."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lambdamap
import tasks
from lambdamap import _codec, _exceptions, _names, envelope
from lambdamap.worker import allow, wrap
from lambdamap.worker.call import PYTHON, depth_left, run_request
from lambdamap.worker.entry import handler, zappa_task
from lambdamap.worker.output import Output, captured


def request(function: Any, items: list[Any], /, **head: Any) -> dict[str, Any]:
    packer = _codec.ChunkPacker({})
    packer.fill(iter(items), max(1, len(items)), 1 << 30)
    value = _codec.decode(packer.take(), names=_names.TRUSTED)
    module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
    defaults = {
        "protocol": _codec.PROTOCOL, "version": "0.1.0", "python": PYTHON, "by_value": 0,
        "map": "0" * 32, "chunk": 0, "items": len(items), "attempt": 1, "left_ms": 60_000,
        "depth": 0, "on_error": "raise", "compression": 0, "allow_pickle": 0,
        "function": f"{module}:{name}", "code": None,
    }  # fmt: skip
    return {"lambdamap": {**defaults, **head}, "p": _codec.encode_text(value)}


def results(reply: dict[str, Any]) -> Any:
    json.dumps(reply)  # it is always JSON-able
    return _codec.decode_text(reply["r"])[0]


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
    again = _exceptions.unpack(error["exception"], False, 1 << 16)
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


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ({"protocol": 2}, "protocol 2"),
        ({"by_value": 1}, "LAMBDAMAP_BY_VALUE=1"),
        ({"function": "os:system"}, "standard library"),
        ({"function": "tasks:__builtins__"}, "not a path"),
        ({"function": "tasks"}, "not a path"),
    ],
)
def test_refused_before_anything_is_decoded(head: dict[str, Any], text: str) -> None:
    event = request(tasks.square, [1], **head)
    event["p"] = "lm1:not even base64"
    reply = run_request(event)
    assert reply["error"]["ran"] == "NOT"
    assert text in reply["error"]["message"]
    assert "done" not in reply["lambdamap"]


def test_another_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    reply = run_request(request(tasks.square, [1], by_value=1, python="3.5"))
    assert "3.5" in reply["error"]["message"]
    assert PYTHON in reply["error"]["message"]


def test_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "tasks:sq*")
    assert results(run_request(request(tasks.square, [3]))) == [9]
    reply = run_request(request(tasks.identity, [3]))
    assert "does not allow tasks:identity" in reply["error"]["message"]
    # A name inside the items is subject to it, too.
    reply = run_request(request(tasks.square, [tasks.identity]))
    assert "does not allow tasks:identity" in reply["error"]["message"]


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


@pytest.mark.parametrize(
    "payload", ["", "lm1:", "lm1:AAAA", "lm1:!", 5, None, [], {"f": "tasks:square"}]
)
def test_hostile_payloads(payload: Any) -> None:
    event = request(tasks.square, [1])
    event["p"] = payload
    reply = run_request(event)
    assert reply["error"]["kind"] == "decode"
    assert reply["error"]["ran"] == "NOT"


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


@pytest.mark.parametrize(("size", "mend"), [(4, "smaller chunksize"), (9, "store it")])
def test_a_result_that_does_not_fit(size: int, mend: str) -> None:
    reply = run_request(request(tasks.megabytes, [1, size, 1]))
    assert (reply["error"]["kind"], reply["error"]["index"]) == ("size", 1)
    assert mend in reply["error"]["message"]
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


# --- what may be called -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "name", "allowed"),
    [
        (None, "tasks:square", True),
        (None, "tasks:os.system", False),  # defined in the standard library
        (None, "tasks:sys", False),
        (None, "subprocess:run", False),
        (None, "builtins:eval", False),
        (None, "__main__:main", False),
        (None, "lambdamap.worker.call:run_request", False),
        ("*", "subprocess:run", True),
        ("*", "lambdamap.worker.call:_load_blob", False),
        ("lambdamap.*:*", "lambdamap:my_map", False),
        ("tasks:*", "tasks:square", True),
        ("tasks:*", "tasks:remembered", True),  # under functools.lru_cache
        ("tasks:*", "tasks:Point.of", True),
        ("tasks:*", "tasks:os.system", False),  # through another module
        ("tasks:*, posix:system", "tasks:os.system", False),
        ("tasks:os.system", "tasks:os.system", False),
        ("math:sqrt", "math:sqrt", True),
        ("math:sqrt", "math:sin", False),
        ("other:*", "tasks:square", False),
        ("", "tasks:square", False),
    ],
)
def test_names(
    monkeypatch: pytest.MonkeyPatch, patterns: str | None, name: str, allowed: bool
) -> None:
    if patterns is not None:
        monkeypatch.setenv("LAMBDAMAP_ALLOW", patterns)
    module, _, qualname = name.partition(":")
    if allowed:
        assert callable(allow.Permissions().function(module, qualname))
    else:
        with pytest.raises(allow.Refused):
            allow.Permissions().function(module, qualname)


def test_refused_modules_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_ALLOW", "tasks:*")
    assert "antigravity" not in sys.modules
    for module in ("antigravity", "not_there_at_all"):
        reply = run_request(request(tasks.square, [1], function=f"{module}:f"))
        assert reply["error"]["kind"] == "refused"
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("raise RuntimeError('no licence')", "no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import not_there", "not_there"),
        ("def f(:", "SyntaxError"),
        ("", "has no f"),
    ],
)
def test_a_module_that_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, text: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "broken.py").write_text("def f(x): return x")
    from broken import f  # type: ignore[import-not-found]

    event = request(f, [1])
    del sys.modules["broken"]
    (tmp_path / "broken.py").write_text(source + "\n" * 50)
    try:
        reply = run_request(event)
    finally:
        sys.modules.pop("broken", None)
    error = reply["error"]
    assert (error["kind"], error["ran"], error["index"]) == ("init", "NOT", None)
    assert text in error["message"]
    assert ("broken.py" in error["traceback"]) == bool(source)
    assert "done" not in reply["lambdamap"]


# --- by value -----------------------------------------------------------------------------------


class Loud:
    """Says when it is unpickled."""

    loads = 0

    def __reduce__(self) -> Any:
        return _load, ()

    def __call__(self, x: int) -> int:
        return x + Loud.loads


def _load() -> Loud:
    Loud.loads += 1
    return Loud()


def by_value(blob: bytes, items: list[Any], **head: Any) -> dict[str, Any]:
    event = request(tasks.square, items, by_value=1, **head)
    event["p"] = _codec.encode_text([{"f": blob}, items])
    return event


def test_a_function_by_value_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    Loud.loads = 0
    blob = pickle.dumps(Loud())
    assert results(run_request(by_value(blob, [10, 20]))) == [11, 21]
    assert results(run_request(by_value(blob, [30]))) == [31]
    assert Loud.loads == 1
    for number in range(40):  # more than are kept
        assert results(run_request(by_value(pickle.dumps(functools.partial(max, number)), [99])))
    assert results(run_request(by_value(blob, [0]))) == [2]


def test_nothing_is_unpickled_without_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    Loud.loads = 0
    blob = pickle.dumps(Loud())
    assert run_request(by_value(blob, [1]))["error"]["kind"] == "refused"
    hidden = by_value(blob, [1])
    hidden["lambdamap"]["by_value"] = 0
    assert results(run_request(hidden)) == [1]  # f is what the head names
    item = request(tasks.identity, [1])
    item["p"] = _codec.encode_text([{}, [Loud()]], allow_pickle=True)
    error = run_request(item)["error"]
    assert (error["kind"], error["ran"]) == ("refused", "NOT")
    assert "set LAMBDAMAP_BY_VALUE=1 on it" in error["message"]
    assert Loud.loads == 0
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    assert run_request(by_value(blob, [1], python="3.5"))["error"]["kind"] == "refused"
    assert Loud.loads == 0
    # Who may send code may send pickled items, with a function by path, too.
    run_request(item)
    assert Loud.loads == 1


def test_a_function_by_value_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAMBDAMAP_BY_VALUE", "1")
    for blob in (b"", b"garbage", b"cnot_there\nf\n.", b"csys\nexit\n(I5\ntR."):
        error = run_request(by_value(blob, [1]))["error"]
        assert (error["kind"], error["ran"]) == ("init", "NOT")


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
        assert "worker/call.py" not in error["traceback"].replace(os.sep, "/")


# What each field of a head may hold, said once more: `lambdamap.envelope` has it as a table.
def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= 100 and value.isascii()


RIGHT: dict[str, Callable[[Any], bool]] = {
    "protocol": _whole(1, 1),
    "codec": lambda value: value == "native",  # as the payload is
    "calls": lambda value: value == "item",
    "version": _text,
    "python": _text,
    "by_value": _whole(0, 0),
    "map": lambda value: type(value) is str and bool(re.fullmatch(r"[0-9a-f]{32}", value)),
    "chunk": _whole(0, 2**63 - 1),
    "items": _whole(1, 1),  # as many as there are
    "attempt": _whole(0, 2**32 - 1),
    "left_ms": _whole(20_000, 2**63 - 1),
    "on_error": lambda value: value in ("raise", "return"),
    "idempotent": _whole(0, 1),
    "compression": _whole(0, 1),
    "allow_pickle": _whole(0, 1),
    "depth": _whole(0, 2**31 - 1),
    "function": lambda value: value == "tasks:counted",
    "code": lambda value: value is None or bool(re.fullmatch(r"[0-9a-f]{64}", str(value))),
}
_NEEDED = ("protocol", "map", "chunk", "items", "function")
_odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [0, 1, 2, -1, 2**31, 2**32, 2**63, 2**64, 10**400, 1.0, "1", "native", "raise"]
    )
    | st.sampled_from(["0" * 32, "f" * 64, "\ud800", "x" * 100_000, "tasks:counted"])
    | st.floats()
    | st.text(max_size=40),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    changes=st.dictionaries(st.sampled_from([*RIGHT]) | st.text(max_size=8), _odd, max_size=3),
    without=st.sets(st.sampled_from([*RIGHT]), max_size=2),
)
def test_a_head_that_is_not_right_runs_nothing(changes: dict[str, Any], without: set[str]) -> None:
    event = request(tasks.counted, ["a"], calls="item", idempotent=0)
    head = event["lambdamap"]
    head.update(changes)
    for name in without:
        head.pop(name, None)
    # Texts of other characters, and time for one item perhaps, say nothing.
    assume(all(str(head.get(name, "")).isascii() for name in ("version", "python")))
    assume(not _whole(1, 19_999)(head.get("left_ms")))
    right = all(name in head for name in _NEEDED) and all(
        name not in head or is_right(head[name]) for name, is_right in RIGHT.items()
    )
    before = tasks.RUNS.total()
    reply = handler(event, None)
    assert json.loads(json.dumps(reply, allow_nan=False)) == reply
    ran = tasks.RUNS.total() > before
    assert ran is right
    assert ("r" in reply) is ran
    if not ran:
        assert (reply["error"]["ran"], reply["error"]["index"]) == ("NOT", None)
        assert "done" not in reply["lambdamap"]
    for name in ("map", "chunk"):
        assert name not in reply["lambdamap"] or reply["lambdamap"][name] == head[name]


@pytest.mark.parametrize(
    "head",
    [
        {"depth": "x"}, {"depth": -5}, {"left_ms": "soon"}, {"left_ms": None}, {"left_ms": 10**400},
        {"left_ms": 5.5}, {"on_error": 7}, {"on_error": "stop"}, {"code": 5}, {"map": [1]},
        {"map": "x"}, {"chunk": {}}, {"chunk": -1}, {"chunk": 2**63}, {"function": None},
        {"function": 5}, {"protocol": None}, {"protocol": []}, {"protocol": True},
        {"protocol": 1.0}, {"protocol": 10**400}, {"python": 3}, {"by_value": "yes"},
        {"by_value": True}, {"compression": "auto"}, {"allow_pickle": []}, {"idempotent": True},
        {"calls": "twice"}, {"calls": None}, {"codec": "cbor"}, {"attempt": 0.5}, {"items": "1"},
    ],
    ids=lambda head: str(head)[:40],
)  # fmt: skip
def test_odd_heads(head: dict[str, Any]) -> None:
    reply = run_request(request(tasks.square, [1], **head))
    json.dumps(reply)
    assert reply["lambdamap"]["protocol"] == _codec.PROTOCOL
    assert "r" not in reply
    error = reply["error"]
    assert (error["kind"], error["ran"], error["index"]) == ("protocol", "NOT", None)
    assert next(iter(head)) in error["message"]


def test_unknown_fields_are_ignored() -> None:
    assert results(run_request(request(tasks.square, [3], surprise=[1], lambdamap={}))) == [9]


def test_as_many_items_as_the_head_says() -> None:
    error = run_request(request(tasks.square, [1, 2], items=3))["error"]
    assert (error["kind"], error["ran"]) == ("decode", "NOT")
    assert "3 items and holds 2" in error["message"]


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


@pytest.mark.parametrize("event", [None, 5, [], "x", {}, {"lambdamap": 1}, {"lambdamap": {}}])
def test_events_of_others(event: Any) -> None:
    assert "lambdamap.worker" in handler(event, None)["errorMessage"]
    assert len(str(zappa_task(event, None))) <= 200


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
assert ours == {"lambdamap", "lambdamap._codec", "lambdamap._version", "lambdamap.worker",
    "lambdamap.worker.allow", "lambdamap.worker.call", "lambdamap.worker.calls", "lambdamap._process",
    "lambdamap.worker.entry", "lambdamap.worker.project", "lambdamap._names", "lambdamap.envelope",
    "lambdamap.worker.deadline", "lambdamap.worker.output"} | ({"lambdamap._kinds"} & ours), ours
heavy = {"lambdamap._net", "asyncio", "click", "h11", "tqdm", "boto3", "numpy", "pandas",
    "cloudpickle", "http.client", "ssl"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


NOTHING_BY_VALUE = """
import os, pickle, sys
os.environ["LAMBDAMAP_BY_VALUE"] = "0"
os.environ["LAMBDAMAP_ALLOW"] = "tasks:*"
import lambdamap._kinds, lambdamap._pickles, tasks
from lambdamap import _codec
from lambdamap.worker.call import PYTHON
from lambdamap.worker.entry import handler, zappa_task

class Hostile:
    def __reduce__(self):
        return os.mkdir, ("made",)

seen = []
sys.addaudithook(lambda event, args: seen.append(args) if event.startswith("pickle.") else None)
blob = pickle.dumps(Hostile())
specs = [{}, {"f": blob}, {"f": Hostile()}, {"args": (Hostile(),)}, {"kwargs": {"y": Hostile()}},
    {"args": blob}, {"f": blob, "args": (blob,), "kwargs": {}}]
items = [[1], [blob], [Hostile()], [[blob]], [{"a": Hostile()}], [(blob, (), {})], [[(blob, (), {})]],
    [[Hostile()] * 9], [Hostile()] * 9, [{Hostile(): 1}], [(Hostile(), (), {})]]
ran = 0
for spec in specs:
    for item in items:
        for calls in ("item", "star", "call", "batch", "each", "group"):
            for head in ({}, {"by_value": 1}, {"by_value": True}, {"allow_pickle": 1}, {"python": "2.7"}):
                made = {"protocol": 1, "version": "0", "python": PYTHON, "map": "0" * 32, "chunk": 0,
                    "items": len(item), "function": "tasks:identity", "calls": calls, **head}
                frame = _codec.encode_text([spec, item], allow_pickle=True)
                reply = handler({"lambdamap": made, "p": frame}, None)
                zappa_task({"lambdamap": made, "p": frame}, None)
                ran += "error" not in reply
assert ran, "the control: plain items run"
assert not seen and not os.path.exists("made"), seen[:3]
"""


def test_with_by_value_0_no_byte_of_a_request_is_unpickled(tmp_path: Path) -> None:
    paths = [str(Path(lambdamap.__file__).parents[1]), str(Path(tasks.__file__).parent)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", NOTHING_BY_VALUE], check=True, cwd=tmp_path, env=env)
