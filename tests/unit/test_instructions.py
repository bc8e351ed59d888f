"""The instructions that an invocation costs stay within a twentieth of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import instructions
from certificates import Authority

DOCUMENT = instructions.ROOT / "docs" / "benchmarks.md"
MARGIN = 1.05


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_instructions_per_invocation(way: str, tmp_path: Path) -> None:
    if way == "tls":
        authority = Authority(tmp_path)
        counted = instructions.count(authority.context(), authority.ca_file)
    else:
        counted = instructions.count()
    assert 1_000 < counted.own < counted.all  # something was measured
    line = f"{way}, {instructions.suite()}: {counted.all:,.0f} / {counted.own:,.0f}"
    kept = instructions.recorded(DOCUMENT.read_text()).get(instructions.suite())
    if kept is None:
        print(f"{line}; nothing is recorded for this suite")
        return
    ceiling = kept[way == "tls"]
    assert counted.all <= MARGIN * ceiling.all, line
    assert counted.own <= MARGIN * ceiling.own, line


def test_the_table_is_read() -> None:
    table = "| bookworm, x86_64 | 98,542 / 10,113 | 120,000 / 11,000 |"
    plain, tls = instructions.recorded(table)["bookworm, x86_64"]
    assert (plain.all, plain.own, tls.all, tls.own) == (98_542, 10_113, 120_000, 11_000)
    kept = instructions.recorded(DOCUMENT.read_text())
    assert all(0 < c.own < c.all for pair in kept.values() for c in pair)
    assert "bookworm, x86_64" in kept
