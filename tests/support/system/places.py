"""Where the project and what its tests share are, for processes that tests start."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["ROOT", "SUPPORT", "search_path"]

ROOT = Path(__file__).parents[3]
SUPPORT = [ROOT / "tests" / "support" / name for name in ("servers", "workers", "checks", "system")]


def search_path(*more: str | Path) -> str:
    """For PYTHONPATH: what tests share, then `more`, then what this process was given."""
    inherited = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(filter(None, [*map(str, SUPPORT), *map(str, more), inherited]))
