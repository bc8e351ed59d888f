"""Digests of items and functions: the same in every process, and different after a change."""

from __future__ import annotations

import collections
import logging
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lambdamap.shipping import canonical

SCRIPT = """
import functools
from lambdamap.shipping.canonical import of_function, of_value

WORDS = {"one", "two", "three"}

class Point:
    known = frozenset(WORDS)
    def __init__(self, x):
        self.x = x
        self.words = set(WORDS)
    @property
    def twice(self):
        return helper(self.x), Point
    @staticmethod
    def zero():
        return Point(0)

@functools.lru_cache
def helper(x):
    return x in WORDS

def f(x, words={"a": {"b", "c"}}):
    def inner():
        return Point(x).twice, f
    return inner() if x in {"four", "five"} else helper(x)

class Tags(set):
    pass

class Node:
    def __init__(self, name, *children):
        self.name, self.parent, self.children = name, None, set(children)
        for child in children:
            child.parent = self

text = "".join(["he", "llo"])
itself = [1]
itself.append(itself)
values = [WORDS, [{1: {"a", "b"}}], Point([text, text]), Point(["hello", "hello"]), itself, {"x": 1.5}]
values += [Tags(WORDS), Node("a", Node("b"), Node("c", Node("d"))), {"a": 1}.keys()]
functions = [f, functools.partial(f, words=WORDS), Point(2).__init__, lambda x: x in WORDS, Point]
print([of_value(value).hex() for value in values], [of_function(g).hex() for g in functions])
"""


def test_the_same_in_every_process(tmp_path: Path) -> None:
    said = set()
    for seed in ("0", "1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        said.add(done.stdout)
    (one,) = said
    values, functions = (part.strip("[").split(", ") for part in one.strip("]\n").split("] ["))
    assert values[2] == values[3]  # which of its strings are one object does not matter
    assert len({*values, *functions}) == len(values) + len(functions) - 1


def made(source: str, name: str = "f", **values: Any) -> Any:
    scope: dict[str, Any] = {"__name__": "__main__", **values}
    exec(source, scope)
    return scope[name]


F = "def f(x):\n    return x + one(x) + LIMIT\ndef one(x):\n    return 1"


@pytest.mark.parametrize(
    ("changed", "values"),
    [
        (F.replace("x + one", "x - one"), {"LIMIT": 1}),
        (F.replace("return 1", "return 2"), {"LIMIT": 1}),
        (F.replace("f(x)", "f(x, y=1)"), {"LIMIT": 1}),
        (F.replace("f(x)", "f(x, *, y=1)"), {"LIMIT": 1}),
        (F, {"LIMIT": 2}),
        (F, {"LIMIT": {1}}),
    ],
)
def test_a_change_is_seen(changed: str, values: dict[str, Any]) -> None:
    before = canonical.of_function(made(F, LIMIT=1))
    assert canonical.of_function(made(F, LIMIT=1)) == before
    assert canonical.of_function(made("\n\n" + F, LIMIT=1, UNUSED=3)) == before
    assert canonical.of_function(made(changed, **values)) != before


def test_a_changed_class_is_seen() -> None:
    source = "class K:\n    def m(self):\n        return 1\ndef f():\n    return K().m()"
    before = canonical.of_function(made(source))
    assert canonical.of_function(made(source)) == before
    assert canonical.of_function(made(source.replace("1", "2"))) != before


def test_what_has_no_digest_of_its_own() -> None:
    """Its type is all that is compared; that it cannot be sent is not said here."""

    class Odd:
        def __reduce__(self) -> str:
            raise RuntimeError

    assert canonical.of_value(Odd()) == canonical.of_value(Odd())
    assert canonical.of_value(Odd()) != canonical.of_value([Odd()])
    assert len(canonical.of_value(Odd())) == canonical.SIZE


class Node:
    def __init__(self, name: object, children: Any = ()) -> None:
        self.name, self.parent, self.children = name, self, set(children)
        for child in children:
            child.parent = self


def joined(names: str) -> Node:
    """Return one of several nodes that are all connected to each other."""
    nodes = [Node(name) for name in names]
    for node in nodes:
        node.children.update(nodes)
    return nodes[0]


def cell(*values: object) -> types.CellType:
    return types.CellType(*values)


@pytest.mark.parametrize(
    "values",
    [
        # Contain themselves by way of a set.
        [lambda: Node(1, [Node(2)]), lambda: Node(1, [Node(3)]), lambda: Node(4, [Node(2)])],
        [lambda: {1: 2}.keys(), lambda: {2: 2}.keys()],
        [lambda: {1: 2}.values(), lambda: {1: 3}.values()],
        [lambda: {1: 2}.items(), lambda: {1: 3}.items()],
        [lambda: collections.OrderedDict(a=1).keys(), lambda: collections.OrderedDict(b=1).keys()],
        [lambda: types.MappingProxyType({1: 2}), lambda: types.MappingProxyType({1: 3})],
        [lambda: cell(1), lambda: cell(2), lambda: cell()],
        [lambda: TypeVar("T"), lambda: TypeVar("U"), lambda: TypeVar("T", bound=int)],
        [lambda: memoryview(b"a"), lambda: memoryview(b"b")],
        [lambda: logging.getLogger("a"), lambda: logging.getLogger("b")],
    ],
)
def test_values_that_pickle_refuses(values: list[Callable[[], Any]]) -> None:
    digests = {canonical.of_value([make()]) for make in values}
    assert digests == {canonical.of_value([make()]) for make in values}
    assert len(digests) == len(values)


def test_values_whose_parts_recur() -> None:
    """The number of ways to a part is exponential."""

    def doubled(value: object) -> Node:
        node = Node(value)
        for _ in range(50):
            above = Node(None)
            above.name, above.parent = node, node
            node = above
        return node

    assert canonical.of_value(doubled(1)) == canonical.of_value(doubled(1))
    assert canonical.of_value(doubled(1)) != canonical.of_value(doubled(2))
    assert canonical.of_value(joined("abcdefghijkl")) != canonical.of_value(joined("abcdefghijkm"))


def test_values_that_differ() -> None:
    values = [1, 1.0, True, "1", b"1", [1], (1,), {1}, frozenset((1,)), {1: 1}, None, [[1]], int]
    assert len({canonical.of_value(value) for value in values}) == len(values)
