"""The instructions that an invocation costs stay within a twentieth of docs/benchmarks.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import instructions
from certificates import Authority

DOCUMENT = instructions.ROOT / "docs" / "benchmarks.md"
MARGIN = 1.05
# On a loaded machine one of two runs may open more connections, whose handshakes count as well.
ATTEMPTS = 4


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_instructions_per_invocation(way: str, tmp_path: Path) -> None:
    authority = Authority(tmp_path) if way == "tls" else None
    kept = instructions.recorded(DOCUMENT.read_text()).get(instructions.suite())
    for attempt in range(ATTEMPTS):
        if authority is None:
            counted = instructions.count()
        else:
            counted = instructions.count(authority.context(), authority.ca_file)
        assert 1_000 < counted.own < counted.all  # something was measured
        line = f"{way}, {instructions.suite()}: {counted.all:,.0f} / {counted.own:,.0f}"
        if kept is None:
            print(f"{line}; nothing is recorded for this suite")
            return
        ceiling = kept[way == "tls"]
        if counted.all <= MARGIN * ceiling.all and counted.own <= MARGIN * ceiling.own:
            return
        print(f"attempt {attempt + 1}: {line}")
    pytest.fail(f"{line}, above {ceiling.all:,.0f} / {ceiling.own:,.0f} each time")


def test_the_table_is_read() -> None:
    table = "| bookworm, x86_64 | 98,542 / 10,113 | 120,000 / 11,000 |"
    plain, tls = instructions.recorded(table)["bookworm, x86_64"]
    assert (plain.all, plain.own, tls.all, tls.own) == (98_542, 10_113, 120_000, 11_000)
    kept = instructions.recorded(DOCUMENT.read_text())
    assert all(0 < c.own < c.all for pair in kept.values() for c in pair)
    assert "bookworm, x86_64" in kept
