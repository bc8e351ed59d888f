"""The worker: what it refuses before it decodes, what it answers, and that it never raises."""

from __future__ import annotations

import json
from typing import Any

import pytest

import tasks
from lambdamap import _codec
from lambdamap.worker import wrap
from lambdamap.worker.call import PYTHON, run_request
from lambdamap.worker.entry import handler, zappa_task


def request(function: Any, items: list[Any], /, **head: Any) -> dict[str, Any]:
    packer = _codec.ChunkPacker({"f": function, "star": head.pop("star", False)})
    packer.fill(iter(items), max(1, len(items)), 1 << 30)
    value = _codec.decode(packer.take())
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
    assert results(run_request(request(tasks.add, [(1, 2), (3, 4)], star=True))) == [3, 7]


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
    assert _codec.decode_text(error["args"]) == ("seven is out", 7)


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
        ({"function": "tasks:__builtins__"}, "no path"),
        ({"function": "tasks"}, "no path"),
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
    "payload", ["", "lm1:", "lm1:AAAA", "lm1:!", 5, None, [], {"f": "tasks:square"}]
)
def test_hostile_payloads(payload: Any) -> None:
    event = request(tasks.square, [1])
    event["p"] = payload
    reply = run_request(event)
    assert reply["error"]["kind"] == "decode"
    assert reply["error"]["ran"] == "NOT"


class Clock:
    """A context whose time runs out after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def get_remaining_time_in_millis(self) -> int:
        self.looks -= 1
        return 100_000 if self.looks >= 0 else 10


def test_out_of_time_answers_the_part_that_is_done() -> None:
    reply = run_request(request(tasks.square, list(range(10))), Clock(3))
    assert reply["lambdamap"]["done"] == 4
    assert results(reply) == [0, 1, 4, 9]
    assert "error" not in reply
    assert run_request(request(tasks.square, [5, 6]), Clock(0))["lambdamap"]["done"] == 1


def test_results_that_fill_a_reply() -> None:
    reply = run_request(request(tasks.megabytes, [1] * 10))
    assert reply["lambdamap"]["done"] == 3
    assert "error" not in reply
    reply = run_request(request(tasks.megabytes, [2, 2, 1]))
    assert reply["lambdamap"]["done"] == 2
    reply = run_request(request(tasks.megabytes, [1, 4, 1]))
    assert "chunksize=1" in reply["error"]["message"]
    reply = run_request(request(tasks.megabytes, [1, 9, 1]))
    assert reply["error"]["kind"] == "size"
    assert reply["error"]["index"] == 1
    assert results(reply) == [b"x" * 1_000_000]


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
