"""Replies of others: whatever stands in one, reading it gives an exception or none, and takes little."""

from __future__ import annotations

import contextlib
import functools
import pickle
import sys
import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambdamap
from lambdamap import _codec
from lambdamap.shipping import exceptions, lookup
from lambdamap.shipping.exceptions.nodes import nodes_of
from travelling import GROUP, LIMIT, SlotsError, as_value, chained, notes, raised, through

_ONE = {"class": [("builtins", "ValueError", "")], "args": _codec.encode((1,))}
_UNICODE = {
    "class": [("builtins", "UnicodeDecodeError", "")],
    "args": _codec.encode(()),
    "fields": {
        "encoding": _codec.encode("utf8"), "object": _codec.encode(b"abc"),
        "start": _codec.encode(0), "end": _codec.encode(1), "reason": _codec.encode("r"),
    },
}  # fmt: skip


def unicode(**fields: Any) -> dict[str, Any]:
    given = {name: _codec.encode(value) for name, value in fields.items()}
    return {**_UNICODE, "fields": {**_UNICODE["fields"], **given}}  # type: ignore[dict-item]


HOSTILE: dict[str, Any] = {
    "nothing": [],
    "a number": 5,
    "numbers": [5],
    "no class": [{}],
    "a class without a name": [{**_ONE, "class": []}],
    "a class of numbers": [{**_ONE, "class": [(1, 2, 3)]}],
    "a class by two names": [{**_ONE, "class": [("builtins", "ValueError")]}],
    "not an exception": [{**_ONE, "class": [("builtins", "int", "")]}],
    "a module": [{**_ONE, "class": [("os", "path", "")]}],
    "a way through a module": [{**_ONE, "class": [("json", "decoder.JSONDecodeError", "")]}],
    "an id of nobody": [{**_ONE, "class": [("builtins", "ValueError", "5")]}],
    "args that are no frame": [{**_ONE, "args": 5}],
    "args of a number": [{**_ONE, "args": _codec.encode(5)}],
    "args of a list": [{**_ONE, "args": _codec.encode([5])}],
    "args that are broken": [{**_ONE, "args": b"L"}],
    "vars that are none": [{**_ONE, "vars": 5}],
    "vars by number": [{**_ONE, "vars": {5: _codec.encode(5)}}],
    "vars that hide": [
        {**_ONE, "vars": {"__reduce_ex__": _codec.encode(5), "__class__": _codec.encode(5)}}
    ],
    "fields that are none": [{**_ONE, "fields": {"errno": _codec.encode(5)}}],
    "a link to nobody": [{**_ONE, "links": [("vars", "x", 7)]}],
    "a link of nothing": [{**_ONE, "links": [5]}],
    "a link to a place of args that is none": [{**_ONE, "links": [("args", 9, 0)]}],
    "a cause that is none": [{**_ONE, "cause": 9}],
    "a cause before the first": [{**_ONE, "cause": -1}],
    "lost that is none": [{**_ONE, "lost": 5}],
    "a pickle": [{**_ONE, "pickle": pickle.dumps(KeyError(1))}],
    "members of what is no group": [{**_ONE, "members": [0]}],
    "a text that is none": [{"class": [("nowhere", "X", "")], "text": 5}],
    "a unicode object of text": [unicode(object="abc")],
    "a unicode object of numbers": [unicode(object=5)],
    "a unicode start before the first": [unicode(start=-5, end=-4)],
    "a unicode start that is long": [unicode(start=2**70)],
    "a unicode start of text": [unicode(start="x")],
    "a unicode reason of a number": [unicode(reason=5)],
    "an errno of text": [
        {
            "class": [("builtins", "OSError", "")],
            "args": _codec.encode((1, 2, 3, 4, 5, 6)),
            "fields": {n: _codec.encode([]) for n in ("errno", "strerror", "characters_written")},
        }
    ],
    "a syntax error of odd fields": [
        {
            "class": [("builtins", "SyntaxError", "")],
            "args": _codec.encode((1, 2)),
            "fields": {
                n: _codec.encode([5]) for n in ("msg", "filename", "lineno", "offset", "text")
            },
        }
    ],
    "a group of itself": [
        {"class": [("builtins", "ExceptionGroup", "")], "message": "x", "members": [0]}
    ],
    "a group of nothing": [
        {"class": [("builtins", "ExceptionGroup", "")], "message": "x", "members": [], "of": "list"}
    ],
    "a group of odd members": [
        {"class": [("builtins", "ExceptionGroup", "")], "message": 5, "members": [1], "of": "list"},
        {"class": [("builtins", "KeyboardInterrupt", "")], "args": _codec.encode(())},
    ],
    "a group without members": [
        {"class": [("builtins", "ExceptionGroup", "")], "args": _codec.encode(())}
    ],
}  # fmt: skip


