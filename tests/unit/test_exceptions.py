"""Exceptions that travel: as themselves, without code of their class, or as a RemoteError."""

from __future__ import annotations

import asyncio
import builtins
import collections
import concurrent.futures
import copy
import enum
import json
import pickle
import re
import subprocess
import sys
import threading
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar
from xml.etree import ElementTree

import pytest

import lambdamap
import tasks
from lambdamap import _codec, errors
from lambdamap.shipping import exceptions
from lambdamap.shipping.exceptions import classes
from lambdamap.shipping.exceptions.nodes import nodes_of
from travelling import GROUP, LIMIT, SlotsError, as_value, chained, notes, raised, through

BASE_GROUP: Any = vars(builtins).get("BaseExceptionGroup")
T = TypeVar("T")


class HookedError(Exception):
    """Any of its hooks says so."""

    called: ClassVar[list[str]] = []

    def __new__(cls, *args: Any) -> Any:
        cls.called.append("new")
        return super().__new__(cls)

    def __init__(self, *args: Any) -> None:
        self.called.append("init")
        super().__init__(*args)

    def __setattr__(self, name: str, value: Any) -> None:
        self.called.append(f"setattr {name}")
        super().__setattr__(name, value)

    def __setstate__(self, state: Any) -> None:
        self.called.append("setstate")

    def __init_subclass__(cls) -> None:
        cls.called.append("subclass")

    def add_note(self, note: str) -> None:
        self.called.append("note")

    @property
    def watched(self) -> int:
        return 1

    @watched.setter
    def watched(self, value: int) -> None:
        self.called.append("setter")


class StrangeError(Exception):
    def __str__(self) -> str:
        raise SystemExit("not even this")

    def __reduce__(self) -> Any:
        raise KeyboardInterrupt

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError(name)


class GenericError(KeyError, Generic[T]):
    pass


class Base(BaseException):
    pass


class Colour(enum.Enum):
    RED = 1


# --- as themselves ----------------------------------------------------------------------------------


def built_in() -> Iterator[BaseException]:
    yield raised(lambda: Path("not/there.csv").read_text())
    yield OSError(2, "gone", "a", None, "b")
    yield PermissionError(13, "no", b"bytes")
    yield BlockingIOError(11, "later", 5)
    yield OSError("one text")
    yield OSError()
    yield raised(lambda: json.loads("{bad"))
    yield raised(lambda: re.compile("(x"))
    yield raised(lambda: int("x"))
    yield raised(lambda: {}["key"])  # type: ignore[index]
    yield raised(lambda: b"\xff".decode())
    yield raised(lambda: "\xff".encode("ascii"))
    yield UnicodeTranslateError("abc", 1, 2, "why")
    yield raised(lambda: compile("a b", "script.py", "exec"))
    yield raised(lambda: compile("if 1:\n\tx\n        y", "script.py", "exec"))
    yield raised(lambda: ElementTree.fromstring("<a>"))
    yield raised(lambda: "abc".uper())  # type: ignore[attr-defined]
    yield raised(lambda: undefined)  # type: ignore[name-defined]  # noqa: F821
    yield raised(lambda: __import__("not_there_at_all"))
    yield ImportError("text", name="n", path="p")
    yield subprocess.CalledProcessError(3, ["a"], "out", "err")
    yield subprocess.TimeoutExpired("cmd", 1.5, b"out", b"err")
    yield MemoryError()
    yield ZeroDivisionError("by", 0)
    yield tasks.QuotaError("slow down", status=429)
    yield tasks.FrozenError(3, "why")
    yield SlotsError([1, 2])
    yield HookedError(1, "x")
    yield GenericError("k")
    yield Base("of my own")
    yield UserWarning(2)


@pytest.mark.parametrize("way", [through, as_value])
@pytest.mark.parametrize("error", list(built_in()), ids=lambda error: type(error).__name__)
def test_as_they_were(error: BaseException, way: Callable[[BaseException], Any]) -> None:
    BaseException.with_traceback(error, None)
    HookedError.called.clear()
    again = way(error)
    assert type(again) is type(error)
    assert again.args == error.args
    assert str(again) == str(error)
    assert errors.own_dict(again) == errors.own_dict(error)
    for name, descriptor, _ in classes.fields_of(type(error)):
        if name != "obj":
            assert getattr(again, name, "unset") == getattr(error, name, "unset"), descriptor
    assert not HookedError.called
    assert "".join(traceback.format_exception(again)) == "".join(traceback.format_exception(error))


