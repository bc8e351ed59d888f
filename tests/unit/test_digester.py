"""`_codec.Digester`: digests of the items that pass through it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lambdamap import _codec


def test_digester() -> None:
    slow: list[Any] = []

    def other(item: Any) -> bytes:
        slow.append(item)
        return b"8 bytes."

    items = [1, "a", {2}, [1.5, None], [frozenset()], {"k": object}, 1]
    digester = _codec.Digester(iter(items), other)
    assert digester.last == b""
    assert next(digester) is items[0]
    one = digester.last
    assert len(one) == 8
    assert list(digester) == items[1:]
    assert slow == [{2}, [frozenset()]]
    assert digester.take(1) == one
    rest = [digester.take(1) for _ in items[1:]]
    assert rest[-1] == one
    assert rest[1] == rest[3] == b"8 bytes."
    assert len({one, *rest}) == 5
    with pytest.raises(ValueError, match="not read"):
        digester.take(1)
    assert digester.take(0) == b""


def test_digester_passes_errors_on() -> None:
    wrong: Any = repr
    no_iterator: Any = [1]

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError

    digester = _codec.Digester(broken(), wrong)
    assert next(digester) == 1
    with pytest.raises(LookupError):
        next(digester)
    with pytest.raises(TypeError, match="8 bytes"):
        next(_codec.Digester(iter([{1}]), wrong))
    with pytest.raises(TypeError, match="iterator"):
        _codec.Digester(no_iterator, wrong)
