"""CONTRIBUTING.md is true to the runner and to the tree."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "pylambdamap" / "lambdamap"


def test_every_task_is_described() -> None:
    dev = (ROOT / "dev").read_text(encoding="utf-8")
    tasks = set(re.findall(r"^task_(\w+)\(\)", dev, re.MULTILINE)) - {"help"}
    assert set(re.findall(r"^\./dev (\w+)", dev, re.MULTILINE)) == tasks  # ./dev help
    assert set(re.findall(r"^\| `\./dev (\w+)[^`]*` \|", PAGE, re.MULTILINE)) == tasks


def test_the_parts_of_the_benchmark_are_named() -> None:
    run = (ROOT / "benchmarks" / "run.py").read_text(encoding="utf-8")
    (parts,) = re.findall(r"^PARTS = \((.+?)\)$", run, re.MULTILINE | re.DOTALL)
    (line,) = re.findall(r"^\| `\./dev bench.*$", PAGE, re.MULTILINE)
    assert set(re.findall(r'"(\w+)"', parts)) <= set(re.findall(r"`(\w+)`", line))


def test_the_study_keeps_what_was_written_by_hand() -> None:
    """A part of its page, which is found by the start of a heading."""
    study = (ROOT / "benchmarks" / "study.py").read_text(encoding="utf-8")
    (heading,) = re.findall(r'^BY_HAND = "\\n(.+?)"', study, re.MULTILINE)
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert len(re.findall(f"^{heading}", page, re.MULTILINE)) == 1
    assert heading not in study.partition("TEXT =")[2]


def test_what_is_named_is_there() -> None:
    """Files and folders in backquotes, from the root or from the package."""
    named = re.findall(r"`([\w./-]+(?:/|\.(?:py|c|h|md)))`", PAGE)
    assert len(named) > 40
    gone = [
        name
        for name in named
        if not any((place / name).exists() for place in (ROOT, PACKAGE, ROOT / "csrc" / "core"))
        and name != "dist/"
    ]
    assert gone == ["Python.h"]


def test_every_folder_of_tests_is_named() -> None:
    tests = ROOT / "tests"
    shared = tests / "support"
    folders = {path for path in (*tests.iterdir(), *shared.iterdir()) if path.is_dir()} - {shared}
    rows = set(re.findall(r"^\| `(tests/[\w/]+/)` \|", PAGE, re.MULTILINE))
    assert rows == {f"{path.relative_to(ROOT)}/" for path in folders if "__" not in path.name}