def test_attributes_and_notes() -> None:
    error: Any = ValueError("bad row")
    error.row, error.colour, error.when = 17, Colour.RED, {"a": [1.5, None]}
    errors.note(error, "look there")
    again = through(error)
    assert vars(again) == vars(error)
    assert notes(again) == ["look there"]
    again.args += (1,)
    assert error.args == ("bad row",)  # nothing is shared


def test_what_an_attribute_was_looked_for_in_comes_when_it_is_small_data() -> None:
    assert through(raised(lambda: "abc".uper())).obj == "abc"  # type: ignore[attr-defined]
    again = through(raised(lambda: sys.nothing))
    assert (again.name, again.obj, notes(again)) == ("nothing", None, [])


def test_hooks_do_not_run() -> None:
    error: Any = HookedError("x")
    errors.own_dict(error).update(watched=5, other=6)
    HookedError.called.clear()
    again = through(error)
    assert type(again) is HookedError
    assert errors.own_dict(again) == {"watched": 5, "other": 6}
    errors.attach(again, errors.Failure(), "a note")
    assert HookedError.called == []


def test_a_class_that_looks_different_here() -> None:
    """A slot or a field that the class of this side has not is told, and the rest comes."""
    error = SlotsError(5)
    nodes = nodes_of(error, False, True)
    nodes[0]["fields"]["more"] = _codec.encode(1)
    again = exceptions.unpack(_codec.encode_text(nodes), False, LIMIT)
    assert again.place == 5  # type: ignore[union-attr]
    assert any("more was not sent: its class has no such slot" in note for note in notes(again))


# --- what it refers to ------------------------------------------------------------------------------


def test_the_chain() -> None:
    try:
        chained()
        raise AssertionError
    except AssertionError:
        pass
    error = chained()
    error.__context__ = raised(lambda: int("context"))
    error.__context__.__cause__ = tasks.QuotaError("cause", 3)
    again = through(error)
    assert again.__cause__ is None and not again.__suppress_context__
    assert type(again.__context__) is ValueError
    assert again.__context__.__cause__.status == 3
    assert again.__context__.__suppress_context__
    again = through(raised(lambda: (_ for _ in ()).throw(OSError(2, "x", "f")) if 1 else 0))
    assert again.filename == "f"


@pytest.mark.parametrize("way", [through, as_value])
def test_from_none(way: Callable[[BaseException], Any]) -> None:
    def fails() -> None:
        try:
            raise KeyError(1)
        except KeyError:
            raise ValueError(2) from None

    again = way(raised(fails))
    assert again.__cause__ is None and again.__suppress_context__
    assert again.__context__.args == (1,)


def test_who_is_the_same_stays_the_same() -> None:
    inner = tasks.QuotaError("inner", 1)
    error: Any = ValueError("outer", inner)
    error.reason, error.__cause__, error.__context__ = inner, inner, inner
    for again in (through(error), as_value(error)):
        assert again.reason is again.__cause__ is again.__context__ is again.args[1]
        assert again.reason.status == 1 and type(again.reason) is tasks.QuotaError


def test_cycles() -> None:
    one: Any = ValueError("one")
    two: Any = KeyError("two")
    one.__context__, two.__context__ = two, one
    one.me, two.other = one, one
    for again in (through(one), as_value(one)):
        assert again.me is again
        assert again.__context__.__context__ is again
        assert again.__context__.other is again


def test_a_cycle_through_a_list_is_left_out() -> None:
    error: Any = ValueError("one")
    error.all = [error]
    again = through(error)
    assert type(again) is ValueError and "all" not in vars(again)
    assert "attribute all was not sent" in notes(again)[0]
    with pytest.raises(_codec.EncodeFailure):
        _codec.encode(error)


