"""docs/fault-matrix.md and the tests of its rows agree."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "fault-matrix.md"
ROW = re.compile(r"^\| (\d+) \|.*\|([^|]*)\|$", re.MULTILINE)
NAMED = re.compile(r"`(test_\w+\.py)::(test_row_\w+)`")
TEST = re.compile(r"^def (test_row_(\d\d)_\w+)\(", re.MULTILINE)
HEDGING = 57  # lambdamap never runs a chunk twice to get an earlier reply


def _rows() -> list[tuple[int, set[tuple[str, str]]]]:
    """Return the rows of the page: number, and file and name of each test."""
    return [
        (int(number), set(NAMED.findall(tests)))
        for number, tests in ROW.findall(PAGE.read_text(encoding="utf-8"))
    ]


def _tests_by_row() -> dict[int, set[tuple[str, str]]]:
    found: dict[int, set[tuple[str, str]]] = {}
    for path in Path(__file__).parent.glob("test_*.py"):
        for name, number in TEST.findall(path.read_text(encoding="utf-8")):
            found.setdefault(int(number), set()).add((path.name, name))
    return found


def test_rows_are_numbered_without_a_gap() -> None:
    assert [number for number, _ in _rows()] == list(range(1, len(_rows()) + 1))


def test_every_row_has_a_test_and_every_test_a_row() -> None:
    assert {number for number, _ in _rows()} - {HEDGING} == set(_tests_by_row())


def test_every_row_names_a_test_in_each_of_its_files() -> None:
    tests = _tests_by_row()
    for number, named in _rows():
        of_row = tests.get(number, set())
        assert named <= of_row, f"row {number} names {named - of_row}"
        assert {file for file, _ in named} == {file for file, _ in of_row}, f"row {number}"


def test_what_is_not_built_is_said() -> None:
    (line,) = re.findall(rf"^\| {HEDGING} \|.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert "Not built" in line and line.endswith("| none |")
