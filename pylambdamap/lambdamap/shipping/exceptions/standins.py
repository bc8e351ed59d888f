"""Stand-ins for exceptions that cannot be rebuilt: RemoteErrors of the same kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from lambdamap import errors
from lambdamap.shipping.exceptions.classes import (
    ARGS,
    GROUP,
    Find,
    Inexact,
    bare,
    find_class,
    is_group,
    why_it_stays_remote,
    why_not_data,
)
from lambdamap.shipping.lookup import type_dict, type_mro

__all__ = ["complete", "stand_in"]


def stand_in(
    lineage: Sequence[Any],
    find: Find,
    message: str = "",
    members: Sequence[BaseException] = (),
) -> errors.RemoteError:
    """Return a RemoteError in place of an exception that cannot be rebuilt.

    Parameters
    ----------
    lineage
        Entries (module, qualname, id) of its class and the bases: the RemoteError is an instance of
        the first one that is found here and may be raised by a map.
    find
        Finds them.
    message, members
        Of an exception group.
    """
    made: errors.RemoteError | None = None
    for entry in lineage:
        try:
            base = find_class(entry, find)
        except (Exception, SystemExit):
            continue
        kind = _remote_class(base)
        if kind is None or (is_group(kind) and not members):
            continue
        try:
            made = bare(kind, message, members)
            break
        except Inexact:
            continue
    if made is None:
        made = errors.RemoteError()
    module, qualname, _ = lineage[0]
    own = errors.own_dict(made)
    own.update(vars(errors.RemoteError()))
    own["remote_type"] = f"{module}.{qualname}" if module else str(qualname)
    return made


def complete(error: errors.RemoteError, message: str, about: Mapping[str, Any]) -> None:
    """Set the message of a stand-in, and what is known about the failure."""
    ARGS.__set__(error, (message,))
    errors.own_dict(error).update(about)


# Not inherited from the base, whose versions would miss state that a stand-in does not have.
_PLAIN = (
    "__delattr__", "__eq__", "__getattribute__", "__hash__", "__ne__", "__repr__", "__setattr__",
    "__str__",
)  # fmt: skip


def _remote_class(base: type) -> type[errors.RemoteError] | None:
    """Return a subclass of RemoteError and `base`; None: that would run code of the base's."""
    if base is Exception or base is BaseException:
        return errors.RemoteError
    hooks = [part for part in type_mro(base) if "__init_subclass__" in type_dict(part)]
    if type(base) is not type or len(hooks) > 1 or why_it_stays_remote(base):
        return None
    return _subclass_of(base) if why_not_data(base) is None else None


@functools.lru_cache(maxsize=256)
def _subclass_of(base: type) -> type[errors.RemoteError] | None:
    namespace = {
        "__module__": "lambdamap.errors",
        "__doc__": f"A {base.__qualname__} that f raised and that cannot be rebuilt here.",
        **{name: getattr(BaseException, name) for name in _PLAIN},
        **vars(errors.RemoteError()),
        "__reduce__": lambda self: (
            _read_stand_in,
            (base, self.args, dict(errors.own_dict(self)), _members_of(self)),
        ),
    }
    try:
        return type(f"RemoteError[{base.__qualname__}]", (errors.RemoteError, base), namespace)
    except TypeError:  # it cannot be subclassed
        return None


def _members_of(error: BaseException) -> tuple[Any, ...]:
    return tuple(GROUP.exceptions.__get__(error)) if is_group(type(error)) else ()


def _read_stand_in(
    base: type, args: tuple[Any, ...], own: dict[str, Any], members: tuple[Any, ...]
) -> BaseException:
    """Return a stand-in from its pickle."""
    made: BaseException = bare(_remote_class(base) or errors.RemoteError, "", members)
    ARGS.__set__(made, args)
    errors.own_dict(made).update(own)
    return made