def test_long_chains_are_cut() -> None:
    error = first = ValueError(0)
    for n in range(1, 1000):
        error.__context__ = ValueError(n)
        error = error.__context__  # type: ignore[assignment]
    for again in (through(first), as_value(first)):
        depth = 0
        while again is not None:
            assert again.args == (depth,)
            again, depth = again.__context__, depth + 1
        assert depth == 17


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups came with Python 3.11")
class TestGroups:
    @pytest.mark.parametrize("way", [through, as_value])
    @pytest.mark.parametrize("kind", [list, tuple])
    def test_nested(self, kind: Any, way: Callable[[BaseException], Any]) -> None:
        inner = GROUP("in", [KeyError("b"), tasks.QuotaError("c", 4)])
        error: Any = GROUP("row", kind([ValueError("a"), inner]))
        error.row = 5
        again = way(error)
        assert type(again) is GROUP and again.message == "row" and again.row == 5
        assert repr(again) == repr(error) and str(again) == str(error)
        assert type(again.args[1]) is kind and again.args[1][0] is again.exceptions[0]
        assert again.exceptions[1].exceptions[1].status == 4
        assert again.subgroup(KeyError).exceptions[0].exceptions[0].args == ("b",)

    def test_of_base_exceptions(self) -> None:
        again = through(BASE_GROUP("x", [KeyboardInterrupt(), Base(1)]))
        assert type(again) is BASE_GROUP
        assert [type(e) for e in again.exceptions] == [KeyboardInterrupt, Base]

    def test_of_a_class_of_its_own(self) -> None:
        class Mine(GROUP):
            pass

        again = through(Mine("x", [ValueError(1)]))
        assert isinstance(again, lambdamap.RemoteError) and isinstance(again, GROUP)
        assert again.exceptions[0].args == (1,)
        assert pickle.loads(pickle.dumps(again)).exceptions[0].args == (1,)
        assert again.split(ValueError)[1] is None

    def test_a_member_that_cannot_come(self) -> None:
        again = through(GROUP("x", [ValueError(threading.Lock()), KeyError(1)]))
        assert type(again) is GROUP
        remote, key = again.exceptions
        assert isinstance(remote, lambdamap.RemoteError) and isinstance(remote, ValueError)
        assert key.args == (1,)


# --- what does not travel ---------------------------------------------------------------------------


def test_attributes_that_cannot_travel_are_told() -> None:
    error: Any = tasks.QuotaError("x", 3)
    error.lock, error.more = threading.Lock(), [1]
    again = through(error)
    assert type(again) is tasks.QuotaError
    assert vars(again) == {"status": 3, "more": [1], "__notes__": notes(again)}
    assert notes(again) == [
        "lambdamap: its attribute lock was not sent: _thread.lock needs pickle: pass built-in "
        "types, numpy or pandas data, or allow_pickle=True"
    ]
    with pytest.raises(_codec.EncodeFailure, match="lock"):
        _codec.encode(error)  # a value is exact, or refused


def test_pickles_where_they_are_allowed() -> None:
    class Own:
        pass

    error: Any = tasks.QuotaError("x", 3)
    error.own = Own()
    assert type(through(error, allow_pickle=True).own) is Own
    assert "attribute own" in notes(through(error))[0]


