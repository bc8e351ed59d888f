"""Encode an exception as nodes."""

from __future__ import annotations

import contextlib
import operator
import sys
from collections.abc import Callable
from typing import Any

from lambdamap import _codec, errors
from lambdamap.shipping import lookup
from lambdamap.shipping.exceptions.classes import (
    ARGS,
    CAUSE,
    CHAIN,
    CONTEXT,
    GROUP,
    NODES,
    SCALARS,
    SUPPRESS,
    TEXT,
    Inexact,
    fields_of,
    is_group,
    lineage_of,
    why_not_data,
)

__all__ = ["nodes_of", "pack", "reduce"]


def nodes_of(
    root: BaseException, allow_pickle: bool, raised: bool, chain: bool = True
) -> list[dict[str, Any]]:
    """Return the nodes of an exception and of those that it refers to.

    Raises
    ------
    EncodeFailure
        There are too many.
    """
    found, places = [root], {id(root): 0}
    nodes: list[dict[str, Any]] = []

    def refer(error: BaseException) -> int:
        place = places.setdefault(id(error), len(found))
        if place == len(found):
            if place == NODES:
                text = f"the exception refers to more than {NODES:,} others"
                raise _codec.EncodeFailure(text, "")
            found.append(error)
        return place

    while len(nodes) < len(found):
        nodes.append(_node(found[len(nodes)], refer, allow_pickle, raised, raised))
    depth = dict.fromkeys(range(len(nodes)), 0)
    at = 0
    while chain and at < len(found):
        error, node = found[at], nodes[at]
        for name, descriptor in (("cause", CAUSE), ("context", CONTEXT)):
            other = descriptor.__get__(error)
            if other is None or (depth[at] >= CHAIN and id(other) not in places):
                continue
            node[name] = refer(other)
            while len(nodes) < len(found):
                depth[len(nodes)] = depth[at] + 1
                nodes.append(_node(found[len(nodes)], refer, allow_pickle, raised, True))
        if SUPPRESS.__get__(error):
            node["suppress"] = True
        at += 1
    return nodes


def _node(
    error: BaseException,
    refer: Callable[[BaseException], int],
    allow_pickle: bool,
    boxed: bool,
    loose: bool,
) -> dict[str, Any]:
    """Return the node of one exception.

    Parameters
    ----------
    boxed
        Each part is encoded as a frame of its own.
    loose
        What cannot be sent is left out rather than refused.
    """
    kind = type(error)
    lost: dict[str, str] = {}
    links: list[tuple[str, Any, int]] = []
    node: dict[str, Any] = {"class": lineage_of(kind)}

    def put(value: Any) -> Any:
        if boxed:
            return _codec.encode(
                value, allow_pickle=allow_pickle, compression=False, callables=allow_pickle
            )
        if loose and not _is_simple(value, 4):
            raise Inexact(f"a {type(value).__qualname__} is left out of the chain")
        return value

    def is_linked(value: Any) -> bool:
        kind = type(value)
        return issubclass(kind, BaseException) and (loose or why_not_data(kind) is None)

    def take(part: str, name: str, value: Any) -> None:
        if is_linked(value):
            links.append((part, name, refer(value)))
            return
        try:
            node.setdefault(part, {})[name] = put(value)
        except Exception as failure:
            lost[name] = _why(failure)

    if loose and not boxed:
        node["loose"] = True
    elif not loose and lookup.reference_to(kind) is None:
        node["kind"] = kind  # pickled, or refused
    args = ARGS.__get__(error)
    if is_group(kind):
        message = GROUP.message.__get__(error)
        node["message"] = str(message)
        members = GROUP.exceptions.__get__(error)
        node["members"] = [refer(member) for member in members]
        if (
            len(args) == 2
            and args[0] is message
            and type(args[1]) in (list, tuple)
            and len(args[1]) == len(members)
            and all(map(operator.is_, args[1], members))
        ):
            node["of"] = type(args[1]).__name__
    if "of" not in node:
        kept = list(args)
        for place, value in enumerate(args):
            if is_linked(value):
                links.append(("args", place, refer(value)))
                kept[place] = None
        try:
            node["args"] = put(tuple(kept))
        except Exception as failure:
            lost["args"] = _why(failure)
    for name, descriptor, known in fields_of(kind):
        try:
            value = descriptor.__get__(error, kind)
        except AttributeError:
            continue
        if value is None and known:
            continue
        if name == "obj" and known and (type(value) not in SCALARS or sys.getsizeof(value) > 999):
            continue  # the object without the attribute: usually code, and pickles omit it as well
        take("fields", name, value)
    for name, value in errors.own_dict(error).items():
        if type(name) is str:
            if name == "__notes__" and type(value) is list:
                value = [str.__str__(n) if isinstance(n, str) else n for n in value]
            take("vars", name, value)
    if links:
        node["links"] = links
    if loose:
        _describe_loosely(error, node, lost, allow_pickle and boxed)
    return node


