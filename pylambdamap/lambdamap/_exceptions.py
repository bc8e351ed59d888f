"""Exceptions as data: their state is read, and set again, without running any code of their class.

The state of an exception is its class, its ``args``, its own ``__dict__``, its slots, the fields of
the built-in class that it extends, and the exceptions that it refers to: the members of a group,
``__cause__``, ``__context__``, and those among its arguments and attributes. It travels as a list of
*nodes*, the exception itself first, that refer to each other by index: each exception stands there
once, however many refer to it.

There are two uses. A *value* (an item or a result, `reduce` and `restore`) is exact or refused, as
all values are. An exception that f *raised* (`pack` and `unpack`) brings what can travel, each part in
a frame of its own; what cannot is left out and a note says so. Where the exception itself cannot be
rebuilt, a `stand_in` comes in its place: a RemoteError that is also the nearest base class found here.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lambdamap import _codec, _names, errors

__all__ = [
    "UNPACKED_BYTES", "Find", "complete", "pack", "reduce", "restore", "stand_in", "unpack",
]  # fmt: skip

Find = Callable[[str, str], type]  # a class by module and qualname; raises when there is none

_CHAIN = 16  # exceptions along __cause__ and __context__
_NODES = 10_000  # in one list
_TEXT = 1000  # characters of str() of an exception in the chain, and of what is said of one
_NAME = 4096  # characters of a class's module or qualname
_SHOWN = 100_000  # exceptions that one shows in all, each as often as it stands in others
UNPACKED_BYTES = 64 << 20  # that all parts of a raised exception may take together
_SCALARS = frozenset((type(None), bool, int, float, complex, str, bytes))
_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_DICT_AND_WEAKREF = 16  # bytes that a class statement without __slots__ may add to an instance

_BUILTINS = frozenset(
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)
_BUILTIN_NAMES = {kind.__name__: kind for kind in _BUILTINS}
_BUILTIN_IDS = frozenset(map(id, _BUILTINS))  # a metaclass may have a say in what is equal
_GROUP: Any = vars(builtins).get("BaseExceptionGroup", ())  # no class in Python 3.10
# They steer the interpreter or its caller, and would do so to the caller of a map.
_STEERING = (StopIteration, StopAsyncIteration, GeneratorExit, SystemExit, KeyboardInterrupt)
_CANCELLED = (
    ("asyncio.exceptions", "CancelledError"),
    ("concurrent.futures._base", "CancelledError"),
)

_type_dict: Callable[[type], Mapping[str, Any]] = type.__dict__["__dict__"].__get__
_type_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_type_base: Callable[[type], type] = type.__dict__["__base__"].__get__
_type_size: Callable[[type], int] = type.__dict__["__basicsize__"].__get__
_type_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
_type_module: Callable[[type], Any] = type.__dict__["__module__"].__get__
_type_qualname: Callable[[type], Any] = type.__dict__["__qualname__"].__get__
_args: Any = BaseException.__dict__["args"]
_cause: Any = BaseException.__dict__["__cause__"]
_context: Any = BaseException.__dict__["__context__"]
_suppress: Any = BaseException.__dict__["__suppress_context__"]


class _Inexact(Exception):
    """An exception cannot be rebuilt as what it was; the text says why."""


def _is_exception(kind: object) -> bool:
    return issubclass(type(kind), type) and issubclass(kind, BaseException)  # type: ignore[arg-type]


def _is_built_in(kind: type) -> bool:
    return id(kind) in _BUILTIN_IDS


def _is_group(kind: type) -> bool:
    return issubclass(kind, _GROUP)


# --- the class ------------------------------------------------------------------------------------


def _why_not_data(kind: type) -> str | None:
    """Why there is state that only the class itself can read and set; None: there is none."""
    for part in _type_mro(kind):
        if _is_built_in(part) or part is object:
            continue
        own = _type_dict(part)
        grown = _type_size(part) - _type_size(_type_base(part))
        if (
            not _type_flags(part) & _HEAP_TYPE
            or type(own.get("__new__")) is types.BuiltinFunctionType
            or (grown > _DICT_AND_WEAKREF and "__slots__" not in own)
        ):
            return (
                f"{_type_qualname(part)} is written in C, and its state is not accessible as data: "
                "pass allow_pickle=True to use its pickle"
            )
    return None


def _fields(kind: type) -> Iterator[tuple[str, Any, bool]]:
    """Name and descriptor of what an instance holds outside of its ``__dict__``, and whether the
    descriptor is a built-in class's. None in such a field means that nothing was set."""
    seen = set()
    for part in _type_mro(kind):
        if part is BaseException or part is object:
            continue
        known = _is_built_in(part)
        if not known and "__slots__" not in _type_dict(part):
            continue
        for name, descriptor in _type_dict(part).items():
            if type(descriptor) is not types.MemberDescriptorType and not (
                known and type(descriptor) is types.GetSetDescriptorType
            ):
                continue
            if name in seen or (known and name.startswith("__")) or part is _GROUP:
                continue
            seen.add(name)
            yield name, descriptor, known


