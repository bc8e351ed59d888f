"""The worker: what it refuses, and that a request that is not right or not allowed runs nothing."""

from __future__ import annotations

import functools
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import lambdamap
import tasks
from lambdamap import _codec
from lambdamap.shipping.envelope import PYTHON
from lambdamap.worker import allow
from lambdamap.worker.call import run_request
from lambdamap.worker.entry import handler, zappa_task
from worker_requests import request, results


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ({"protocol": 2}, "protocol 2"),
        ({"by_value": 1}, "LAMBDAMAP_BY_VALUE=1"),
        ({"function": "os:system"}, "standard library"),
        ({"function": "tasks:__builtins__"}, "not the path"),
        ({"function": "tasks"}, "not the path"),
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


@pytest.mark.parametrize(
    ("patterns", "wrong"),
    [
        ("tasks.square", "tasks.square"),
        ("tasks:*; os:getpid", "tasks:*;"),
        ("'tasks:*'", "'tasks:*'"),
        ("tasks:*, tasks:", "tasks:"),
        ("* :f", ":f"),
        ("tasks:a:b", "tasks:a:b"),
        ("tasks..sub:f", "tasks..sub:f"),
        ("tasks/sub:f", "tasks/sub:f"),
    ],
)
def test_a_malformed_allow_refuses_everything(
    monkeypatch: pytest.MonkeyPatch, patterns: str, wrong: str
) -> None:
    """The remedy names the pattern, whichever function is asked for; `lambdamap doctor` shows it."""
    monkeypatch.setenv("LAMBDAMAP_ALLOW", patterns)
    text = f"{wrong!r}, which matches no function: write module:name, with * and ? if needed"
    error = run_request(request(tasks.square, [3]))["error"]
    assert (error["kind"], error["ran"]) == ("refused", "NOT")
    assert error["message"] == f"LAMBDAMAP_ALLOW on the worker contains {text}"
    assert allow.described().startswith(f"nothing by name (LAMBDAMAP_ALLOW contains {text}); ")
    assert allow.Permissions(trusted=True).function("tasks", "square") is tasks.square


@pytest.mark.parametrize(
    "patterns", ["*", "tasks*", "t?sks:sq*", "tasks:*, tasks.*:*", "a.b.c:D.e", "", "*:*", "ä:b"]
)
def test_patterns_that_a_name_can_match(patterns: str) -> None:
    assert allow.malformed(patterns) == ""


@pytest.mark.parametrize(
    "payload", ["", "lm1:", "lm1:AAAA", "lm1:!", 5, None, [], {"f": "tasks:square"}]
)
def test_hostile_payloads(payload: Any) -> None:
    event = request(tasks.square, [1])
    event["p"] = payload
    reply = run_request(event)
    assert reply["error"]["kind"] == "decode"
    assert reply["error"]["ran"] == "NOT"


# What each field of a head may hold, said once more: `lambdamap.shipping.envelope` has it as a table.
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


@pytest.mark.parametrize("event", [None, 5, [], "x", {}, {"lambdamap": 1}, {"lambdamap": {}}])
def test_events_of_others(event: Any) -> None:
    assert "lambdamap.worker" in handler(event, None)["errorMessage"]
    assert len(str(zappa_task(event, None))) <= 200


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
        ("*", "lambdamap.worker.load:_load_blob", False),
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


NOTHING_BY_VALUE = """
import os, pickle, sys
os.environ["LAMBDAMAP_BY_VALUE"] = "0"
os.environ["LAMBDAMAP_ALLOW"] = "tasks:*"
import lambdamap.shipping.kinds, lambdamap.shipping.pickling, tasks
from lambdamap import _codec
from lambdamap.shipping.envelope import PYTHON
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