def _is_simple(value: Any, depth: int) -> bool:
    """Return whether it can certainly be sent, by a cheap check."""
    kind = type(value)
    if kind in SCALARS:
        return True
    if kind is dict:
        pairs = (*value.keys(), *value.values())
        return depth > 0 and len(pairs) < 999 and all(_is_simple(v, depth - 1) for v in pairs)
    if kind in (list, tuple):
        return depth > 0 and len(value) < 999 and all(_is_simple(v, depth - 1) for v in value)
    return False


def _why(failure: Exception) -> str:
    if isinstance(failure, (_codec.EncodeFailure, Inexact)):
        return str(failure.args[0])
    return f"{type(failure).__name__}: {failure}"


def _describe_loosely(
    error: BaseException, node: dict[str, Any], lost: dict[str, str], may_pickle: bool
) -> None:
    """Add what replaces the parts of a node that cannot be sent."""
    if lost:
        node["lost"] = lost
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<str() of the exception raised {type(broken).__name__}>"
    node["text"] = text[:TEXT]
    if may_pickle and (lost or why_not_data(type(error)) is not None):
        from lambdamap.shipping import pickling

        try:
            node["pickle"] = pickling.dumps(error)
        except Exception:
            return


def reduce(error: BaseException) -> tuple[Any, ...] | None:
    """Return the nodes of an exception that is a value; None: only its own pickle can hold its state."""
    if why_not_data(type(error)) is not None:
        return None
    return tuple(nodes_of(error, False, False))


def pack(error: BaseException, allow_pickle: bool, max_chars: int) -> str | None:
    """Return an exception that f raised as a frame in text form; None: nothing of it can be sent.

    If it is longer than `max_chars`, the largest attributes are left out first, then the exceptions
    before it, then everything except its class.
    """
    try:
        for chain in (True, False):
            with contextlib.suppress(_codec.EncodeFailure):  # too many
                nodes = nodes_of(error, allow_pickle, True, chain)
                text = _codec.encode_text(nodes, compression=False)
                if len(text) > max_chars:
                    _lighten(nodes, (len(text) - max_chars) * 3 // 4 + 64)
                    text = _codec.encode_text(nodes, compression=False)
                if len(text) <= max_chars:
                    return text
        why = {"args": "too large"}
        text = _codec.encode_text(
            [{"class": lineage_of(type(error)), "lost": why}], compression=False
        )
        return text if len(text) <= max_chars else None
    except BaseException:  # raised by the exception's own code, such as hooks that pickling calls
        return None


def _lighten(nodes: list[dict[str, Any]], excess: int) -> None:
    """Leave out the largest parts until about `excess` bytes are gone."""
    parts = [
        (len(frame), place, part, name)
        for place, node in enumerate(nodes)
        for part in ("vars", "fields")
        for name, frame in node.get(part, {}).items()
    ]
    parts += [(len(n["pickle"]), at, "pickle", "") for at, n in enumerate(nodes) if "pickle" in n]
    for size, place, part, name in sorted(parts, reverse=True):
        if excess <= 0:
            return
        if part == "pickle":
            del nodes[place]["pickle"]
        else:
            del nodes[place][part][name]
            nodes[place].setdefault("lost", {})[name] = f"it takes {size:,} bytes"
        excess -= size