class LockedError(Exception):
    """Its pickle leaves the lock out, and makes a new one."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()
        self.count = 3

    def __reduce__(self) -> Any:
        return LockedError, self.args


def test_its_own_pickle_where_data_is_not_enough() -> None:
    error = LockedError("x")
    again = through(error, allow_pickle=True)
    assert type(again) is LockedError and again.lock.acquire(blocking=False)
    assert not notes(again)
    text = exceptions.pack(error, True, LIMIT)
    again = exceptions.unpack(text, False, LIMIT)  # who reads it does not allow them
    assert type(again) is LockedError and "lock" not in vars(again) and vars(again)["count"] == 3  # type: ignore[arg-type]


def test_state_that_only_c_knows() -> None:
    pydantic = pytest.importorskip("pydantic")
    error = raised(lambda: pydantic.TypeAdapter(int).validate_python("x"))
    again = through(error, allow_pickle=True)
    assert type(again) is type(error) and again.errors() == error.errors()
    again = through(error)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, ValueError)
    assert "implemented in C" in notes(again)[0]
    with pytest.raises(_codec.EncodeFailure, match="ValidationError"):
        _codec.encode(error)


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ValueError(threading.Lock()), ValueError),
        (FileNotFoundError(2, threading.Lock()), FileNotFoundError),
        (UnicodeDecodeError("utf8", b"\xff", 0, 1, "x"), UnicodeDecodeError),
        (StopIteration(3), lambdamap.RemoteError),
        (StopAsyncIteration(3), lambdamap.RemoteError),
        (SystemExit(3), lambdamap.RemoteError),
        (KeyboardInterrupt(), lambdamap.RemoteError),
        (GeneratorExit(), lambdamap.RemoteError),
        (asyncio.CancelledError(), lambdamap.RemoteError),
        (concurrent.futures.CancelledError(), lambdamap.RemoteError),
        (lambdamap.ConfigError("x"), ValueError),
        (lambdamap.DeadlineError("x"), TimeoutError),
        (GenericError(threading.Lock()), KeyError),
        (HookedError(threading.Lock()), lambdamap.RemoteError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_stand_ins(error: BaseException, base: type[BaseException]) -> None:
    if isinstance(error, UnicodeDecodeError):
        error.args = (threading.Lock(),)
    HookedError.called.clear()
    again = through(error)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, base)
    assert not HookedError.called
    kind = type(error)
    assert again.remote_type == f"{kind.__module__}.{kind.__qualname__}"
    assert f"not a {kind.__qualname__}: " in notes(again)[0]
    assert (again.indices, again.partial) == ((), {})
    assert str(again).startswith(again.remote_type)
    for same in (pickle.loads(pickle.dumps(again)), copy.copy(again)):
        assert type(same) is type(again)
        assert (same.args, vars(same)) == (again.args, vars(again))
    if base is not lambdamap.RemoteError:
        assert type(through(error)) is type(again)  # one class for all of them


def test_a_stand_in_keeps_the_attributes() -> None:
    error: Any = ValueError(threading.Lock())
    error.row, error.indices = 17, "its own"
    again = through(error)
    assert again.row == 17
    assert again.indices == ()


def test_a_class_that_is_not_imported_here(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("not_here")
    exec("class Low(KeyError): pass\nclass High(Low): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "not_here", module)
    text = exceptions.pack(module.High("x", 1), False, LIMIT)
    value = _codec.encode(module.High("x"))
    monkeypatch.delitem(sys.modules, "not_here")
    again = exceptions.unpack(text, False, LIMIT)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, KeyError)
    assert notes(again) == [
        "lambdamap: it is a RemoteError, not a High: not_here:High is not imported here"
    ]
    with pytest.raises(_codec.DecodeFailure, match="not_here"):
        _codec.decode(value)


def test_a_stand_in_of_what_holds_another(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("not_here")
    exec("class Lost(OSError): pass", module.__dict__)
    monkeypatch.setitem(sys.modules, "not_here", module)
    error = module.Lost(ValueError("inner"))
    error.reason = error.args[0]
    text = exceptions.pack(error, False, LIMIT)
    monkeypatch.delitem(sys.modules, "not_here")
    again: Any = exceptions.unpack(text, False, LIMIT)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, OSError)
    assert again.args == ("not_here.Lost: inner",)
    assert type(again.reason) is ValueError and again.reason.args == ("inner",)


class LoudMeta(type):
    calls: ClassVar[list[str]] = []

    def __eq__(cls, other: object) -> bool:
        LoudMeta.calls.append("eq")
        return cls is other

    def __hash__(cls) -> int:
        LoudMeta.calls.append("hash")
        return 1

    def __instancecheck__(cls, instance: object) -> bool:
        LoudMeta.calls.append("instance")
        return True

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        LoudMeta.calls.append("call")
        return super().__call__(*args, **kwargs)


class LoudError(ValueError, metaclass=LoudMeta):
    pass


@pytest.mark.parametrize("argument", [1, threading.Lock()])
def test_a_metaclass_is_not_asked(argument: Any) -> None:
    text = exceptions.pack(LoudError(argument), False, LIMIT)
    LoudMeta.calls.clear()
    again = exceptions.unpack(text, False, LIMIT)
    assert LoudMeta.calls == []
    assert isinstance(again, ValueError) and (argument == 1) == (type(again) is LoudError)


def test_a_name_that_leads_to_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    error = tasks.QuotaError("x", 3)
    monkeypatch.setattr(tasks, "QuotaError", type("QuotaError", (Exception,), {}))
    again = through(error)
    assert type(again) is lambdamap.RemoteError
    assert "the class QuotaError has no import path" in notes(again)[0]


def test_a_class_that_travelled_by_value_is_the_one_that_travelled() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")

    class Local(Exception):
        pass

    cloudpickle.dumps(Local)  # gives it an id
    assert type(through(Local(3))) is Local


def test_large_attributes_go_first() -> None:
    error: Any = ValueError("x")
    error.small, error.large, error.larger = 1, "l" * 9_000, b"r" * 90_000
    error.__cause__ = KeyError("why")
    again = through(error)
    assert (again.small, again.large) == (1, "l" * 9_000)
    assert notes(again) == ["lambdamap: its attribute larger was not sent: it takes 90,020 bytes"]
    assert again.__cause__.args == ("why",)
    error.args = ("y" * 5_000,)
    again = through(error)
    assert again.args == error.args and again.small == 1 and not hasattr(again, "large")
    error.__cause__ = KeyError("k" * 9_000)
    again = through(error)
    assert again.args == error.args and again.__cause__ is None
    error.args = ("y" * 50_000,)
    again = through(error)
    assert isinstance(again, lambdamap.RemoteError) and isinstance(again, ValueError)
    assert "too large" in notes(again)[0]
    assert exceptions.pack(error, False, 20) is None


def test_an_exception_that_resists() -> None:
    again = through(StrangeError(1))
    assert type(again) is StrangeError
    again = through(StrangeError(threading.Lock()))
    assert isinstance(again, StrangeError) and again.remote_type.endswith("StrangeError")
    again.partial = {1: 2}
    assert repr(again).startswith("RemoteError[StrangeError](")
    for kind in (tasks.FrozenError, PartialError):
        again = through(kind(threading.Lock()))
        assert isinstance(again, kind) and (again.indices, again.partial) == ((), {})
        again.partial = {1: 2}
        assert again == again and hash(again) and str(again)


def test_deep_and_odd_attributes() -> None:
    error: Any = ValueError("x")
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    error.deep = deep
    errors.own_dict(error)[5] = "a key that is no text"  # type: ignore[index]
    again = through(error)
    assert vars(again) == {"__notes__": notes(again)}
    error.__notes__ = "no list"
    assert vars(through(error))["__notes__"][0] == "no list"


# --- what is known of a failure ---------------------------------------------------------------------


class PartialError(Exception):
    partial = "its own"
    indices = property(lambda self: 1 / 0)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(1),
        tasks.FrozenError(1),
        tasks.NoAttributesError(1),
        PartialError(1),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_failure_of_any_exception(error: BaseException) -> None:
    assert lambdamap.failure(error) is None
    known = errors.Failure(indices=(3,), ran="RAN", partial={2: "two"}, remote_type="a.B")
    errors.attach(error, known, "item 3")
    assert lambdamap.failure(error) is known
    assert notes(error) == ["item 3"]
    errors.keep(error, {0: "zero", 2: "other"})
    assert known.partial == {0: "zero", 2: "two"}
    assert "item 3" in "".join(traceback.format_exception(error)) or sys.version_info < (3, 11)
    if isinstance(error, (tasks.FrozenError, tasks.NoAttributesError)):
        return  # they do not unpickle: their attributes cannot be set
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert lambdamap.failure(again) == known and lambdamap.failure(again) is not known
    known.partial[5] = threading.Lock()  # pickling does not fail for it
    found = lambdamap.failure(pickle.loads(pickle.dumps(error)))
    assert found is not None and (found.indices, found.partial) == ((3,), {})


@pytest.mark.parametrize("result", [None, 3, "x", ValueError])
def test_failure_of_what_is_no_exception(result: Any) -> None:
    with pytest.raises(TypeError, match=f"takes an exception, not {type(result).__name__}$"):
        lambdamap.failure(result)


def test_failure_of_our_own() -> None:
    error = lambdamap.DeadlineError("x", indices=range(3), ran="MAYBE", attempts=2, request_id="r")
    errors.keep(error, {1: 5})
    known = lambdamap.failure(error)
    assert known == errors.Failure(
        indices=range(3), ran="MAYBE", attempts=2, request_id="r", partial={1: 5}
    )
    assert error.partial == {1: 5}
    assert known.partial is error.partial


def test_the_last_map_knows() -> None:
    error = ValueError(1)
    errors.attach(error, errors.Failure(indices=(1,)), "inner")
    errors.attach(error, errors.Failure(indices=(2,)), "outer")
    known = lambdamap.failure(error)
    assert known is not None and known.indices == (2,)
    again = through(error)  # out of f: what the maps in it know is theirs
    assert lambdamap.failure(again) is None
    assert notes(again) == ["inner", "outer"] and type(notes(again)[0]) is str


def test_the_notes_may_be_anything() -> None:
    for odd in (5, ("a",), collections.UserList(["a"])):
        error = ValueError(1)
        errors.own_dict(error)["__notes__"] = odd
        errors.attach(error, errors.Failure(indices=(1,)), "text")
        assert lambdamap.failure(error) == errors.Failure(indices=(1,))
        assert notes(error)[0] is odd
