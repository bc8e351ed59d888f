"""Rebuild an exception from its nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lambdamap import _codec, errors
from lambdamap.shipping import lookup
from lambdamap.shipping.exceptions.checks import check_nodes, check_shown, fits_unicode, take_unsafe
from lambdamap.shipping.exceptions.classes import (
    ARGS,
    CAUSE,
    CONTEXT,
    SUPPRESS,
    TEXT,
    UNPACKED_BYTES,
    Find,
    Inexact,
    bare,
    fields_of,
    find_class,
    is_exception,
    why_it_stays_remote,
    why_not_data,
)
from lambdamap.shipping.exceptions.standins import complete, stand_in

__all__ = ["restore", "unpack"]


class _Builder:
    """Rebuilds the exceptions of one list of nodes."""

    def __init__(
        self,
        nodes: Sequence[Any],
        find: Find,
        unbox: Callable[[Any], Any],
        raised: bool,
        allow_pickle: bool,
    ) -> None:
        self._nodes = nodes
        self._find = find
        self._unbox = unbox
        self._raised = raised
        self._allow_pickle = allow_pickle
        self._made: dict[int, BaseException] = {}
        self._stand_ins: set[int] = set()  # indices in _made

    def build(self) -> BaseException:
        check_nodes(self._nodes)
        check_shown(self._nodes)
        for place in range(len(self._nodes)):
            self._make_with_members(place)
        for place, node in enumerate(self._nodes):
            self._connect(place, node)
        return self._made[0]

    def _make_with_members(self, root: int) -> None:
        stack, open_groups = [root], set()
        while stack:
            place = stack[-1]
            node = self._nodes[place]
            missing = [m for m in node.get("members", ()) if m not in self._made]
            if place in self._made:
                stack.pop()
            elif not missing:
                self._made[place] = self._make(place)
                stack.pop()
            elif place in open_groups:
                raise _codec.DecodeFailure("exception group contains itself")
            else:
                open_groups.add(place)
                stack.extend(missing)

    def _make(self, place: int) -> BaseException:
        node = self._nodes[place]
        top = place == 0 and self._raised
        members = [self._made[place] for place in node.get("members", ())]
        loose = self._raised or node.get("loose") is True
        lost = dict(node.get("lost", {}))
        try:
            pickled = "kind" in node and not self._raised
            kind = node["kind"] if pickled else self._class_of(node)
            if not is_exception(kind):
                raise Inexact("its class is not an exception")
            if top and (why_remote := why_it_stays_remote(kind)) is not None:
                raise Inexact(why_remote)
            made = self._unpickled(node, kind)
            if made is not None:
                return made
            made = self._exact(kind, node, members, lost)
        except Inexact as why:
            if not loose:
                raise _codec.DecodeFailure(f"exception cannot be rebuilt: {why}") from None
            self._stand_ins.add(place)
            made = self._stand_in(node, members, str(why))
        for name, why_lost in lost.items():
            if name != "args":
                what = "notes" if name == "__notes__" else f"attribute {name[:TEXT]}"
                errors.note(made, f"lambdamap: its {what} was not sent: {why_lost[:TEXT]}")
        return made

    def _class_of(self, node: dict[str, Any]) -> type:
        module, qualname, _ = node["class"][0]
        try:
            return find_class(node["class"][0], self._find)
        except (
            Exception,
            SystemExit,
        ) as error:  # raised by importing the module, if that is allowed
            if not (self._raised or node.get("loose") is True):
                raise
            if not module or isinstance(error, LookupError):
                raise Inexact(str(error)) from None
            raise Inexact(f"{module}:{qualname} is not imported here") from None

    def _unpickled(self, node: dict[str, Any], kind: type) -> BaseException | None:
        if not self._allow_pickle or type(node.get("pickle")) is not bytes:
            return None
        import pickle

        try:
            made = pickle.loads(node["pickle"])
        except Exception:
            return None
        return made if isinstance(made, BaseException) and type(made) is kind else None

    def _exact(
        self, kind: type, node: dict[str, Any], members: list[Any], lost: dict[str, str]
    ) -> BaseException:
        if (why := why_not_data(kind)) is not None:
            raise Inexact(why)
        if "of" in node:
            args: Any = (node["message"], members if node["of"] == "list" else tuple(members))
        elif "args" not in node:
            raise Inexact(f"its args were not sent: {lost.get('args')}")
        else:
            try:
                args = self._unbox(node["args"])
            except _codec.DecodeFailure as failure:
                raise Inexact(f"its args cannot be decoded here: {failure}") from None
        if type(args) is not tuple:
            raise Inexact("its args are not a tuple")
        fields = self._opened(node, "fields", lost)
        if not fits_unicode(kind, fields, node.get("links", ())):
            raise Inexact("its fields are not those of a UnicodeError")
        lost.update(take_unsafe(kind, fields))
        made: BaseException = bare(kind, node.get("message", ""), members)
        ARGS.__set__(made, args)
        for name, descriptor, _ in fields_of(kind):
            if name in fields:
                try:
                    descriptor.__set__(made, fields.pop(name))
                except (AttributeError, TypeError, ValueError, OverflowError) as error:
                    lost[name] = str(error)
        lost.update(dict.fromkeys(fields, "its class has no such slot here"))
        errors.own_dict(made).update(self._vars(node, lost))
        return made

    def _opened(self, node: dict[str, Any], part: str, lost: dict[str, str]) -> dict[str, Any]:
        opened = {}
        for name, value in node.get(part, {}).items():
            try:
                opened[name] = self._unbox(value)
            except _codec.DecodeFailure as failure:
                lost[name] = str(failure)
        return opened

    def _vars(self, node: dict[str, Any], lost: dict[str, str]) -> dict[str, Any]:
        opened = self._opened(node, "vars", lost)
        return {k: v for k, v in opened.items() if type(k) is str and _may_be_set(k)}

    def _stand_in(self, node: dict[str, Any], members: list[Any], why: str) -> errors.RemoteError:
        made = stand_in(node["class"], self._find, node.get("message", ""), members)
        _, qualname, _ = node["class"][0]
        own = errors.own_dict(made)
        known = dict(own)
        own.update(self._vars(node, {}))
        own.update(known)
        complete(made, f"{own['remote_type']}: {node.get('text', '')[:TEXT]}", {})
        errors.note(made, f"lambdamap: it is a RemoteError, not a {qualname}: {why}")
        return made

    def _connect(self, place: int, node: dict[str, Any]) -> None:
        """Set the references to other exceptions."""
        made = self._made[place]
        own = errors.own_dict(made)
        fields = {name: descriptor for name, descriptor, _ in fields_of(type(made))}
        for part, name, index in node.get("links", ()):
            other = self._made[index]
            if part == "args":
                args = list(ARGS.__get__(made))
                known = place not in self._stand_ins and type(name) is int
                if known and 0 <= name < len(args):
                    args[name] = other
                    ARGS.__set__(made, tuple(args))
            elif part == "vars" and type(name) is str and _may_be_set(name):
                own.setdefault(name, other)
            elif part == "fields" and name in fields:
                fields[name].__set__(made, other)
        if "cause" in node:
            CAUSE.__set__(made, self._made[node["cause"]])
        if "context" in node:
            CONTEXT.__set__(made, self._made[node["context"]])
        SUPPRESS.__set__(made, node.get("suppress") is True)


def _may_be_set(name: str) -> bool:
    """Return False for an attribute that would hide what every exception has, such as its reducer."""
    return not (name.startswith("__") and hasattr(BaseException, name))


def restore(find: Find, nodes: Sequence[Any]) -> BaseException:
    """Return the exception that `reduce` encoded.

    Raises
    ------
    DecodeFailure
        It cannot be rebuilt exactly. Also what `find` raises.
    """
    return _checked_build(_Builder(nodes, find, lambda value: value, False, False))


def _checked_build(builder: _Builder) -> BaseException:
    try:
        return builder.build()
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _codec.DecodeFailure(
            f"malformed exception ({type(error).__name__}: {error})"
        ) from None


def unpack(
    text: object, allow_pickle: bool, max_chars: int, max_bytes: int = UNPACKED_BYTES
) -> BaseException | None:
    """Return the exception that `pack` encoded, or a `stand_in`; None: the text is not such a frame, or
    would take more than `max_bytes`."""
    if not isinstance(text, str) or len(text) > max_chars:
        return None
    find = lookup.TRUSTED.type if allow_pickle else lookup.DATA.type
    try:
        nodes = _codec.decode_text(text, max_output_bytes=max_bytes)
        boxes = sum(1 + len(node.get("vars", ())) + len(node.get("fields", ())) for node in nodes)
        limit = max_bytes // max(1, boxes)

        def unbox(frame: Any) -> Any:
            return _codec.decode(frame, allow_pickle=allow_pickle, max_output_bytes=limit)

        return _checked_build(_Builder(nodes, find, unbox, True, allow_pickle))
    except Exception:  # the text may be anything
        return None
