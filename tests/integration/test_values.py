"""What f gets and what comes back is what builtin map gives, in type and value."""

from __future__ import annotations

import collections
import functools
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest

import lambdamap
from same import same


@pytest.fixture(params=["inline", "local"])
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    with lambdamap.configure(backend=request.param, progress=False):
        yield request.param


def cases() -> dict[str, tuple[Callable[[Any], Any], list[Any]]]:
    """f and items; all by value, since a worker does not have this module."""

    class Point:
        __slots__ = ("x", "y")

        def __init__(self, x: int, y: int) -> None:
            self.x, self.y = x, y

        def __eq__(self, other: object) -> bool:
            return type(other) is Point and (self.x, self.y) == (other.x, other.y)

        def __hash__(self) -> int:
            return hash(self.x)

    Row = collections.namedtuple("Row", "a b")

    def swapped(point: Any) -> Any:
        return Point(point.y, point.x)

    def turned(row: Any) -> Any:
        return isinstance(row, Row), row, Row(row.b, row.a)

    def total(row: Any) -> Any:
        return row.price * row.count_, row._fields, row

    def price(record: Any) -> Any:
        return float(record.price), record

    def viewed(view: memoryview) -> Any:
        return view.readonly, view.format, view.tolist(), view

    def both(value: Any) -> Any:
        return type(value).__name__, str(getattr(value, "dtype", value)), value

    frame = pd.DataFrame({"price": [1.5, 2.0], "count_": [2, 3], "no name": ["x", None]})
    records = np.rec.array([(1, 2.5), (2, 3.5)], dtype=[("item", "i4"), ("price", "f8")])
    objects = np.array([(1, "one"), (2, None)], dtype=[("n", "i8"), ("what", "O")])
    return {
        "slots": (swapped, [Point(1, 2), Point(3, 4)]),
        "rows": (turned, [Row(1, "x"), Row([2], None)]),
        "itertuples": (total, list(frame.itertuples())),
        "records": (price, list(records)),
        "record arrays": (both, [records, objects, np.longlong(5), np.array([["a", 1]], object, order="F")]),
        "views": (viewed, [memoryview(b"abc"), memoryview(bytearray(16)).cast("d")]),
    }  # fmt: skip


@pytest.mark.parametrize("name", cases())
def test_as_builtin_map(name: str, backend: str) -> None:
    function, items = cases()[name]
    want = list(map(function, items))
    assert same(want, list(lambdamap.map(function, items)))
    assert same(want, list(lambdamap.map(function, items, chunksize=2)))


def test_rows_need_no_pickles(backend: str) -> None:
    function, items = cases()["itertuples"]
    assert same(
        list(map(function, items)), list(lambdamap.map(function, items, allow_pickle=False))
    )


def test_weak_sets_and_cycles_in_both_directions(backend: str) -> None:
    class Node:
        def __init__(self, name: str) -> None:
            self.name = name

    def grown(graph: Any) -> Any:
        nodes, chosen, _ = graph
        assert [node in chosen for node in nodes] == [True, False], "as builtin map"
        nodes.append(Node("c"))
        chosen.add(nodes[-1])
        return graph

    def closed(items: Any) -> Any:
        assert items[0] is items
        return {"items": items}

    nodes = [Node("a"), Node("b")]
    graph = [nodes, weakref.WeakSet(nodes[:1]), weakref.WeakKeyDictionary({nodes[1]: 5})]
    # Beside others in one reply, as a column would hold them.
    for got in lambdamap.map(grown, [graph] * 5, chunksize=5):
        assert [node.name for node in got[0]] == ["a", "b", "c"]
        assert [node in got[1] for node in got[0]] == [True, False, True]
        assert got[2][got[0][1]] == 5
    cycle: list[Any] = []
    cycle.append(cycle)
    for found in lambdamap.map(closed, [cycle] * 3, chunksize=3):
        assert found["items"][0] is found["items"]
    for item in (graph, cycle):
        with pytest.raises(lambdamap.EncodeError) as caught:
            list(lambdamap.map(len, [[], item], allow_pickle=False))
        assert (caught.value.ran, list(caught.value.indices)) == ("NOT", [1])


def test_constant_arguments_share_what_they_hold(backend: str) -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    function = functools.partial(operator.getitem, cycle)  # travels by its path, with arguments
    with lambdamap.configure(by_value=False):
        assert [found[0] is found for found in lambdamap.map(function, [0, 0])] == [True, True]
        with pytest.raises(lambdamap.EncodeError) as caught:
            list(lambdamap.map(function, [0], allow_pickle=False))
        assert caught.value.ran == "NOT"
