"""Checks of nodes before anything is built from them, and of fields that would make Python do harm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambdamap import _codec
from lambdamap.shipping.exceptions.classes import NAME, NODES, SHOWN

__all__ = ["check_nodes", "check_shown", "fits_unicode", "take_unsafe"]

_COLUMNS = 10_000  # in the source line of a SyntaxError


def _is_entry(entry: Any) -> bool:
    return (
        type(entry) in (tuple, list)
        and len(entry) == 3
        and all(type(part) is str and len(part) <= NAME for part in entry)
    )


def _is_link(link: Any, nodes: int) -> bool:
    if type(link) not in (tuple, list) or len(link) != 3:
        return False
    part, name, index = link
    return type(part) is str and type(name) in (str, int) and _is_place(index, nodes)


def _has_names(values: Any) -> bool:
    return type(values) is dict and all(type(name) is str for name in values)


def _is_place(index: Any, nodes: int) -> bool:
    return type(index) is int and 0 <= index < nodes


# The parts of a node that describe its exception. The values in "args", "vars" and "fields" may be
# anything, and "kind" and "pickle" are checked where they are used.
_PARTS: dict[str, Callable[[Any, int], bool]] = {
    "class": lambda entries, _: (
        type(entries) in (list, tuple) and len(entries) > 0 and all(map(_is_entry, entries))
    ),
    "vars": lambda values, _: _has_names(values),
    "fields": lambda values, _: _has_names(values),
    "links": lambda links, n: (
        type(links) in (list, tuple) and all(_is_link(link, n) for link in links)
    ),
    "message": lambda text, _: type(text) is str,
    "members": lambda places, n: (
        type(places) in (list, tuple) and all(_is_place(place, n) for place in places)
    ),
    "of": lambda name, _: type(name) is str and name in ("list", "tuple"),
    "cause": _is_place,
    "context": _is_place,
    "suppress": lambda flag, _: type(flag) is bool,
    "text": lambda text, _: type(text) is str,
    "lost": lambda whys, _: _has_names(whys) and all(type(why) is str for why in whys.values()),
    "loose": lambda flag, _: type(flag) is bool,
}


def check_nodes(nodes: Sequence[Any]) -> None:
    """Refuse nodes that violate docs/wire-format.md, before anything is built from them."""
    if not 0 < len(nodes) <= NODES:
        raise _codec.DecodeFailure(f"invalid number of exceptions: {len(nodes)}")
    for node in nodes:
        if type(node) is not dict or "class" not in node:
            raise _codec.DecodeFailure("exception without a class")
        for name, is_right in _PARTS.items():
            if name in node and not is_right(node[name], len(nodes)):
                raise _codec.DecodeFailure(f"invalid {name!r} in an exception")


def check_shown(nodes: Sequence[Any]) -> None:
    """Refuse exceptions that contain each other in so many ways that formatting one would never end.

    An exception contained in two others is shown twice, and what it contains four times if it contains
    it twice.
    """
    inside = [
        [*node.get("members", ()), *(i for part, _, i in node.get("links", ()) if part == "args")]
        for node in nodes
    ]
    if not any(inside):
        return
    held = {place for places in inside for place in places}
    seen: set[int] = set()
    shown = 0
    # Start with those that no other contains; the rest are in cycles.
    for root in sorted(range(len(nodes)), key=held.__contains__):
        if root in seen:
            continue
        path, ways = {root: None}, [iter(inside[root])]
        while ways:
            for place in ways[-1]:
                seen.add(place)
                shown += 1
                if place not in path:
                    path[place] = None
                    ways.append(iter(inside[place]))
                    break
            else:
                ways.pop()
                path.popitem()
            if shown > SHOWN:
                raise _codec.DecodeFailure(
                    f"exceptions contain each other more than {SHOWN:,} times"
                )


# --- fields of built-in classes ------------------------------------------------------------------


_UNICODE_FIELDS = frozenset(("encoding", "end", "object", "reason", "start"))


def fits_unicode(kind: type, fields: Mapping[str, Any], links: Sequence[Any]) -> bool:
    """Return whether the fields are valid for a UnicodeError, if it is one.

    Before Python 3.14 its ``str()`` does not check their types, and would read the memory of another
    object as if it were a str.
    """
    if not issubclass(kind, (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)):
        return True
    if any(part == "fields" and name in _UNICODE_FIELDS for part, name, _ in links):
        return False
    of = bytes if issubclass(kind, UnicodeDecodeError) else str
    names = ["reason"] if issubclass(kind, UnicodeTranslateError) else ["reason", "encoding"]
    given, texts = fields.get("object"), [fields.get(name) for name in names]
    start, end = fields.get("start", 0), fields.get("end", 0)
    if given is None and texts.count(None) == len(texts):
        return True
    return (
        type(given) is of
        and all(type(text) is str for text in texts)
        and type(start) is int
        and type(end) is int
        and 0 <= start <= len(given)
        and 0 <= end <= sys.maxsize
    )


def take_unsafe(kind: type, fields: dict[str, Any]) -> dict[str, str]:
    """Remove fields that make Python do harm when it shows the exception; return why, by name.

    For an ImportError with a ``name_from`` Python (since 3.12) imports the module ``name`` to suggest
    another name. Below a SyntaxError's text it prints as many characters as its columns say.
    """
    taken = {}
    if issubclass(kind, ImportError) and "name_from" in fields:
        name = fields.get("name")
        if type(name) is not str or name not in sys.modules:
            taken["name_from"] = "to show it, Python would import the module"
    if issubclass(kind, SyntaxError):
        for name in ("offset", "end_offset"):
            if type(fields.get(name)) is int and abs(fields[name]) > _COLUMNS:
                taken[name] = "it is too large"
    for name in taken:
        del fields[name]
    return taken
