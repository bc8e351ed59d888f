"""``lambdamap map --journal`` and ``lambdamap journal``."""

from __future__ import annotations

import functools
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import lambdamap
import tasks
from commands import run
from lambdamap.cli import main
from lambdamap.flight.journal import Journal
from lambdamap.shipping.canonical import SIZE


def said(*arguments: str) -> list[Any]:
    """The lines of a command's output, those that are JSON as values."""
    done = CliRunner().invoke(main, ["journal", *arguments])
    assert done.exit_code == 0, done.output
    return [json.loads(line) if line[0] == "{" else line for line in done.output.splitlines()]


def test_a_command_that_is_repeated(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    numbers = "".join(f"{x}\n" for x in range(12))
    command = ("map", "tasks:fail_at_seven", "--backend", "local", "--chunksize", "2")
    for _ in range(2):
        done = run(*command, "--journal", path, text=numbers)
        assert done.returncode == 1
        assert "line 8" in done.stderr
        assert done.stdout.splitlines()[:7] == [str(x) for x in range(7)]
    # What was under way when line 8 ended the map may have run.
    again = ("--on-error", "return", "--rerun-maybe")
    done = run(*command, "--journal", path, *again, text=numbers)
    assert json.loads(done.stdout.splitlines()[7])["lambdamap_error"]["ran"] == "RAN"
    assert [line["item"] for line in said("results", path)] == [x for x in range(12) if x != 7]
    (error,) = said("errors", path)
    assert (error["item"], error["ran"]) == (7, "RAN")
    done = run("map", "tasks:square", "--backend", "local", "--journal", path, text=numbers)
    assert done.returncode == 2
    assert "is that of another map" in done.stderr


@pytest.mark.parametrize("codec", ["native", "json"])
@pytest.mark.parametrize("on_error", ["raise", "return"])
def test_what_a_journal_has(tmp_path: Path, codec: str, on_error: str) -> None:
    path = str(tmp_path / "j")
    options = {"backend": "inline", "journal": path, "chunksize": 2, "codec": codec}
    found = [0, 1, 2, 3, 4, 5, 6, "ValueError"]
    if on_error == "return":
        found += [8, 9]
        lambdamap.my_map(tasks.fail_at_seven, range(10), on_error="return", **options)
    else:
        with pytest.raises(ValueError, match="7"):
            lambdamap.my_map(tasks.fail_at_seven, range(10), **options)
    results = said("results", path)
    assert results[:7] == [{"item": x, "result": x} for x in range(7)]
    (error,) = said("errors", path)
    assert {**error, "message": "", "request_id": None} == {
        "item": 7, "ran": "RAN", "type": "ValueError", "message": "", "request_id": None
    }  # fmt: skip
    shown = said("show", path)
    assert shown[:2] == ["function:     tasks:fail_at_seven", "called with:  item"]


def test_of_a_map_that_was_killed(tmp_path: Path) -> None:
    """It is read as it is, beside its log; so is that of a map that runs."""
    head = {"function": "m:f", "calls": "item", "codec": "native"}
    path = tmp_path / "running"
    journal = Journal(os.fspath(path), head)
    journal.begin(3, 2, bytes(2 * SIZE))
    journal.begin(5, 1, bytes(SIZE))
    journal.commit()
    journal.settle(3, failed=1, error=json.dumps({"failure": "worker_crashed", "message": "gone"}))
    journal.commit()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{tmp_path / 'killed'}{end}")
    for name in ("running", "killed"):
        lines = said("errors", str(tmp_path / name))
        assert [(line["item"], line["type"], line["ran"]) for line in lines] == [
            (3, "WorkerCrashedError", "RAN"),
            (5, "InterruptedJobError", "MAYBE"),
        ]
        assert "may have run: 1" in said("show", str(tmp_path / name))
    journal.close()


def test_values_that_json_does_not_have(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    path = str(tmp_path / "j")
    values = [numpy.arange(3), {1, 2}, b"x"]
    lambdamap.my_map(tasks.identity, values, backend="inline", journal=path)
    assert [line["result"] for line in said("results", path)] == [[0, 1, 2], "{1, 2}", "b'x'"]


def test_pickles_are_read_on_request(tmp_path: Path) -> None:
    path = str(tmp_path / "j")
    value = functools.partial(pow, 2)
    lambdamap.my_map(tasks.identity, [value], backend="inline", journal=path)
    (refused,) = said("errors", path)
    assert (refused["type"], refused["ran"]) == ("DecodeError", "RAN")
    (read,) = said("results", path, "--allow-pickle")
    assert read["result"].startswith("functools.partial(")


@pytest.mark.parametrize("content", [None, b"", b"no database" * 100])
def test_what_is_no_journal(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "j"
    if content is not None:
        path.write_bytes(content)
    done = CliRunner().invoke(main, ["journal", "show", str(path)])
    assert done.exit_code == 1
    assert f"journal '{path}'" in done.output
    assert path.exists() == (content is not None)
