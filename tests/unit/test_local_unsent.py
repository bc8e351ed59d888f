"""What f has printed when its process ends: shown as prints are, the last of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdamap.local import unsent


@pytest.fixture
def fd() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(b'{"what": "stood there before"}')
        file.flush()
        yield file.fileno()


def test_lines_have_their_items_position(fd: int) -> None:
    kept = unsent.Unsent(fd)
    assert unsent.read(fd) == b""
    for index, text in [(0, "a"), (0, " b\nc"), (0, "\n"), (7, "no end"), (8, "\u00e4\n\ud800\n")]:
        kept.keep(index, text)
    assert unsent.read(fd).decode() == "[0] a b\n[0] c\n[7] no end\n[8] \u00e4\n[8] ?\n"
    kept.forget()
    assert unsent.read(fd) == b""
    kept.keep(9, "again")
    assert unsent.read(fd) == b"[9] again"


def test_it_outlives_its_descriptor(fd: int) -> None:
    other = os.dup(fd)
    kept = unsent.Unsent(other)
    os.close(other)
    kept.keep(1, "still there")
    assert unsent.read(fd) == b"[1] still there"


def test_a_file_that_no_sandbox_has_taken_over_says_nothing(fd: int) -> None:
    assert unsent.read(fd) == b""


@given(st.lists(st.integers(0, unsent.SIZE * 2), max_size=8))
def test_the_last_of_it_is_kept(sizes: list[int]) -> None:
    with tempfile.TemporaryFile() as file:
        kept, whole = unsent.Unsent(file.fileno()), ""
        for number, size in enumerate(sizes):
            text = chr(ord("a") + number) * size
            kept.keep(0, text)
            whole += text[-unsent.SIZE :]
        expected = ("[0] " + whole if whole else "").encode()[-unsent.SIZE :]
        assert unsent.read(file.fileno()) == expected
