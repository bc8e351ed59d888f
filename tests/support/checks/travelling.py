"""Round trips of exceptions, as replies and as values, and what tests check about them."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any

from lambdamap import _codec, errors
from lambdamap.shipping import exceptions

LIMIT = 16384
GROUP: Any = vars(builtins).get("ExceptionGroup")  # from Python 3.11 on


def through(error: BaseException, allow_pickle: bool = False, limit: int = LIMIT) -> Any:
    """Return the exception that the caller gets if f raises this one."""
    text = exceptions.pack(error, allow_pickle, limit)
    assert text is not None and len(text) <= limit
    return exceptions.unpack(text, allow_pickle, 4 * LIMIT)


def as_value(error: BaseException) -> Any:
    """Return the exception after a round trip as an item or a result."""
    return _codec.decode(_codec.encode(error))


def notes(error: BaseException) -> list[str]:
    return list(errors.own_dict(error).get("__notes__", ()))


def raised(function: Callable[[], Any]) -> Any:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def chained() -> Any:
    try:
        try:
            raise KeyError("first")
        except KeyError as error:
            error.detail = 1  # type: ignore[attr-defined]
            raise OSError(2, "second", "name") from error
    except OSError:
        return raised(lambda: int("third"))


class SlotsError(ValueError):
    __slots__ = ("_SlotsError__private", "place", "unset")

    def __init__(self, place: Any) -> None:
        super().__init__("slots")
        self.place = place
        self.__private = 7
