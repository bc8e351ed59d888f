"""The file of a journal: what is written is read back, whenever the process ends; and who may open it."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lambdamap import errors
from lambdamap.flight.journal import DONE, FAILED, MAYBE, MIXED, Journal, Row
from lambdamap.shipping.canonical import SIZE

HEAD = {"wire": 1, "function": "m:f", "arguments": "a1", "code": "c1", "calls": "item"}


def digests(first: int, count: int) -> bytes:
    return b"".join(at.to_bytes(SIZE, "big") for at in range(first, first + count))


def begin(journal: Journal, first: int, count: int, again: bool = False) -> None:
    journal.begin(first, count, digests(first, count), again)


def rows_of(journal: Journal) -> list[Row]:
    found: list[Row] = []
    while more := journal.rows(found[-1].end if found else 0):
        found += more
    return found


def states_of(journal: Journal) -> dict[int, int]:
    """What each item has come to, as the rows say; they do not overlap, and have the items' digests."""
    found: dict[int, int] = {}
    for row in rows_of(journal):
        assert row.digests == digests(row.first, row.count)
        for at in range(row.first, row.end):
            assert at not in found
            found[at] = row.state
    return found


def killed(path: Path, number: int) -> Journal:
    """The journal as it is found after kill -9 of the process that writes it now."""
    copy = path.with_name(f"copy{number}")
    for end in ("", "-wal"):
        if (source := Path(f"{path}{end}")).exists():
            shutil.copy(source, f"{copy}{end}")
    return Journal(os.fspath(copy), HEAD)


OPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 6), st.integers(0, 2)),
        st.tuples(st.just("again"), st.integers(0, 5), st.integers(1, 4)),
        st.tuples(
            st.just("settle"),
            st.integers(0, 5),
            st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()),
        ),
        st.tuples(st.just("commit"), st.none(), st.none()),
        st.tuples(st.just("kill"), st.none(), st.none()),
    ),
    max_size=30,
)


class Model:
    """What each item has come to, in a dict."""

    def __init__(self) -> None:
        self.items: dict[int, int] = {}
        self.begun: dict[int, int] = {}  # open chunks: first item and number
        self.lost: set[int] = set()  # items whose chunk is over, and that may have run
        self.end = 0

    def after_kill(self) -> dict[int, int]:
        open_items = {at for first, n in self.begun.items() for at in range(first, first + n)}
        return {**self.items, **dict.fromkeys(open_items | self.lost, MAYBE)}


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(ops=OPS)
@example(
    ops=[
        ("begin", 1, 0),
        ("begin", 1, 0),
        ("settle", 0, (0, 1, False)),
        ("commit", None, None),
        ("again", 0, 1),
    ]
)
def test_every_sequence_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, ops: list[tuple[str, Any, Any]]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    journal, model, committed = Journal(os.fspath(path), HEAD), Model(), dict[int, int]()
    for number, (what, one, other) in enumerate(ops):
        if what == "begin":
            first = model.end + other
            begin(journal, first, one)
            model.begun[first] = one
            model.end = first + one
        elif what == "again":
            rerun = [row for row in rows_of(journal) if row.state in (FAILED, MAYBE)]
            rerun = [row for row in rerun if row.first not in model.begun]
            if journal.pending or not rerun:
                continue
            row = rerun[one % len(rerun)]
            count = min(other, row.count)
            begin(journal, row.first, count, again=True)
            model.begun[row.first] = count
            for at in range(row.first, row.first + count):
                model.items.pop(at, None)
                model.lost.discard(at)
        elif what == "settle" and model.begun:
            if journal.pending:  # a reply comes after its chunk was sent
                journal.commit()
                committed = model.after_kill()
            first = sorted(model.begun)[one % len(model.begun)]
            count = model.begun.pop(first)
            done, failed, maybe = min(other[0], count), other[1], other[2]
            failed = min(failed, count - done)
            left = journal.settle(
                first, done=done, frame=b"r" * done, failed=failed, error="{}", maybe=maybe
            )
            for at in range(first, first + count):
                if at < first + done:
                    model.items[at] = DONE
                elif at < first + done + failed:
                    model.items[at] = FAILED
                elif maybe:
                    model.lost.add(at)
            rest = count - done - failed
            assert left == (b"" if maybe else digests(first + done + failed, rest))
        elif what == "commit":
            journal.commit()
        elif what == "kill":
            found = killed(path, number)
            assert states_of(found) == (committed if journal.pending else model.after_kill())
            found.close()
        if not journal.pending:
            committed = model.after_kill()
    journal.close()
    journal = Journal(os.fspath(path), HEAD)
    assert states_of(journal) == model.after_kill()
    counts = {
        state: list(model.after_kill().values()).count(state) for state in (DONE, FAILED, MAYBE)
    }
    assert journal.counts() == {state: n for state, n in counts.items() if n}
    journal.close()


