"""The envelope's fields: the tables of the page, and the two readers, against hostile values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from core_driver import ask
from lambdamap.shipping import envelope
from lambdamap.shipping.envelope import (
    ERROR,
    REPLY,
    REPLY_HEAD,
    REQUEST,
    REQUIRED,
    Field,
    Malformed,
)

PAGE = Path(__file__).parents[2] / "docs" / "wire-format.md"
MAP = "0123456789abcdef" * 2
DEEP: Any = []
for _ in range(10_000):
    DEEP = [DEEP]


def row(field: Field) -> str:
    """The field as the page has it."""
    match field.allowed:
        case range(start=low, stop=end) if end - low < 3:
            values = " or ".join(map(str, range(low, end)))
        case range(start=low, stop=end):
            bits = end.bit_length() - 1
            values = f"{low and f'-2^{bits}'} to 2^{bits} - 1"
        case tuple() as words:
            values = ", ".join(f"`{word}`" for word in words)
        case re.Pattern() as pattern:
            digits = re.fullmatch(r"\[0-9a-f\]\{(\d+)\}", pattern.pattern)
            assert digits is not None
            values = f"{digits[1]} hexadecimal digits, a to f in lower case"
        case int() as most:
            values = f"at most {most} characters"
        case _:
            values = "any"
    absent = "required" if field.default is REQUIRED else f"{field.default}".lower() or "empty"
    kind = f"{field.type} or null" if field.null and field.type != "any" else field.type
    return f"| `{field.name}` | {kind} | {values} | {absent} |"


@pytest.mark.parametrize("table", [REQUEST, REPLY_HEAD, REPLY, ERROR], ids=len)
def test_the_tables_of_the_page(table: tuple[Field, ...]) -> None:
    head = "| field | type | values | absent |\n| --- | --- | --- | --- |\n"
    assert head + "\n".join(map(row, table)) + "\n\n" in PAGE.read_text()


def test_each_table_is_what_its_reader_gives() -> None:
    assert tuple(field.name for field in REQUEST) == envelope.Request._fields
    assert {field.name for field in ERROR} == set(envelope.ErrorObject.__annotations__)
    used = {field.name for field in (*REPLY_HEAD, *REPLY)} - {
        "protocol", "version", "python", "map", "chunk", "allow",
    }  # fmt: skip
    assert used == set(envelope.Reply._fields)


# --- values that no field, or not this one, may have ------------------------------------------------

HOSTILE: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "float": 1.0,
    "fraction": 0.5,
    "number as text": "1",
    "negative": -1,
    "one too many": 1 << 63,
    "32 bits": 1 << 32,
    "64 bits": 1 << 64,
    "400 digits": 10**400,
    "a float": 1.7e308,
    "empty": "",
    "surrogate": "\ud800",
    "long": "x" * 1_000_000,
    "array": [],
    "object": {},
    "deep": DEEP,
    "id in capitals": MAP.upper(),
    "id and newline": MAP + "\n",
}


def check_message(wrong: Malformed) -> None:
    """It is short and can be encoded, whatever the value is that it speaks of."""
    assert 0 < len(str(wrong).encode()) < 300


def request(**head: Any) -> dict[str, Any]:
    return {"lambdamap": {"protocol": 1, "map": MAP, "chunk": 0, "items": 1, **head}, "p": ""}


# What of `HOSTILE` is right for a field after all.
_INTEGERS = {"32 bits"}
_TEXTS = {"empty", "number as text", "id in capitals", "id and newline"}
TAKEN: dict[str, set[str]] = {
    "chunk": _INTEGERS,
    "left_ms": {"negative", "32 bits"},
    "version": _TEXTS,
    "python": _TEXTS,
    "function": _TEXTS,
    "code": {"null"},
}


@pytest.mark.parametrize("name", [field.name for field in REQUEST])
def test_a_requests_field_has_one_type_and_range(name: str) -> None:
    taken = set()
    for kind, value in HOSTILE.items():
        try:
            envelope.read_request(request(**{name: value}))
        except Malformed as wrong:
            check_message(wrong)
        else:
            taken.add(kind)
    assert taken == TAKEN.get(name, set())


@pytest.mark.parametrize("name", [field.name for field in REQUEST])
def test_a_requests_field_that_is_absent(name: str) -> None:
    event = request()
    event["lambdamap"].pop(name, None)
    if name in ("protocol", "map", "chunk", "items"):
        with pytest.raises(Malformed, match=f"has no {name}"):
            envelope.read_request(event)
    else:
        default = {field.name: field.default for field in REQUEST}[name]
        assert getattr(envelope.read_request(event), name) == default


@pytest.mark.parametrize("calls", ["item", "star", "call", "batch", "each", "group"])
def test_how_calls_are_made(calls: str) -> None:
    assert envelope.read_request(request(calls=calls, unknown=DEEP)).calls == calls


def test_only_what_is_right_is_repeated() -> None:
    assert envelope.echo(request(chunk=7)) == {"map": MAP, "chunk": 7}
    assert envelope.echo(request(chunk=True, map=5)) == {}
    assert envelope.echo({"lambdamap": {}}) == {}


# --- both readers of a reply ----------------------------------------------------------------------

GOOD = {
    "lambdamap": {
        "protocol": 1, "version": "1", "python": "3", "map": MAP, "chunk": 3, "done": 2, "us": 5,
    },
    "r": "lm1:",
}  # fmt: skip


def replies() -> dict[str, tuple[str, bool]]:
    """JSON by name, and whether it is to be taken as a reply to chunk 3, of 4 items."""
    made: dict[str, tuple[str, bool]] = {"good": (json.dumps(GOOD), True)}
    taken = {
        "chunk": set(), "done": set(), "map": set(), "protocol": set(), "us": {"32 bits"},
        "code": set(HOSTILE), "error": {"null", "object"}, "out": set(HOSTILE),
        "r": {"empty", "number as text", "long", "id in capitals"},
    }  # fmt: skip
    for name, good in taken.items():
        for kind, value in HOSTILE.items():
            if name in ("code", "out") and kind in ("surrogate", "deep"):
                continue  # test_core_json has what is refused wherever it stands
            if name == "r" and kind == "id and newline":
                continue  # an escape, which is seen only in JSON
            if kind == "deep":
                text = json.dumps([]).join(["[" * 500, "]" * 500])
            else:
                text = json.dumps(value)
            reply: dict[str, Any] = {**GOOD, "lambdamap": dict(GOOD["lambdamap"])}
            place = reply if name in ("error", "r", "out") else reply["lambdamap"]
            place[name] = "@"
            made[f"{name}: {kind}"] = (json.dumps(reply).replace('"@"', text), kind in good)
    good, head = json.dumps(GOOD), GOOD["lambdamap"]

    def without(*names: str, **more: Any) -> str:
        left = {name: value for name, value in head.items() if name not in names}
        return json.dumps({"lambdamap": left, **more})

    error: dict[str, Any] = {"error": {}}
    made |= {
        "twice: error": (good[:-1] + ', "error": null, "error": null}', False),
        "twice: r": (good[:-1] + ', "r": ""}', False),
        "twice: done": (good.replace('"done"', '"done": 2, "done"'), False),
        "twice, escaped": (good.replace('"done"', '"\\u0064one": 2, "done"'), False),
        "an escaped error": (good[:-1] + ', "\\u0065rror": "boom"}', False),
        "an escaped key": (good.replace('"done"', '"d\\u006fne"'), True),
        "an escaped marker": (good.replace('"lambdamap"', '"lambdam\\u0061p"'), True),
        "an unknown key": (good[:-1] + ', "e\\\\u0072ror": "x", "new": [1]}', True),
        "no protocol": (without("protocol", r=""), False),
        "no map": (without("map", r=""), False),
        "no chunk": (without("chunk", r=""), False),
        "no done": (without("done", r=""), False),
        "no us": (without("us", r=""), True),
        "no results": (without(), False),
        "plain results": (without(r={"results": [1, 2]}), False),
        "more done than there are": (good.replace('"done": 2', '"done": 5'), False),
        "all done": (good.replace('"done": 2', '"done": 4'), True),
        "nothing done": (good.replace('"done": 2', '"done": 0'), False),
        "nothing done, and an error": (without(**error).replace('"done": 2', '"done": 0'), True),
        "refused": (without("done", "map", "chunk", **error), True),
        "refused, of another map": (without("done", **error).replace(MAP, MAP[::-1]), False),
        "refused, of another chunk": (without("done", **error).replace('k": 3', 'k": 4'), False),
        "refused, of another protocol": (without("done", **error).replace("1", "2", 1), False),
        "an error and no results": (without(**error), False),
        "an array": ("[]", False),
        "null": ("null", False),
        "a marker that is not an object": ('{"lambdamap": 1, "r": ""}', False),
        "NaN": (good.replace("5", "NaN"), False),
        "nothing": ("", False),
    }
    return made


REPLIES = replies()


def test_both_readers_take_and_refuse_the_same_replies() -> None:
    for codec in ("native", "json"):
        answers = ask(
            ("reply", text, MAP, "3", "4", "1" if codec == "json" else "0")
            for text, _ in REPLIES.values()
        )
        for (name, (text, good)), answer in zip(REPLIES.items(), answers, strict=True):
            try:
                envelope.read_reply(envelope.load(text), MAP, 3, 4, codec)
            except Malformed as wrong:
                mine = "refused"
                check_message(wrong)
            else:
                mine = "taken"
            assert answer.split()[0] == mine, (codec, name, answer)
            if codec == "native":
                assert (mine == "taken") is good, name


def test_a_reply_in_plain_json() -> None:
    reply = {**GOOD, "r": {"results": [1, 2]}}
    assert envelope.read_reply(reply, MAP, 3, 4, "json").done == 2
    (answer,) = ask([("reply", json.dumps(reply), MAP, "3", "4", "1")])
    assert answer == "taken"


# --- errors ---------------------------------------------------------------------------------------

FAILED = {
    "kind": "function", "type": "ValueError", "module": "builtins", "message": "m",
    "traceback": "t", "index": 2, "exception": None, "ran": "RAN",
}  # fmt: skip


def is_taken(error: Any, done: int = 2, among: int | None = None) -> bool:
    try:
        envelope.read_error(error, 5, done, among=among)
    except Malformed as wrong:
        check_message(wrong)
        return False
    return True


@pytest.mark.parametrize("field", ERROR, ids=lambda field: field.name)
def test_an_errors_field_has_one_type_and_range(field: Field) -> None:
    taken = {kind for kind, value in HOSTILE.items() if is_taken({**FAILED, field.name: value})}
    texts = {kind for kind, value in HOSTILE.items() if type(value) is str} - {"surrogate"}
    assert taken == {
        "index": {"null"}, "ran": set(), "exception": texts | {"null"}, "module": texts | {"null"},
        "traceback": texts | {"null"},
    }.get(field.name, texts)  # fmt: skip
    without = {name: value for name, value in FAILED.items() if name != field.name}
    assert is_taken(without) is (field.default is not REQUIRED)


@pytest.mark.parametrize("error", ["boom", [], 5, True, None, b"", b"[1]", b'{"kind": "x"}', {}])
def test_what_is_not_an_error(error: Any) -> None:
    assert not is_taken(error)


def test_an_error_out_of_its_json() -> None:
    text = json.dumps(FAILED).encode()
    assert envelope.read_error(text, 5, 2) == FAILED
    assert not is_taken(text[:-1] + b', "ran": "NOT"}')
    assert not is_taken(b"[" * 100_000)
    assert not is_taken(b'{"index": ' + b"1" * 100_000 + b"}")


@pytest.mark.parametrize(
    ("change", "done", "among", "taken"),
    [
        # An item's own error is of the item after those that are done.
        ({"index": 2}, 2, None, True),
        ({"index": 0}, 0, None, True),
        ({"index": 1}, 2, None, False),
        ({"index": 3}, 2, None, False),
        ({"index": 5}, 5, None, False),
        ({"index": None}, 2, None, True),
        # What f did is done: no word of the worker's makes it undone.
        ({"kind": "function", "ran": "NOT"}, 2, None, False),
        ({"kind": "encode", "ran": "MAYBE"}, 2, None, False),
        ({"kind": "size", "ran": "NOT"}, 2, None, False),
        ({"kind": "refused", "ran": "NOT"}, 2, None, True),
        ({"kind": "refused", "ran": "NOT", "index": None}, 2, None, False),
        ({"kind": "refused", "ran": "NOT", "index": None}, 0, None, True),
        ({"kind": "unheard of", "ran": "MAYBE", "index": None}, 0, None, True),
        ({"kind": "deadline", "ran": "NOT", "index": None}, 0, None, True),
        # Among results, under the index of an item that is done.
        ({"index": 1}, 5, 1, True),
        ({"index": None}, 5, 1, True),
        ({"index": 2}, 5, 1, False),
        ({"index": 1, "kind": "refused", "ran": "NOT"}, 5, 1, False),
    ],
)
def test_what_an_error_may_say(
    change: dict[str, Any], done: int, among: int | None, taken: bool
) -> None:
    assert is_taken({**FAILED, **change}, done, among) is taken


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"NaN", b"[Infinity]", b'{"a":1,"a":1}', b'[{"a":{"b":1,"b":2}}]',
        b'{"a":1,"\\u0061":2}', b"[" * 100_000, b"9" * 100_000, b"\xff", b'{"a":1}x',
    ],
)  # fmt: skip
def test_json_that_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        envelope.load(text)


def test_json_that_is_taken() -> None:
    assert envelope.load(b'[{"a":1,"b":{"a":2}},{"a":1e3},"a"]') == [
        {"a": 1, "b": {"a": 2}},
        {"a": 1e3},
        "a",
    ]


# --- replies of an executor -----------------------------------------------------------------------


class Liar(Executor):
    """Runs what it is given at once, and gives another reply than came of it."""

    def __init__(self, change: Callable[[dict[str, Any]], Any]) -> None:
        self._change = change
        self._max_workers = 1
        self.calls = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.calls += 1
        future: Future[Any] = Future()
        future.set_result(self._change(fn(*args, **kwargs)))
        return future


def _head(**parts: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda reply: {**reply, "lambdamap": {**reply["lambdamap"], **parts}}


@pytest.mark.parametrize(
    "change",
    [
        lambda reply: None,
        lambda reply: [reply],
        lambda reply: {},
        lambda reply: {**reply, "error": "boom"},
        lambda reply: {**reply, "error": {}},
        lambda reply: {**reply, "r": None},
        lambda reply: {**reply, "r": {"results": [0, 1, 4]}},
        _head(protocol=2),
        _head(map="f" * 32),
        _head(chunk=True),
        _head(done=4),
        _head(done=2.0),
    ],
)
def test_an_executors_reply_is_not_believed_either(change: Any) -> None:
    executor = Liar(change)
    with pytest.raises((lambdamap.ProtocolError, lambdamap.DecodeError)) as caught:
        list(lambdamap.map(tasks.square, range(3), backend=executor, chunksize=3))
    assert (caught.value.ran, caught.value.indices, executor.calls) == ("RAN", range(3), 1)


def test_an_executors_true_reply() -> None:
    executor = Liar(lambda reply: reply)
    assert list(lambdamap.map(tasks.square, range(3), backend=executor, chunksize=3)) == [0, 1, 4]