def _bare(kind: type, message: str = "", members: Sequence[BaseException] = ()) -> Any:
    """An instance on which no code of its class has run."""
    base = kind
    while not _is_built_in(base):
        base = _type_base(base)
    new: Callable[..., Any] = base.__new__
    try:
        made = new(kind, message, list(members)) if _is_group(kind) else new(kind)
    except (TypeError, ValueError) as error:
        raise _Inexact(str(error)) from None
    if type(made) is not kind:
        raise _Inexact(f"{_type_qualname(base)} made a {type(made).__qualname__} of it")
    return made


def _tracker(table: str) -> Any:
    """cloudpickle's table of the classes that have travelled by value, which no module holds."""
    return getattr(sys.modules.get("cloudpickle.cloudpickle"), table, None) or {}


def _entry(kind: type) -> tuple[str, str, str]:
    """What the other side finds a class by: module, qualname, and its id if it travelled by value.
    The module is "" where its name leads to another class or to none."""
    module, qualname = _type_module(kind), _type_qualname(kind)
    if type(module) is not str or type(qualname) is not str:
        return "", "", ""
    try:
        ident = _tracker("_DYNAMIC_CLASS_TRACKER_BY_CLASS").get(kind) or ""
    except Exception:  # a metaclass without a hash
        ident = ""
    if ident or _names.is_main(module) or _names.reference_to(kind) is not None:
        return module, qualname, str(ident)
    return "", qualname, ""


def _lineage(kind: type) -> list[tuple[str, str, str]]:
    """The class and those that it extends, down to the first that every side has."""
    entries = []
    for part in _type_mro(kind):
        if issubclass(part, BaseException):
            entries.append(_entry(part))
            if _is_built_in(part):
                break
    return entries


def _last(qualname: str) -> str:
    return qualname.rpartition(".")[2]


def _find_class(entry: Any, find: Find) -> type:
    """The class of an entry; raises when there is none, or it is not an exception."""
    module, qualname, ident = entry
    if ident:
        found = _tracker("_DYNAMIC_CLASS_TRACKER_BY_ID").get(ident)
        # cloudpickle makes it anew without the part of its qualname before the last dot.
        if _is_exception(found) and _last(_type_qualname(found)) == _last(qualname):
            return found  # type: ignore[no-any-return]
    if module == "builtins":
        known = _BUILTIN_NAMES.get(qualname)
        if known is None:
            raise LookupError(f"there is no exception {qualname} in this Python")
        return known
    if not module:
        raise LookupError(f"no name leads to the class {qualname}")
    named = find(module, qualname)
    if not _is_exception(named):
        raise LookupError(f"{module}:{qualname} is not an exception here")
    return named


def _why_it_stays_remote(kind: type) -> str | None:
    """Why an exception of f's of that class never comes out of a map as itself; None: it does."""
    if issubclass(kind, errors.LambdaMapError):
        return "it concerns a map that the function started"
    if issubclass(kind, _STEERING) or any(
        (_type_module(part), _type_qualname(part)) in _CANCELLED for part in _type_mro(kind)
    ):
        return "it would affect the caller's own control flow"
    return None


# --- reading ----------------------------------------------------------------------------------------