def test_a_row_of_results_and_errors_is_split(tmp_path: Path) -> None:
    journal = Journal(os.fspath(tmp_path / "j"), HEAD)
    begin(journal, 10, 6)
    journal.commit()
    journal.settle(10, done=6, frame=b"six", worker_us=60, mixed=True)
    journal.commit()
    (row,) = rows_of(journal)
    assert (row.state, row.first, row.count, journal.frame(10)) == (MIXED, 10, 6, b"six")
    journal.split(row, {10: "a", 13: "b"})
    rows = rows_of(journal)
    assert [(r.first, r.count, r.state, r.source, r.start, r.error) for r in rows] == [
        (10, 1, FAILED, 10, 0, "a"),
        (11, 2, DONE, 11, 1, None),
        (13, 1, FAILED, 13, 0, "b"),
        (14, 2, DONE, 11, 4, None),
    ]
    assert journal.frame(11) == b"six"
    assert states_of(journal).keys() == set(range(10, 16))
    journal.close()


def test_many_rows_are_read_in_parts(tmp_path: Path) -> None:
    journal = Journal(os.fspath(tmp_path / "j"), HEAD)
    for at in range(1000):
        begin(journal, 3 * at, 2)
    journal.commit()
    for at in range(1000):
        journal.settle(3 * at, done=2, frame=b"")
    journal.commit()
    assert len(journal.rows(0)) < 1000
    assert [row.first for row in rows_of(journal)] == list(range(0, 3000, 3))
    assert journal.rows(1)[0].first == 0
    assert journal.rows(2)[0].first == 3
    journal.close()


@pytest.mark.parametrize("frame", [b"results " * 1000, "results " * 1000])
def test_a_damaged_frame(tmp_path: Path, frame: bytes | str) -> None:
    path = tmp_path / "j"
    journal = Journal(os.fspath(path), HEAD)
    begin(journal, 0, 2)
    journal.finish(0, frame, 0, mixed=False)
    journal.close()
    data = path.read_bytes()
    at = data.rindex(b"results results")
    path.write_bytes(data[:at] + b"R" + data[at + 1 :])
    journal = Journal(os.fspath(path), HEAD)
    with pytest.raises(errors.ConfigError, match="cannot be used: it is damaged; use another path"):
        journal.frame(0)
    journal.close()


def test_what_sqlite_finds_while_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(os.fspath(path), HEAD)
    db = sqlite3.connect(path)
    db.execute("DROP TABLE chunks")
    db.close()
    row = Row(0, 1, MIXED, digests(0, 1), 0, 0, 0, None)
    reads: list[Callable[[], object]] = [
        journal.counts,
        lambda: journal.rows(0),
        lambda: journal.frame(0),
        lambda: journal.split(row, {}),
    ]
    for read in reads:
        with pytest.raises(errors.ConfigError, match="cannot be used: no such table: chunks"):
            read()
    journal.close()


# --- who may open it ------------------------------------------------------------------------------


def not_a_database(path: Path) -> None:
    path.write_text("results\n" * 1000)


