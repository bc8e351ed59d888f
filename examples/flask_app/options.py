"""The query string of a request: what it may hold and what it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


class BadRequestError(ValueError):
    """The request cannot be answered; the text says what is wrong with it."""


@dataclass(frozen=True)
class Options:
    """One request's options, with the values they have when the query does not name them."""

    chunksize: int | Literal["auto"] = 5
    id_column: str = "id"
    value_column: str = "value"
    compression: bool = False
    invoke_lambda: bool = True

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Options:
        """Read the options from a query string's names and texts."""
        return cls(
            chunksize=_chunksize(query.get("chunksize", "5")),
            id_column=query.get("id_column", "id"),
            value_column=query.get("value_column", "value"),
            compression=_flag("compression", query.get("compression", "False")),
            invoke_lambda=_flag("invoke_lambda", query.get("invoke_lambda", "True")),
        )


def _chunksize(text: str) -> int | Literal["auto"]:
    if text == "auto":
        return "auto"
    # isdecimal() alone lets other alphabets' digits through, and int() takes "1_000" and " 5 ".
    if not (text.isascii() and text.isdecimal() and 0 < len(text) <= 9 and int(text) >= 1):
        raise BadRequestError(f"chunksize must be a whole number from 1 or 'auto', not {text!r}")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text not in ("True", "False"):
        raise BadRequestError(f"{name} must be 'True' or 'False', not {text!r}")
    return text == "True"
