"""Functions that tests apply to groups."""

from __future__ import annotations

from typing import Any

import pandas as pd


def span(group: pd.DataFrame) -> float:
    return float(group["x"].max() - group["x"].min())


def count(group: Any) -> int:
    return len(group)


def key_and_columns(group: Any) -> tuple[Any, list[str]]:
    return group.name, list(getattr(group, "columns", []))


def describe(group: pd.DataFrame) -> pd.DataFrame:
    return group.describe()


def fail_at_b(group: Any) -> int:
    if group.name == "b":
        raise ValueError("no b today")
    return len(group)


def say(group: Any) -> None:
    print("group", group.name)
