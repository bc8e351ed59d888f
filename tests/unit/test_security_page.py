"""Each promise of docs/security.md names a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def test_every_promise_has_a_test() -> None:
    tables = re.findall(r"^\| .+ \| Tested by \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert len(tables) == 4  # caller, worker, network, other users
    for row in "".join(tables).splitlines():
        found = re.fullmatch(r"\| .+ \| `(tests/[\w/]+\.py)::(test_\w+)` \|", row)
        assert found is not None, row
        source = (ROOT / found[1]).read_text(encoding="utf-8")
        assert re.search(rf"^def {found[2]}\(", source, re.MULTILINE), row