@pytest.mark.parametrize("nodes", HOSTILE.values(), ids=HOSTILE)
def test_hostile_replies(nodes: Any) -> None:
    """An exception or None; it can be shown, pickled and raised; no class is made of what is none."""
    again = exceptions.unpack(_codec.encode_text(nodes), False, LIMIT)
    if again is None:
        return
    for shown in (str, repr, traceback.format_exception, pickle.dumps):
        try:
            shown(again)  # type: ignore[operator]
        except (TypeError, AttributeError):
            assert "odd fields" in str(nodes) or isinstance(again, SyntaxError)
    assert lookup.own_dict(again).get("__class__") is None
    with pytest.raises(type(again)):
        raise again


@pytest.mark.parametrize("nodes", HOSTILE.values(), ids=HOSTILE)
def test_hostile_values(nodes: Any) -> None:
    payload = ["exception", *nodes] if isinstance(nodes, list) else ["exception", nodes]
    try:
        again = exceptions.restore(lookup.DATA.type, payload[1:])
    except _codec.DecodeFailure:
        return
    assert isinstance(again, BaseException)
    str(again)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    if isinstance(value, (dict, list, tuple)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in pairs:
            yield from _places(inner, (*place, name))


def _with(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    made = {n: _with(inner, place[1:], new) if n == place[0] else inner for n, inner in pairs}
    return made if isinstance(value, dict) else type(value)(made.values())


_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 5), st.just(2**70), st.text(max_size=3), st.binary(max_size=3),
    st.just([]), st.just({}), st.just([["vars", "x", 0]]), st.just([("builtins", "OSError", "")]),
    st.sampled_from([_codec.encode(value) for value in (1, None, (1,), "x", b"y", [()], ValueError(1))]),
)  # fmt: skip


@given(st.data())
def test_replies_with_one_part_changed(data: st.DataObject) -> None:
    """Whatever stands there, an exception or None comes of it, and it can be shown."""
    error: Any = chained()
    error.decoding = raised(lambda: b"\xff".decode())
    error.parts = GROUP and GROUP("x", [KeyError(1), SlotsError(2)])
    error.lock = threading.Lock()
    nodes = nodes_of(error, True, True)
    place = data.draw(st.sampled_from(list(_places(nodes))))
    changed = _with(nodes, place, data.draw(_ODD))
    again = exceptions.unpack(_codec.encode_text(changed), False, 4 * LIMIT)
    if again is not None:
        assert isinstance(str(again), str)
        "".join(traceback.format_exception(again))
        try:
            assert pickle.dumps(again)
        except RecursionError:  # tblib follows causes in a circle, once distributed is imported
            assert "tblib.pickling_support" in sys.modules
    with contextlib.suppress(_codec.DecodeFailure):
        str(
            exceptions.restore(
                lookup.DATA.type, changed if isinstance(changed, list) else [changed]
            )
        )


def test_how_many_there_may_be() -> None:
    many: Any = ValueError(*(KeyError(n) for n in range(10_001)))
    with pytest.raises(_codec.EncodeFailure, match="10,000"):
        _codec.encode(many)
    again = through(many)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, ValueError)
    many.args = many.args[:5_000]
    assert len(as_value(many).args) == 5_000
    with pytest.raises(_codec.DecodeFailure, match="number of exceptions: 10001"):
        exceptions.restore(lookup.DATA.type, [{}] * 10_001)


def test_a_reply_that_takes_much_room() -> None:
    large = [{**_ONE, "vars": {str(n): _codec.encode([None] * 1_000_000) for n in range(500)}}]
    again = exceptions.unpack(_codec.encode_text(large, compression=False), False, 1 << 16)
    assert type(again) is ValueError
    assert len(vars(again)) == 1 and len(notes(again)) == 500
    assert exceptions.unpack("lm1:" + "A" * 70_000, False, 1 << 16) is None


def many(text: Any = "x") -> Any:
    """A list that takes little, and whose text takes much."""
    return [text * 2000] * 2000


@pytest.mark.parametrize(
    "odd",
    [
        {"class": [("", many(), "")]}, {"class": [("nowhere", many(), "")]}, {"class": [(many(), "X", "")]},
        {"lost": {"a": many()}}, {"class": [("", "X", "")], "loose": True, "text": many()},
        {"cause": functools.partial(int, many())}, {"context": functools.partial(int, many())},
        {"members": [functools.partial(int, many())]}, {"links": [("args", 0, functools.partial(int, many()))]},
        {"message": many()}, {"vars": {functools.partial(int, many()): 1}}, {"of": many()},
    ],
)  # fmt: skip
def test_an_odd_part_is_not_shown(odd: dict[str, Any]) -> None:
    """The text of a value may take far more than the value."""
    node = {"class": [("builtins", "ValueError", "")], "args": (), **odd}
    tracemalloc.start()
    try:
        with pytest.raises(_codec.DecodeFailure) as caught:
            exceptions.restore(lookup.DATA.type, [node])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert len(str(caught.value)) < 1000