def _nodes_of(
    root: BaseException, allow_pickle: bool, raised: bool, chain: bool = True
) -> list[dict[str, Any]]:
    """The nodes of an exception and of those that it refers to.

    Raises
    ------
    EncodeFailure
        They are too many.
    """
    found, places = [root], {id(root): 0}
    nodes: list[dict[str, Any]] = []

    def refer(error: BaseException) -> int:
        place = places.setdefault(id(error), len(found))
        if place == len(found):
            if place == _NODES:
                text = f"an exception that refers to more than {_NODES:,} others"
                raise _codec.EncodeFailure(text, "")
            found.append(error)
        return place

    while len(nodes) < len(found):
        nodes.append(_node(found[len(nodes)], refer, allow_pickle, raised, raised))
    depth = dict.fromkeys(range(len(nodes)), 0)
    at = 0
    while chain and at < len(found):
        error, node = found[at], nodes[at]
        for name, descriptor in (("cause", _cause), ("context", _context)):
            other = descriptor.__get__(error)
            if other is None or (depth[at] >= _CHAIN and id(other) not in places):
                continue
            node[name] = refer(other)
            while len(nodes) < len(found):
                depth[len(nodes)] = depth[at] + 1
                nodes.append(_node(found[len(nodes)], refer, allow_pickle, raised, True))
        if _suppress.__get__(error):
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
    """One exception.

    Parameters
    ----------
    boxed
        Each part goes into a frame of its own.
    loose
        What cannot travel is left out, rather than refused.
    """
    kind = type(error)
    lost: dict[str, str] = {}
    links: list[tuple[str, Any, int]] = []
    node: dict[str, Any] = {"class": _lineage(kind)}

    def put(value: Any) -> Any:
        if boxed:
            return _codec.encode(
                value, allow_pickle=allow_pickle, compression=False, callables=allow_pickle
            )
        if loose and not _is_simple(value, 4):
            raise _Inexact(f"in the chain of a value, a {type(value).__qualname__} is left out")
        return value

    def take(part: str, name: str, value: Any) -> None:
        if issubclass(type(value), BaseException) and (loose or _why_not_data(type(value)) is None):
            links.append((part, name, refer(value)))
            return
        try:
            node.setdefault(part, {})[name] = put(value)
        except Exception as failure:
            lost[name] = _why(failure)

    if loose and not boxed:
        node["loose"] = True
    elif not loose and _names.reference_to(kind) is None:
        node["kind"] = kind  # pickled, or refused
    args = _args.__get__(error)
    if _is_group(kind):
        node["message"] = str(_GROUP.message.__get__(error))
        members = _GROUP.exceptions.__get__(error)
        node["members"] = [refer(member) for member in members]
        if (
            len(args) == 2
            and args[0] is _GROUP.message.__get__(error)
            and type(args[1]) in (list, tuple)
            and len(args[1]) == len(members)
            and all(map(_is_same, args[1], members))
        ):
            node["of"] = type(args[1]).__name__
    if "of" not in node:
        plain = list(args)
        for place, value in enumerate(args):
            if issubclass(type(value), BaseException) and (
                loose or _why_not_data(type(value)) is None
            ):
                links.append(("args", place, refer(value)))
                plain[place] = None
        try:
            node["args"] = put(tuple(plain))
        except Exception as failure:
            lost["args"] = _why(failure)
    for name, descriptor, known in _fields(kind):
        try:
            value = descriptor.__get__(error, kind)
        except AttributeError:
            continue
        if value is None and known:
            continue
        if name == "obj" and known and (type(value) not in _SCALARS or sys.getsizeof(value) > 999):
            continue  # what an attribute was looked for in: mostly code, and pickles have it not either
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
    """Whether it can travel for sure, by a look that costs little."""
    kind = type(value)
    if kind in _SCALARS:
        return True
    if kind is dict:
        pairs = (*value.keys(), *value.values())
        return depth > 0 and len(pairs) < 999 and all(_is_simple(v, depth - 1) for v in pairs)
    if kind in (list, tuple):
        return depth > 0 and len(value) < 999 and all(_is_simple(v, depth - 1) for v in value)
    return False


def _is_same(one: object, other: object) -> bool:
    return one is other


def _why(failure: Exception) -> str:
    if isinstance(failure, (_codec.EncodeFailure, _Inexact)):
        return str(failure.args[0])
    return f"{type(failure).__name__}: {failure}"


