"""The table of failures: against the core that tells them apart, the worker, and the pages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from core_driver import ask
from lambdamap import _net, errors
from lambdamap.flight import failures
from lambdamap.shipping import envelope

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pylambdamap" / "lambdamap"
RAN = ("NOT", "MAYBE", "RAN")
KINDS = [*failures.INVOCATION.values(), *failures.REPLY.values()]
RAISED_HERE = {errors.EncodeError: {"NOT"}}  # before anything is sent


def test_the_core_tells_the_same_kinds_apart() -> None:
    assert tuple(failures.INVOCATION) == _net.FAILURES


def outcomes() -> set[tuple[str, str]]:
    """Kind and word of each row of the core's tables."""
    text = (ROOT / "csrc/core/policy/outcome.c").read_text()
    rows = re.findall(r'^    \{(\d+), (?:NULL|"([^"]+)"),\s+ROW', text, re.MULTILINE)
    assert len(rows) > 80
    said = set()
    for answer in ask(
        ("outcome", status if status != "0" else "500", function_error, name)
        for status, name in rows
        for function_error in "01"
    ):
        ran, failure, *_ = map(int, answer.split())
        said.add((_net.FAILURES[failure - 1], RAN[ran]))
    return said


def test_the_core_says_of_f_what_the_table_allows() -> None:
    said = outcomes()
    assert ("too_large", "RAN") in said and ("service", "MAYBE") in said
    assert [(kind, ran) for kind, ran in said if ran not in failures.INVOCATION[kind].ran] == []


def test_the_worker_says_known_kinds() -> None:
    said = set()
    for path in (PACKAGE / "worker").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id="_Failure" | "Failure"), args=[ast.Constant(str(kind)), *_]
                ):
                    said.add(kind)
                case ast.Dict(
                    keys=[ast.Constant("kind"), *_], values=[ast.Constant(str(kind)), *_]
                ):
                    said.add(kind)
    assert {"init", "size"} <= said <= set(failures.REPLY)


def test_the_envelope_knows_of_which_kinds_f_has_run() -> None:
    ran = {name for name, kind in failures.REPLY.items() if kind.ran == ("RAN",)}
    assert ran == set(envelope._OF_ITEMS)


def test_the_wire_format_names_each_kind() -> None:
    page = (ROOT / "docs/wire-format.md").read_text()
    (listed,) = re.findall(r"^Kinds are .*?; later releases", page, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == set(failures.REPLY)


def test_the_page_of_errors_says_of_each_class_what_the_table_does() -> None:
    page = (ROOT / "docs/errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| `\w+` \| .* \| ([^|]+) \|$", page, re.MULTILINE)
    documented = {name: set(re.findall("NOT|MAYBE|RAN", words)) for name, words in rows}
    for made in {kind.error for kind in KINDS}:
        if made is None or not issubclass(made, errors.LambdaMapError):
            continue
        words = {word for kind in KINDS if kind.error is made for word in kind.ran}
        assert documented[made.__name__] == words | RAISED_HERE.get(made, set()), made
