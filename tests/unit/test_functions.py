"""How a callable travels: by its path, or by value."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import cloudpickle
import pytest

import lambdamap
import remote_functions
import tasks
from lambdamap import _codec
from lambdamap.shipping import pickling
from lambdamap.shipping.functions import ship

BIG = b"x" * 300_000


def uses_big(x: int) -> int:
    return x + len(BIG)


def test_by_path() -> None:
    shipment = ship(tasks.square)
    assert shipment == ("tasks:square", None, (), {}, tasks.__file__)
    assert shipment.spec == {}
    made = ship(functools.partial(functools.partial(tasks.add, 4), y=3))
    assert (made.path, made.by_value, made.spec) == (
        "tasks:add",
        False,
        {"args": (4,), "kwargs": {"y": 3}},
    )
    assert ship(int).path == "builtins:int"


def test_no_argument_of_a_partial_in_a_partial_is_lost() -> None:
    """functools keeps one apart that has attributes, or is of a class of its own."""
    marked = functools.partial(tasks.add, 4)
    marked.name = "four"  # type: ignore[attr-defined]
    kind = type("Marked", (functools.partial,), {})
    for inner in (marked, kind(tasks.add, 4)):
        outer = functools.partial(inner)
        shipment = ship(outer)
        if isinstance(outer.func, functools.partial):
            assert shipment.by_value
            assert pickle.loads(shipment.pickle)(3) == 7
        else:
            assert (shipment.path, shipment.args) == ("tasks:add", (4,))
    assert isinstance(functools.partial(marked).func, functools.partial)


@pytest.mark.parametrize("function", [lambda x: x + 1, functools.partial(lambda x, y: x + y, 1)])
def test_by_value_where_there_is_no_path(function: object) -> None:
    shipment = ship(function)  # type: ignore[arg-type]
    assert shipment.by_value
    assert pickle.loads(shipment.pickle)(4) == 5


def test_by_value_wished() -> None:
    for wish in (True, ["tasks"], [tasks]):
        shipment = ship(tasks.square, wish)
        assert shipment.by_value
        assert b"tasks" not in shipment.pickle or pickle.loads(shipment.pickle)(3) == 9


def test_methods() -> None:
    made = ship(tasks.Point.of)
    assert (made.path, made.by_value) == ("tasks:Point.of", False)
    assert ship(tasks.Point(1).moved).by_value
    with pytest.raises(lambdamap.EncodeError, match="it is a method of an instance of Point"):
        ship(tasks.Point(1).moved, False)


def test_what_functools_caches_with() -> None:
    @functools.lru_cache(maxsize=3, typed=True)
    def doubled(x: int) -> int:
        return 2 * x

    class Shape:
        @functools.cached_property
        def size(self) -> int:
            return 5

        @functools.cache  # noqa: B019  # what it keeps alive is not for long
        def times(self, x: int) -> int:
            return x * self.size

    def uses_all(x: int) -> tuple[int, int, int]:
        shape = Shape()
        return doubled(x), shape.size, shape.times(x)

    assert pickle.loads(ship(uses_all).pickle)(3) == (6, 5, 15)
    made = pickle.loads(ship(doubled).pickle)
    assert made is not doubled
    assert (made(4), made.cache_parameters()) == (8, {"maxsize": 3, "typed": True})
    known = tasks.remembered  # which can be imported
    assert pickle.loads(ship(lambda: known).pickle)() is known
    assert pickle.loads(ship(lambda: known, [tasks]).pickle)() is not known


def elsewhere(value: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a process that does not know the value's classes makes of its pickle."""
    data = pickling.dumps(value)
    with monkeypatch.context() as patch:
        table: Any = weakref.WeakValueDictionary()
        patch.setattr(cloudpickle.cloudpickle, "_DYNAMIC_CLASS_TRACKER_BY_ID", table)
        return pickle.loads(data)


def test_classes_keep_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    class Base:
        __slots__ = {"x": "documented", "__private": ""}  # noqa: RUF023

        def __init__(self) -> None:
            self.x, self.__private = 1, 2

        def private(self) -> int:
            return self.__private

    class Derived(Base):
        __slots__ = ("__weakref__", "y")

    class Open(Base):
        __slots__ = "z"

    class Iterated(Base):
        __slots__ = iter(("y",))  # type: ignore[assignment]

    class Free(Open): ...

    @dataclasses.dataclass(slots=True)
    class Data:
        a: int
        b: Any = None

    made = Derived()
    made.y = Data(5)  # type: ignore[attr-defined]
    got = elsewhere(made, monkeypatch)
    kind = type(got)
    assert kind is not Derived
    assert (got.x, got.private(), got.y.a, got.y.b) == (1, 2, 5, None)
    assert not hasattr(got, "__dict__") and not hasattr(got.y, "__dict__")
    assert [b.__basicsize__ for b in kind.__mro__] == [b.__basicsize__ for b in Derived.__mro__]
    assert kind.__mro__[1].__slots__ == Base.__slots__
    assert weakref.ref(got)() is got
    other = elsewhere(Iterated, monkeypatch)()
    other.y = 6
    assert not hasattr(other, "__dict__")
    free = Free()
    free.z, free.other = 3, 4  # type: ignore[attr-defined]
    again = elsewhere(free, monkeypatch)
    assert (again.x, again.z, vars(again)) == (1, 3, {"other": 4})
    # Both sides lay objects out in the same way, so that they may come back to the class here.
    assert (pickle.loads(pickling.dumps(got)).x, type(pickle.loads(pickling.dumps(made)))) == (
        1,
        Derived,
    )


