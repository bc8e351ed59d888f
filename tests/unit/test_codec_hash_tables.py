"""Reading does not build hash tables that are slow: keys of one hash, or that seek the same places."""

from __future__ import annotations

import collections
import decimal
import fractions
import itertools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from extensions import Ext, index, read, refused
from lambdamap import _codec
from lambdamap.shipping.kinds import parts
from same import same

PRIME = 2**61 - 1  # of Python's hash of a number


def colliding(n: int) -> dict[str, list[Any]]:
    numbers = [k * PRIME for k in range(8, 8 + n)]
    return {
        "ints": numbers,
        "tuples": [(k, "x") for k in numbers],
        "decimals": [decimal.Decimal(k) for k in numbers],
        "fractions": [fractions.Fraction(k) for k in numbers],
        "mixed": [f"{k}" if k % 2 else k for k in numbers],
    }


TABLES: dict[str, Callable[[list[Any]], Any]] = {
    "dict": dict.fromkeys,
    "set": set,
    "frozenset": frozenset,
    "odict": collections.OrderedDict.fromkeys,
    "counter": collections.Counter,
    "defaultdict": lambda keys: collections.defaultdict(None, dict.fromkeys(keys)),
}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("keys", colliding(1))
def test_keys_of_one_hash(keys: str, table: str) -> None:
    small = TABLES[table](colliding(60)[keys])
    assert same(small, read(small))
    large = TABLES[table](colliding(4000)[keys])
    assert "collisions" in refused(large)


def sets_in_sets(depth: int, n: int, last: int) -> Any:
    """A frozenset of n of one hash, and all but the last the same whatever `last` is."""
    if depth == 0:
        return last * PRIME + 1
    return frozenset(sets_in_sets(depth - 1, n, i) for i in (*range(n - 1), n + last))


def nested(members: Any) -> Any:
    """The payload of a set of frozensets, which takes long to make here as well."""
    if not isinstance(members, tuple):
        return members
    return Ext(_codec.EXT_SET, True, *map(nested, members))


def parts_of(depth: int, n: int, last: int) -> Any:
    if depth == 0:
        return last * PRIME + 1
    return tuple(parts_of(depth - 1, n, i) for i in (*range(n - 1), n + last))


@pytest.mark.parametrize("table", ["set", "dict", "counter", "tuples"])
def test_sets_in_sets_of_one_hash(table: str) -> None:
    """No table has more than 28 of one hash; to compare two of these takes 10^8 compares."""
    one, other = (nested(parts_of(3, 28, last)) for last in (0, 1))
    made: dict[str, Any] = {
        "set": Ext(_codec.EXT_SET, False, one, other), "dict": {one: 1, other: 2},
        "counter": Ext(parts.NAMED, "counter", {one: 1, other: 2}),
        "tuples": Ext(_codec.EXT_SET, False, (one, 1), (other, 1)),
    }  # fmt: skip
    assert "collisions" in refused(made[table])


def test_sets_of_one_hash_that_nobody_chose() -> None:
    """-1 and -2 have one hash, and so have the edges between such places."""
    places = list(itertools.product((-2, -1, 0, 1), repeat=3))
    edges = {frozenset(pair) for pair in itertools.combinations(places, 2)}
    assert same(edges, read(edges))
    small = {sets_in_sets(2, 20, 0), sets_in_sets(2, 20, 1)}
    assert same(small, read(small))


def walkers(n: int) -> list[int]:
    """Ints of different hashes. The first ones fill places one behind the other, in the order in which a
    dict looks for a free one; each of the others begins at one of these and walks to the end."""
    size = 1 << 13
    mask, run, at = size - 1, [], 1
    for _ in range(size // 3):
        run.append(at)
        at = (at * 5 + 1) & mask
    filled, start, made = set(run), set(run[: len(run) // 2]), []
    for number in range(size, 1 << 19):
        perturb = at = number
        at &= mask
        while at in filled and perturb:
            perturb >>= 5
            at = (at * 5 + perturb + 1) & mask
        if at in start:
            made.append(number)
            if len(made) == n:
                break
    return run + made


def test_keys_of_different_hashes_that_seek_the_same_places() -> None:
    chosen = walkers(2000)
    assert "collisions" in refused(dict.fromkeys(chosen))
    assert "collisions" in refused(dict.fromkeys(["text", *sorted(chosen)]))


def test_the_same_key_twice() -> None:
    """Wherever it is among keys that are put in as they come, and others."""
    one, text, float_, other = b"\x01\xc0", b"\xa1a\xc0", b"\xcb" + bytes(8) + b"\xc0", b"\x02\xc0"
    for pairs in (
        [one, one, other],
        [one, one, float_],
        [text, text, one],
        [one, float_, float_],
        [text, one, text],
    ):
        for after in (b"", b"\x05\x06"):
            content = bytes([0x91 + len(after), 0x80 + len(pairs)]) + b"".join(pairs) + after
            frame = b"L\x01\x00\x00" + bytes([len(content)] * 2 + [0] * 5) + content
            with pytest.raises(_codec.DecodeFailure, match="duplicate"):
                _codec.decode(frame)


@pytest.mark.parametrize("shift", [0, 3, 10, 20, 32, 45])
def test_honest_keys_are_no_attack(shift: int) -> None:
    for n in (65, 700, 30_000):
        numbers = [k << shift for k in range(n)]
        for keys in (
            numbers,
            [k / 2**shift for k in range(n)],
            [-k for k in numbers],
            [(k, "x") for k in numbers],
        ):
            for table in (dict.fromkeys(keys), set(keys)):
                assert read(table) == table


def same_for_pandas(n: int) -> list[int]:
    """Ints that have one hash in pandas' own tables, which have no secret."""
    made = []
    for high in range(1, n + 1):
        low = high
        for _ in range(3):
            low = high ^ (low << 11 & 0xFFFFFFFF)
        made.append(high << 33 | low)
    return made[::2] + made[1::2]  # pandas needs no table where they ascend


def test_categories_and_levels_of_one_hash_for_pandas() -> None:
    """pandas is not asked whether they are all different."""
    n = 120_000
    levels = index(*same_for_pandas(n))
    codes = np.arange(n)
    start = time.process_time()
    read(Ext(parts.PANDAS, "catdtype", levels, False))
    read(Ext(parts.PANDAS, "array", ("cat", codes, levels, True)))
    assert (
        len(read(Ext(parts.PANDAS, "multi", [levels, index(1)], [codes, codes * 0], [None, None])))
        == n
    )
    assert time.process_time() - start < 10  # each takes longer if it is