def another_database(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()


def a_later_version(path: Path) -> None:
    Journal(os.fspath(path), HEAD).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 2")
    db.close()


def a_head(value: object) -> Callable[[Path], None]:
    """Something that has no valid head."""

    def prepare(path: Path) -> None:
        Journal(os.fspath(path), HEAD).close()
        db = sqlite3.connect(path)
        db.execute("DROP TABLE head")
        db.execute("CREATE TABLE head (value)")
        db.execute("INSERT INTO head VALUES (?)", (value,))
        db.commit()
        db.close()

    return prepare


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (a_head(None), "cannot be used: it is damaged"),
        (a_head("[]"), "cannot be used: it is damaged"),
        (
            a_head("{"),
            "cannot be used: it is damaged (Expecting property name enclosed in double quotes: "
            "line 1 column 2 (char 1))",
        ),
        (not_a_database, "cannot be used: it is not an SQLite database"),
        (another_database, "is an SQLite database of something else"),
        (a_later_version, "has version 2, this release of lambdamap has 1"),
        (Path.mkdir, "cannot be opened: Is a directory"),
    ],
)
def test_a_file_that_is_no_journal(
    tmp_path: Path, prepare: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / "j"
    prepare(path)
    with pytest.raises(errors.ConfigError) as caught:
        Journal(os.fspath(path), HEAD)
    assert str(caught.value) == (
        f"journal '{path}' {message}; use another path, or delete the file"
    )


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(errors.ConfigError, match="cannot be opened: No such file or directory"):
        Journal(os.fspath(tmp_path / "not" / "here"), HEAD)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wire": 2}, "wire was 1 and is 2"),
        ({"function": "m:g"}, "function was 'm:f' and is 'm:g'"),
        ({"calls": "star"}, "calls was 'item' and is 'star'"),
        ({"arguments": "a2"}, "the arguments of its partial differ"),
    ],
)
def test_the_journal_of_another_map(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = os.fspath(tmp_path / "j")
    Journal(path, HEAD).close()
    with pytest.raises(errors.ConfigError) as caught:
        Journal(path, {**HEAD, **change})
    assert str(caught.value) == (
        f"journal '{path}' is that of another map: {message}; use another path, or delete the file"
    )
    Journal(path, HEAD).close()  # it was left as it was, and is not locked


def test_changed_source(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "j")
    Journal(path, HEAD).close()
    changed = {**HEAD, "code": "c2"}
    with pytest.raises(errors.ConfigError, match="the source of m:f has changed since"):
        Journal(path, changed, strict=True)
    with pytest.warns(errors.StaleCodeWarning, match="the source of m:f has changed since"):
        Journal(path, changed).close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Journal(path, HEAD, strict=True).close()


def test_one_map_at_a_time(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "j")
    journal = Journal(path, HEAD)
    with pytest.raises(errors.ConfigError, match="is in use by another map"):
        Journal(path, HEAD)
    code = f"from lambdamap.flight.journal import Journal; Journal({path!r}, {HEAD!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.splitlines()[-1].endswith("or wait until that map has ended")
    begin(journal, 0, 1)
    journal.commit()
    journal.close()
    journal.close()
    subprocess.run([sys.executable, "-c", code], check=True)


FORKED = """
import gc, os, sys
from lambdamap.flight.journal import SIZE, Journal
path, head = sys.argv[1], {"function": "m:f"}
journal = Journal(path, head)
journal.begin(0, 2, bytes(2 * SIZE))
journal.commit()
child = os.fork()
if child == 0:
    journal.settle(0)
    journal.commit()
    journal.close()
    del journal
    gc.collect()
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
journal.settle(0, done=2, frame=b"two")
journal.commit()
os._exit(0)  # as if killed
"""


def test_a_child_of_fork_leaves_it_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "j"
    subprocess.run([sys.executable, "-c", FORKED, path], check=True)
    journal = Journal(os.fspath(path), {"function": "m:f"})
    assert [(row.state, row.count) for row in rows_of(journal)] == [(DONE, 2)]
    assert journal.frame(0) == b"two"
    journal.close()


def test_killed_while_it_was_created(tmp_path: Path) -> None:
    path = tmp_path / "j"
    db = sqlite3.connect(path)
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    Journal(os.fspath(path), HEAD).close()
    (tmp_path / "empty").touch()
    Journal(os.fspath(tmp_path / "empty"), HEAD).close()


def test_at_rest_it_is_one_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(os.fspath(path), HEAD)
    begin(journal, 0, 1)
    journal.commit()
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    assert reader.execute("SELECT count(*) FROM begun").fetchone() == (1,)  # while it is open, too
    reader.close()
    begin(journal, 1, 1)
    journal.commit()
    journal.close()
    assert [file.name for file in tmp_path.iterdir()] == ["j"]


def test_a_full_disk(tmp_path: Path) -> None:
    journal = Journal(os.fspath(tmp_path / "j"), HEAD)
    begin(journal, 0, 2)
    journal.commit()
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    journal.settle(0, done=1, frame=bytes(100_000))
    with pytest.raises(OSError, match=r"the journal cannot be written .* resume the map") as caught:
        journal.commit()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, os.fspath(tmp_path / "j"))
    assert journal.broken
    journal.commit()  # says it once
    journal.close()
    journal = Journal(os.fspath(tmp_path / "j"), HEAD)
    assert states_of(journal) == {0: MAYBE, 1: MAYBE}
    journal.close()
