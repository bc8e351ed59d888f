"""Names of durable executions: each payload of `invoke_map` is submitted under its own name."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lambdamap import errors

__all__ = ["Names"]

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Names:
    """Makes a name when its payload is packed, and keeps it until the payload is submitted.

    Parameters
    ----------
    wanted
        A string with ``{index}``, or a callable that takes index and payload.

    Raises
    ------
    ConfigError
        The string has no ``{index}``.
    """

    def __init__(self, wanted: str | Callable[[int, Any], str]) -> None:
        if isinstance(wanted, str) and "{index}" not in wanted:
            raise errors.ConfigError(
                f"durable_execution_name must be a callable or a string with {{index}}, not {wanted!r}: "
                "each payload needs its own name"
            )
        self._wanted = wanted
        self._waiting: dict[int, str] = {}

    def make(self, index: int, payload: Any) -> None:
        wanted = self._wanted
        if isinstance(wanted, str):
            name: Any = wanted.replace("{index}", str(index))
        else:
            name = wanted(index, payload)
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise errors.ConfigError(
                f"item {index}: durable_execution_name must be 1 to 64 characters of A-Z a-z 0-9 - _, not "
                f"{name!r}",
                indices=(index,),
            )
        self._waiting[index] = name

    def naming(self, port: Any) -> Any:
        """Return a port that submits each chunk with its name."""
        return _NamedPort(port, self._waiting)


class _NamedPort:
    """A port that submits chunks of one payload with their names."""

    def __init__(self, port: Any, names: dict[int, str]) -> None:
        self._port = port
        self._names = names

    def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool:
        taken: bool = self._port.submit(frame, first_item, n_items, self._names[first_item])
        if taken:
            del self._names[first_item]
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._port, name)
