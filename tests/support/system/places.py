"""The folders of the project and of code shared by tests, for processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ROOT", "SUPPORT", "search_path"]

ROOT = Path(__file__).parents[3]
SUPPORT = [ROOT / "tests" / "support" / name for name in ("servers", "workers", "checks", "system")]


def search_path(*more: str | Path) -> str:
    """Return a PYTHONPATH: shared test code, then `more`, then that of this process."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [*map(str, SUPPORT), *map(str, more), inherited]))