def test_a_class_without_a_module() -> None:
    for module in (None, 5):
        kind = type("Plugin", (), {"__module__": module, "name": "a"})
        with pytest.raises(_codec.EncodeFailure, match=r"^\('Plugin needs pickle"):
            _codec.encode(kind())
        for value in (kind(), kind):
            frame = _codec.encode(value, allow_pickle=True)
            assert _codec.decode(frame, allow_pickle=True).name == "a"


def test_refusals_say_why() -> None:
    with pytest.raises(lambdamap.EncodeError, match="it is a lambda"):
        ship(lambda x: x, False)

    def inner(x: int) -> int:
        return x

    with pytest.raises(lambdamap.EncodeError, match="inside another function"):
        ship(inner, False)
    lock = threading.Lock()
    with pytest.raises(lambdamap.EncodeError, match=r"cannot be shipped by value .*lock"):
        ship(lambda x: (lock, x))
    with pytest.raises(lambdamap.EncodeError, match=r"_thread.lock.*sends the whole module"):
        ship(lambda x: tasks.square(x), [tasks])  # the module has a lock
    with pytest.raises(lambdamap.EncodeError, match="must be callable"):
        ship(5)  # type: ignore[arg-type]


def test_functions_whose_results_could_not_come_back() -> None:
    def numbers(x: int) -> Iterator[int]:
        yield x

    async def later(x: int) -> int:
        return x

    async def many(x: int) -> AsyncIterator[int]:
        yield x

    for function, text in [
        (numbers, "numbers is a generator function, .* return a list"),
        (many, "many is a generator function"),
        (later, "later is a coroutine function, .* asyncio.run"),
        (functools.partial(later, 3), "later is a coroutine function"),
        (Holder().lines, "Holder.lines is a generator function"),
    ]:
        with pytest.raises(lambdamap.EncodeError, match=text):
            ship(function)


def test_code_that_travels_keeps_its_file() -> None:
    def outer() -> Callable[[], str]:
        return lambda: ""

    for shipped in (outer, lambda x: x):
        code = pickle.loads(ship(shipped).pickle).__code__
        assert code.co_filename == __file__
        for inner in code.co_consts:
            assert getattr(inner, "co_filename", __file__) == __file__


def test_size_names_what_is_large() -> None:
    with pytest.warns(UserWarning, match=r"every chunk.*BIG \(3000\d\d bytes\)") as caught:
        ship(uses_big, True)
    assert caught[0].filename == __file__
    huge = b"y" * 2_000_000
    with pytest.raises(lambdamap.EncodeError, match=r"huge \(20000\d\d bytes\)"):
        ship(lambda x: x + len(huge))


class Holder:
    def __init__(self) -> None:
        self.table = b"t" * 300_000

    def method(self, x: int) -> int:
        return x + len(self.table)

    def lines(self, x: int) -> Iterator[int]:
        yield x


def keeps(x: int, table: bytes = b"") -> int:
    return x + len(table)


@pytest.mark.parametrize(
    ("make", "by_value", "name"),
    [
        (lambda: lambda x: [len(BIG) for _ in range(x)], None, "BIG"),  # in code inside the code
        (lambda: lambda x: uses_big(x), True, "BIG|uses_big"),  # through a function of the module
        (lambda: lambda x, table=BIG: x, None, "table"),
        (lambda: functools.partial(lambda x, table: x, table=BIG), None, "table= of the partial"),
        (lambda: functools.partial(keeps, table=BIG), None, "table= of the partial"),
        (lambda: functools.partial(keeps, BIG), None, "argument 0 of the partial"),
        (lambda: Holder().method, True, "self.table"),
    ],
)
def test_everything_captured_is_looked_at(
    make: Callable[[], Callable[..., object]], by_value: bool | None, name: str
) -> None:
    with pytest.warns(UserWarning, match=rf"({name}) \(30\d\d\d\d bytes\)"):
        ship(make(), by_value)


def test_cloudpickles_own_register_is_left_as_it_was() -> None:
    cloudpickle.register_pickle_by_value(remote_functions)
    try:
        assert ship(lambda x: remote_functions.double(x), [remote_functions, tasks]).by_value
        assert cloudpickle.list_registry_pickle_by_value() == {"remote_functions"}
    finally:
        cloudpickle.unregister_pickle_by_value(remote_functions)
    with pytest.raises(
        lambdamap.EncodeError, match="lists 'no_such_module', which is not an imported"
    ):
        ship(tasks.square, ["no_such_module", tasks])
    assert not cloudpickle.list_registry_pickle_by_value()
