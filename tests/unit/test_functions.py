"""How a callable travels: by its path, or by value."""

from __future__ import annotations

import functools
import pickle
import threading

import pytest

import lambdamap
import tasks
from lambdamap.functions import ship

BIG = b"x" * 300_000


def uses_big(x: int) -> int:
    return x + len(BIG)


def test_by_path() -> None:
    shipment = ship(tasks.square)
    assert shipment == ("tasks:square", tasks.square, False, tasks.__file__)
    assert ship(functools.partial(tasks.add, y=3)).path == "tasks:add"
    assert ship(int).path == "builtins:int"


@pytest.mark.parametrize("function", [lambda x: x + 1, functools.partial(lambda x, y: x + y, 1)])
def test_by_value_where_there_is_no_path(function: object) -> None:
    shipment = ship(function)  # type: ignore[arg-type]
    assert shipment.by_value
    assert pickle.loads(shipment.function)(4) == 5


def test_by_value_wished() -> None:
    for wish in (True, ["tasks"], [tasks]):
        shipment = ship(tasks.square, wish)
        assert shipment.by_value
        assert b"tasks" not in shipment.function or pickle.loads(shipment.function)(3) == 9


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
    with pytest.raises(lambdamap.EncodeError, match="must be callable"):
        ship(5)  # type: ignore[arg-type]


def test_size_names_what_is_large() -> None:
    with pytest.warns(UserWarning, match=r"BIG \(3000\d\d bytes\)"):
        ship(uses_big, True)
    huge = b"y" * 2_000_000
    with pytest.raises(lambdamap.EncodeError, match=r"above 1 MB.*huge"):
        ship(lambda x: x + len(huge))