def _describe_loosely(
    error: BaseException, node: dict[str, Any], lost: dict[str, str], may_pickle: bool
) -> None:
    """What stands for the parts of a node that do not travel."""
    if lost:
        node["lost"] = lost
    try:
        text = str(error)
    except BaseException as broken:
        text = f"<str() of the exception raised {type(broken).__name__}>"
    node["text"] = text[:_TEXT]
    if may_pickle and (lost or _why_not_data(type(error)) is not None):
        from lambdamap import _pickles

        try:
            node["pickle"] = _pickles.dumps(error)
        except Exception:
            return


def reduce(error: BaseException) -> tuple[Any, ...] | None:
    """The nodes of an exception that is a value; None: only its own pickle can tell its state."""
    if _why_not_data(type(error)) is not None:
        return None
    return tuple(_nodes_of(error, False, False))


def pack(error: BaseException, allow_pickle: bool, max_chars: int) -> str | None:
    """An exception that f raised as a frame in text form; None: nothing of it can be told.

    Where it is longer than `max_chars`, the largest attributes are left out first, then the
    exceptions before it, then everything but its class.
    """
    try:
        for chain in (True, False):
            with contextlib.suppress(_codec.EncodeFailure):  # they are too many
                nodes = _nodes_of(error, allow_pickle, True, chain)
                _lighten(nodes, max_chars * 3 // 4 - 64)
                text = _codec.encode_text(nodes, compression=False)
                if len(text) <= max_chars:
                    return text
        why = {"args": "they are too large"}
        text = _codec.encode_text(
            [{"class": _lineage(type(error)), "lost": why}], compression=False
        )
        return text if len(text) <= max_chars else None
    except BaseException:  # of the exception's own code, where it has hooks that pickling runs
        return None


def _lighten(nodes: list[dict[str, Any]], max_bytes: int) -> None:
    """Leave out the largest parts until the rest takes about so many bytes."""
    excess = len(_codec.encode(nodes, compression=False)) - max_bytes
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


# --- rebuilding -------------------------------------------------------------------------------------


def _is_entry(entry: Any) -> bool:
    return (
        type(entry) in (tuple, list)
        and len(entry) == 3
        and all(type(part) is str and len(part) <= _NAME for part in entry)
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


# Of what a node says about its exception. What that brings itself, under "args", "vars" and "fields",
# may be any value, and "kind" and "pickle" are looked at where they are used.
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


def _check_nodes(nodes: Sequence[Any]) -> None:
    """Refuse nodes that are not as docs/wire-format.md has them, before anything is made of one."""
    if not 0 < len(nodes) <= _NODES:
        raise _codec.DecodeFailure(f"it holds an exception of {len(nodes)} parts")
    for node in nodes:
        if type(node) is not dict or "class" not in node:
            raise _codec.DecodeFailure("it holds an exception that is none")
        for name, is_right in _PARTS.items():
            if name in node and not is_right(node[name], len(nodes)):
                raise _codec.DecodeFailure(f"it holds an exception with another {name} than it has")


def _check_shown(nodes: Sequence[Any]) -> None:
    """Refuse exceptions that stand in each other in so many ways that to show one takes for ever.

    An exception that stands in two others is shown twice, and what stands in it four times, if it
    stands in it twice.
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
    # From those that stand in no other; the rest stand in a circle.
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
            if shown > _SHOWN:
                raise _codec.DecodeFailure(
                    f"it holds exceptions that stand in each other more than {_SHOWN:,} times"
                )


class _Builder:
    """Rebuilds the exceptions of a list of nodes. For one list."""

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
        self._stand_ins: set[int] = set()  # of those made

    def build(self) -> BaseException:
        _check_nodes(self._nodes)
        _check_shown(self._nodes)
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
                raise _codec.DecodeFailure("an exception group that contains itself")
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
            if not _is_exception(kind):
                raise _Inexact("its class is not an exception")
            if top and (why_remote := _why_it_stays_remote(kind)) is not None:
                raise _Inexact(why_remote)
            made = self._unpickled(node, kind)
            if made is not None:
                return made
            made = self._exact(kind, node, members, lost)
        except _Inexact as why:
            if not loose:
                raise _codec.DecodeFailure(f"it holds an exception, and {why}") from None
            self._stand_ins.add(place)
            made = self._stand_in(node, members, str(why))
        for name, why_lost in lost.items():
            if name != "args":
                what = "notes" if name == "__notes__" else f"attribute {name[:_TEXT]}"
                errors.note(made, f"lambdamap: its {what} did not travel: {why_lost[:_TEXT]}")
        return made

    def _class_of(self, node: dict[str, Any]) -> type:
        module, qualname, _ = node["class"][0]
        try:
            return _find_class(node["class"][0], self._find)
        except (Exception, SystemExit) as error:  # of the module's import, where that is allowed
            if not (self._raised or node.get("loose") is True):
                raise
            if not module or isinstance(error, LookupError):
                raise _Inexact(str(error)) from None
            raise _Inexact(f"{module}:{qualname} is not imported here") from None

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
        if (why := _why_not_data(kind)) is not None:
            raise _Inexact(why)
        if "of" in node:
            args: Any = (node["message"], members if node["of"] == "list" else tuple(members))
        elif "args" not in node:
            raise _Inexact(f"its args did not travel: {lost.get('args')}")
        else:
            try:
                args = self._unbox(node["args"])
            except _codec.DecodeFailure as failure:
                raise _Inexact(f"its args cannot be read here: {failure}") from None
        if type(args) is not tuple:
            raise _Inexact("its args are not a tuple")
        fields = self._opened(node, "fields", lost)
        _check_unicode(kind, fields, node.get("links", ()))
        made = _bare(kind, node.get("message", ""), members)
        _args.__set__(made, args)
        for name, descriptor, _ in _fields(kind):
            if name in fields:
                try:
                    descriptor.__set__(made, fields.pop(name))
                except (AttributeError, TypeError, ValueError, OverflowError) as error:
                    lost[name] = str(error)
        lost.update(dict.fromkeys(fields, "its class has no such slot here"))
        errors.own_dict(made).update(self._vars(node, lost))
        return made  # type: ignore[no-any-return]

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
        complete(made, f"{own['remote_type']}: {node.get('text', '')[:_TEXT]}", {})
        errors.note(made, f"lambdamap: it is a RemoteError, not a {qualname}: {why}")
        return made

    def _connect(self, place: int, node: dict[str, Any]) -> None:
        """Set what refers to other exceptions."""
        made = self._made[place]
        own = errors.own_dict(made)
        fields = {name: descriptor for name, descriptor, _ in _fields(type(made))}
        for part, name, index in node.get("links", ()):
            other = self._made[index]
            if part == "args":
                args = list(_args.__get__(made))
                known = place not in self._stand_ins and type(name) is int
                if known and 0 <= name < len(args):
                    args[name] = other
                    _args.__set__(made, tuple(args))
            elif part == "vars" and type(name) is str and _may_be_set(name):
                own.setdefault(name, other)
            elif part == "fields" and name in fields:
                fields[name].__set__(made, other)
        if "cause" in node:
            _cause.__set__(made, self._made[node["cause"]])
        if "context" in node:
            _context.__set__(made, self._made[node["context"]])
        _suppress.__set__(made, node.get("suppress") is True)


def _may_be_set(name: str) -> bool:
    """An entry of an exception's dict may not hide what every exception has, such as its reducer."""
    return not (name.startswith("__") and hasattr(BaseException, name))


_UNICODE_FIELDS = frozenset(("encoding", "end", "object", "reason", "start"))


def _check_unicode(kind: type, fields: Mapping[str, Any], links: Sequence[Any]) -> None:
    """``str()`` of these takes the types of its fields for granted before Python 3.14: it reads the
    memory of another object as if it were a text's."""
    if not issubclass(kind, (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError)):
        return
    if any(part == "fields" and name in _UNICODE_FIELDS for part, name, _ in links):
        raise _Inexact("its fields are not those of a UnicodeError")
    of = bytes if issubclass(kind, UnicodeDecodeError) else str
    names = ["reason"] if issubclass(kind, UnicodeTranslateError) else ["reason", "encoding"]
    given, texts = fields.get("object"), [fields.get(name) for name in names]
    start, end = fields.get("start", 0), fields.get("end", 0)
    if given is None and texts.count(None) == len(texts):
        return
    if (
        type(given) is not of
        or any(type(text) is not str for text in texts)
        or type(start) is not int
        or type(end) is not int
        or not 0 <= start <= len(given)
        or not 0 <= end <= sys.maxsize
    ):
        raise _Inexact("its fields are not those of a UnicodeError")


def restore(find: Find, nodes: Sequence[Any]) -> BaseException:
    """The exception of `reduce`.

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
            f"it holds a malformed exception ({type(error).__name__}: {error})"
        ) from None


def unpack(
    text: object, allow_pickle: bool, max_chars: int, max_bytes: int = UNPACKED_BYTES
) -> BaseException | None:
    """The exception of `pack`, or a `stand_in`; None: the text is not such a frame, or it would take
    more than so many bytes."""
    if not isinstance(text, str) or len(text) > max_chars:
        return None
    find = _names.TRUSTED.type if allow_pickle else _names.DATA.type
    try:
        nodes = _codec.decode_text(text, max_output_bytes=max_bytes)
        boxes = sum(1 + len(node.get("vars", ())) + len(node.get("fields", ())) for node in nodes)
        limit = max_bytes // max(1, boxes)

        def unbox(frame: Any) -> Any:
            return _codec.decode(frame, allow_pickle=allow_pickle, max_output_bytes=limit)

        return _checked_build(_Builder(nodes, find, unbox, True, allow_pickle))
    except Exception:  # whatever the other side has made of it
        return None


# --- stand-ins --------------------------------------------------------------------------------------


def stand_in(
    lineage: Sequence[Any],
    find: Find,
    message: str = "",
    members: Sequence[BaseException] = (),
) -> errors.RemoteError:
    """A RemoteError in the place of an exception that cannot be rebuilt.

    Parameters
    ----------
    lineage
        Module, qualname and id of its class and of those that this extends: it is an instance of
        the first one that is found here and may come out of a map.
    find
        Finds them.
    message, members
        Of an exception group.
    """
    made: Any = None
    for entry in lineage:
        try:
            base = _find_class(entry, find)
        except (Exception, SystemExit):
            continue
        kind = _remote_class(base)
        if kind is None or (_is_group(kind) and not members):
            continue
        try:
            made = _bare(kind, message, members)
            break
        except _Inexact:
            continue
    if made is None:
        made = errors.RemoteError()
    module, qualname, _ = lineage[0]
    own = errors.own_dict(made)
    own.update(vars(errors.RemoteError()))
    own["remote_type"] = f"{module}.{qualname}" if module else str(qualname)
    return made  # type: ignore[no-any-return]


def complete(error: errors.RemoteError, message: str, about: Mapping[str, Any]) -> None:
    """Set the message and what is known of a stand-in."""
    _args.__set__(error, (message,))
    errors.own_dict(error).update(about)


# What a stand-in does not take from its base: that one's own would miss its state.
_PLAIN = (
    "__delattr__", "__eq__", "__getattribute__", "__hash__", "__ne__", "__repr__", "__setattr__",
    "__str__",
)  # fmt: skip


def _remote_class(base: type) -> type[errors.RemoteError] | None:
    """RemoteError as a class that is also a `base`; None: that takes code of the base's own."""
    if base is Exception or base is BaseException:
        return errors.RemoteError
    hooks = [part for part in _type_mro(base) if "__init_subclass__" in _type_dict(part)]
    if type(base) is not type or len(hooks) > 1 or _why_it_stays_remote(base):
        return None
    return _subclass_of(base) if _why_not_data(base) is None else None


@functools.lru_cache(maxsize=256)
def _subclass_of(base: type) -> type[errors.RemoteError] | None:
    namespace = {
        "__module__": "lambdamap.errors",
        "__doc__": f"A {base.__qualname__} of f's that cannot be rebuilt here.",
        **{name: getattr(BaseException, name) for name in _PLAIN},
        **vars(errors.RemoteError()),
        "__reduce__": lambda self: (
            _read_stand_in,
            (base, self.args, dict(errors.own_dict(self)), _members_of(self)),
        ),
    }
    try:
        return type(f"RemoteError[{base.__qualname__}]", (errors.RemoteError, base), namespace)
    except TypeError:  # it allows no subclass
        return None


def _members_of(error: BaseException) -> tuple[Any, ...]:
    return tuple(_GROUP.exceptions.__get__(error)) if _is_group(type(error)) else ()


def _read_stand_in(
    base: type, args: tuple[Any, ...], own: dict[str, Any], members: tuple[Any, ...]
) -> BaseException:
    """A stand-in out of its pickle."""
    made: BaseException = _bare(_remote_class(base) or errors.RemoteError, "", members)
    _args.__set__(made, args)
    errors.own_dict(made).update(own)
    return made
