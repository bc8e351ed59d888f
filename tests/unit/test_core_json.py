"""The C core's JSON reader against the standard library's, made strict."""

from __future__ import annotations

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core_driver import ask


def _refuse(text: str) -> Any:
    raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _whole(text: str) -> int:
    if len(text.lstrip("-")) > 4300:
        raise ValueError(text)
    return int(text)


def python_accepts(data: bytes) -> bool:
    """Whether this is JSON of finite numbers and whole characters."""
    try:
        text = data.decode()
        if text.startswith("\ufeff"):
            return False
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)
        json.dumps(value, ensure_ascii=False).encode()  # no half of a surrogate pair
    except (ValueError, RecursionError):
        return False
    return True


_numbers = st.integers(-(10**400), 10**400) | st.floats(allow_nan=False, allow_infinity=False)
_values = st.recursive(
    st.none() | st.booleans() | _numbers | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
_texts = st.builds(
    lambda value, ascii_only, indent: json.dumps(
        value, ensure_ascii=ascii_only, indent=indent
    ).encode("utf-8", "replace"),
    _values,
    st.booleans(),
    st.sampled_from([None, 1]),
)
_pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b'"a":', b"null", b"true", b"a", b" ", b"\n"]
) | st.sampled_from(
    [b"0", b"1", b"-", b".", b"e9", b"\x00", b"\\u", b"d83d", b"\\ude00", b"\xc3", b"\xa9"]
)


@given(st.lists(st.floats(1e307, allow_infinity=False), min_size=5, max_size=10))
def test_the_largest_numbers(numbers: list[float]) -> None:
    for number, answer in zip(numbers, ask(("json", str(x)) for x in numbers), strict=True):
        assert answer == "others", number


@given(st.lists(_texts, min_size=10, max_size=20))
def test_what_json_writes_is_read(texts: list[bytes]) -> None:
    for text, answer in zip(texts, ask(("json", text) for text in texts), strict=True):
        assert answer == "others", text


@given(st.lists(_values, min_size=10, max_size=20))
def test_a_marked_reply_is_ours(values: list[Any]) -> None:
    texts = [json.dumps({"x": value, "lambdamap": {"new": value}}) for value in values]
    texts = [text for text in texts if text.isascii()]
    assert set(ask(("json", text) for text in texts)) <= {"ours"}


@given(
    st.lists(
        st.lists(_pieces, max_size=8).map(b"".join)
        | st.builds(
            lambda text, at, piece: text[: at % (len(text) + 1)] + piece + text[at % len(text) :],
            _texts,
            st.integers(0, 1000),
            _pieces,
        ),
        min_size=30,
        max_size=60,
    )
)
def test_nothing_is_taken_that_json_refuses(texts: list[bytes]) -> None:
    for text, answer in zip(texts, ask(("json", text) for text in texts), strict=True):
        if python_accepts(text):
            assert answer != "refused", text
        else:
            assert answer == "refused", text


_DENSE = [
    "[]", "{}", "[0]", "[[]]", "[[],[],[]]", "[" * 50 + "]" * 50, '{"":' * 50 + "0" + "}" * 50,
    '{"":0}', '{"a":[],"b":{}}', "1", "1000", "1.5", "null", "-1e-9", "9" * 300, '""', '"ab"', '"é"',
    '"€"', json.dumps("a" * 40 + "\U0001f600"), '"' + "a" * 40 + '\U0001f600"', '"\\\\"',
    json.dumps({str(i): i for i in range(6)}), json.dumps({f"key{i}": [] for i in range(11)}),
    json.dumps(list(range(1000, 1017))), json.dumps([{"x": 0.5, "y": 1000, "z": "text"}] * 9),
]  # fmt: skip


@pytest.mark.parametrize("unit", _DENSE, ids=lambda unit: unit[:20])
def test_what_a_value_weighs(unit: str) -> None:
    """Not less than Python takes for it, and little enough for a reply that is meant well."""
    texts = [f"[{','.join([unit] * count)}]" for count in (1, 5, 50_000 // len(unit))]
    for text, answer in zip(texts, ask(("weight", text) for text in texts), strict=True):
        json.loads("[]")  # what the first call keeps is not this value's
        tracemalloc.start()
        value = json.loads(text)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken - 200 <= int(answer) <= 70 * len(text) + 1000
        del value


def test_a_weight_is_bounded() -> None:
    """Whatever the text is: it is given only what the reader has accepted."""
    texts = ["[" * 1000, "]" * 10, '"', '"\\', "-", "", ",", '{"a"', "é"]
    assert all(int(answer) >= 0 for answer in ask(("weight", text) for text in texts))
