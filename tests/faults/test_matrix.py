"""Every row of the fault matrix has a test of its number."""

from __future__ import annotations

import re
from pathlib import Path

HEDGING = 57  # lambdamap never runs a chunk twice to be faster


def test_every_row_has_a_test() -> None:
    found = {
        int(number)
        for path in Path(__file__).parent.glob("test_*.py")
        for number in re.findall(r"^def test_row_(\d\d)_\w+\(", path.read_text(), re.MULTILINE)
    }
    assert found == set(range(1, 67)) - {HEDGING}
