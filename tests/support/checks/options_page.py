"""Generates the tables in docs/options.md from the options; run it to update the page."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from lambdamap.options import DECLARED, Options

__all__ = ["PAGE", "with_tables"]

PAGE = Path(__file__).parents[3] / "docs" / "options.md"
_HEAD = "| Option | Default | Environment | Commands | Means |\n|---|---|---|---|---|\n"


def _row(name: str, default: object) -> str:
    option = DECLARED[name]
    cells = (
        f"`{name}`",
        f"`{default!r}`".replace("'", '"'),
        "no" if option.kind.parse is None else "yes",
        "yes" if option.flag else "no",
        re.sub(r'("\w+")', r"`\1`", option.doc.replace("``", "`")),
    )
    return f"| {' | '.join(cells)} |\n"


def with_tables(page: str) -> str:
    """Return the page with the table under each group's heading replaced."""
    tables: dict[str, str] = {}
    for field in dataclasses.fields(Options):
        group = DECLARED[field.name].group
        tables[group] = tables.get(group, _HEAD) + _row(field.name, field.default)
    for group, table in tables.items():
        under = re.compile(rf"(?<=^## {re.escape(group)}\n\n)(?:\|.*\n)+", re.MULTILINE)
        page, times = under.subn(table, page)
        assert times == 1, f"no heading {group!r} with a table under it"
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