def test_texts_of_many_exceptions_share_no_room() -> None:
    """A text that stands there once is not copied for each exception that has it."""
    node = {"class": [("", "X", "")], "text": "x" * 100_000, "lost": {"a" * 9999: "y" * 99_999}}
    text = _codec.encode_text([node] * 2000)
    assert len(text) < 2000
    tracemalloc.start()
    try:
        again = exceptions.unpack(text, False, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert isinstance(again, lambdamap.RemoteError)


@pytest.mark.parametrize(
    ("kind", "text"),
    [(UnicodeDecodeError, b"x" * 99), (UnicodeEncodeError, "x" * 99), (UnicodeTranslateError, "x" * 99)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["object", "reason", "encoding"])
def test_the_fields_of_a_unicode_error_are_no_exceptions(
    kind: type[Exception], text: Any, name: str
) -> None:
    """`str` of it would read the memory of the exception as if it were a text's."""
    fields = {"object": text, "start": 5, "end": 6, "reason": "r", "encoding": "e"}
    other = {"class": [("builtins", "ValueError", "")], "args": ()}
    node = {
        "class": [("builtins", kind.__name__, "")], "args": (), "fields": fields,
        "links": [("fields", name, 1)],
    }  # fmt: skip
    with pytest.raises(_codec.DecodeFailure, match="not those of a UnicodeError"):
        exceptions.restore(lookup.DATA.type, [node, other])
    changed = {
        **node, "args": _codec.encode(()), "fields": {n: _codec.encode(v) for n, v in fields.items()}
    }  # fmt: skip
    nodes = [changed, {**other, "args": _codec.encode(())}]
    again = exceptions.unpack(_codec.encode_text(nodes), False, LIMIT)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, kind)
    str(again)


def with_fields(kind: str, **fields: Any) -> list[dict[str, Any]]:
    entry = {"class": [("builtins", kind, "")], "args": ("m",), "fields": fields}
    return [entry]


def boxed(nodes: list[dict[str, Any]]) -> str:
    """Nodes of a value as those of an exception that f raised."""
    return _codec.encode_text(
        [
            {**node, "args": _codec.encode(node["args"]),
             "fields": {n: _codec.encode(v) for n, v in node["fields"].items()}}
            for node in nodes
        ]
    )  # fmt: skip


@pytest.mark.parametrize("name", ["imported_by_a_traceback", None, 5, "os", "json"])
def test_to_show_an_import_error_imports_nothing(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since Python 3.12 a traceback imports the module that it names, to suggest another name."""
    (tmp_path / "imported_by_a_traceback.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    nodes = with_fields("ImportError", msg="m", name=name, name_from="joins")
    value = exceptions.restore(lookup.DATA.type, nodes)
    shown = exceptions.unpack(boxed(nodes), False, LIMIT)
    for error in (value, shown):
        assert type(error) is ImportError
        assert error.name == name
        "".join(traceback.format_exception(error))
        assert "imported_by_a_traceback" not in sys.modules
        if sys.version_info >= (3, 12):
            assert error.name_from == ("joins" if name in ("os", "json") else None)


@pytest.mark.parametrize("name", ["offset", "end_offset"])
def test_to_show_a_syntax_error_takes_little(name: str) -> None:
    fields = {
        "filename": "f",
        "lineno": 1,
        "offset": 1,
        "text": "x",
        "end_lineno": 1,
        "end_offset": 2,
    }
    nodes = with_fields("SyntaxError", msg="m", **{**fields, name: 100_000_000})
    for error in (
        exceptions.restore(lookup.DATA.type, nodes),
        exceptions.unpack(boxed(nodes), False, LIMIT),
    ):
        assert type(error) is SyntaxError
        assert len("".join(traceback.format_exception(error))) < 1000
        assert f"its attribute {name} was not sent" in str(
            error.__notes__ if hasattr(error, "__notes__") else vars(error)
        )


@pytest.mark.parametrize("part", ["args", "members"])
def test_exceptions_that_multiply(part: str) -> None:
    """Each stands in the one before it twice: to show the first takes 2^40 texts."""
    if part == "members" and GROUP is None:
        pytest.skip("there are no groups")

    def doubling(times: int) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = [
            {"class": [("builtins", "ValueError", "")], "args": (None, None),
             "links": [("args", 0, n + 1), ("args", 1, n + 1)]}
            if part == "args" else
            {"class": [("builtins", "ExceptionGroup", "")], "message": "m", "of": "list",
             "members": [n + 1, n + 1]}
            for n in range(times)
        ]  # fmt: skip
        return [*nodes, {"class": [("builtins", "ValueError", "")], "args": ()}]

    with pytest.raises(_codec.DecodeFailure, match="contain each other"):
        exceptions.restore(lookup.DATA.type, doubling(40))
    again = exceptions.restore(lookup.DATA.type, doubling(6))
    assert repr(again).count("ValueError()") == 64


def test_one_exception_may_stand_in_many_places() -> None:
    inner = KeyError(1)
    again = as_value(ValueError(*[inner] * 3000, [inner]))
    assert len({id(item) for item in again.args[:-1]}) == 1
