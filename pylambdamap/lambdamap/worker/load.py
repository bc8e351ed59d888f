"""From a request to what it runs: the function and the items.

Everything that this worker refuses is refused here, before the first item runs, and a function that
is named by its path before anything of the payload is decoded.
"""

from __future__ import annotations

import functools
import hashlib
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from lambdamap import _codec
from lambdamap.shipping.envelope import PYTHON, Request
from lambdamap.worker import allow
from lambdamap.worker.calls import caller, calls_of
from lambdamap.worker.describe import Failure, pythons_differ, too_late

__all__ = ["check", "load"]

_BLOBS = 32  # functions by value that stay loaded, the least recently used go first

_loaded: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()  # by the SHA-256 of their pickles
_loaded_lock = threading.Lock()


def check(request: Request, trusted: bool) -> None:
    """Refuse what the head alone shows that this worker cannot run.

    Raises
    ------
    Failure
        The caller's time is over, or functions by value are not allowed or come from another Python.
    """
    if request.left_ms is not None and request.left_ms <= 0:
        raise too_late()
    if not request.by_value:
        return
    if not allow.by_value_allowed(trusted):
        raise Failure(
            "refused",
            "this worker takes no functions by value: set LAMBDAMAP_BY_VALUE=1 on it (lambdamap "
            "deploy --by-value does), or move the function into a module that is deployed with it "
            "(--module)",
        )
    if request.python != PYTHON:
        raise Failure(
            "refused",
            f"{pythons_differ(request.python)} takes no function by value: use the same Python on "
            "both sides, or move the function into a module that is deployed with the worker",
        )


def load(
    event: Mapping[str, Any], request: Request, trusted: bool
) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return what to call with each item, and the items.

    Parameters
    ----------
    event
        The whole request, for its payload.
    request
        Its head, which `check` has passed.
    trusted
        Caller and worker are one process or person.

    Raises
    ------
    Failure
        The function cannot be found or may not be called, or the payload cannot be decoded.
    """
    permissions = allow.Permissions(trusted)
    calls = request.calls
    function: Callable[..., Any] | None = None
    if not request.by_value and calls != "each":
        function = _by_path(permissions, request.function)
    spec, items = _decode(event, request, permissions, trusted)
    if function is not None:
        args, kwargs = spec.get("args", ()), spec.get("kwargs", {})
        if type(args) is not tuple or type(kwargs) is not dict:
            raise Failure("decode", "the request's arguments are not a tuple and a dict")
        if args or kwargs:
            function = functools.partial(function, *args, **kwargs)
    elif calls != "each":
        function = _by_value(spec.get("f"))
    else:
        items = _with_functions(items, request, permissions)
    return caller(calls, function), items


# --- functions ------------------------------------------------------------------------------------


def _by_path(permissions: allow.Permissions, path: str) -> Callable[..., Any]:
    module, _, qualname = path.partition(":")
    try:
        return permissions.function(module, qualname)
    except allow.Refused as error:
        raise _refusal(error) from error


def _refusal(error: allow.Refused) -> Failure:
    if isinstance(error, allow.NotFound):
        return Failure("init", str(error), trace=error.trace)
    return Failure("refused", str(error))


def _by_value(blob: object) -> Callable[..., Any]:
    function = _load_blob(blob) if isinstance(blob, bytes) else None
    if not callable(function):
        raise Failure("decode", "the request holds no callable by value")
    return function


def _load_blob(blob: bytes) -> Callable[..., Any]:
    """Return the function of a pickle, unpickled once in this process."""
    digest = hashlib.sha256(blob).digest()
    with _loaded_lock:
        if digest in _loaded:
            _loaded.move_to_end(digest)
            return _loaded[digest]
    import pickle

    try:
        function: Callable[..., Any] = pickle.loads(blob)
    except BaseException as error:  # its imports may even end the process
        mend = "what it uses must be importable on the worker"
        if isinstance(error, ModuleNotFoundError) and error.name:
            mend = f"deploy {error.name} with the worker, or ship it with by_value=[{error.name}]"
        raise Failure(
            "init",
            f"cannot load the function that came by value ({type(error).__name__}: {error}): {mend}",
            trace=traceback.format_exc(),
        ) from error
    with _loaded_lock:
        _loaded[digest] = function
        while len(_loaded) > _BLOBS:
            _loaded.popitem(last=False)
    return function


def _with_functions(
    items: list[Any], request: Request, permissions: allow.Permissions
) -> list[list[tuple[Any, ...]]]:
    """Find the functions that the items of "each" refer to: all of them, or one is refused."""

    def find(reference: object) -> Callable[..., Any]:
        if type(reference) is bytes and request.by_value:
            return _load_blob(reference)
        if type(reference) is str:
            return _by_path(permissions, reference)
        text = f"a {type(reference).__name__} is not a path of a function in a module"
        raise Failure("refused", text)

    try:
        groups = [calls_of(item, 3) for item in items]
    except TypeError as error:
        text = f"the request's calls are not a function and its arguments each: {error}"
        raise Failure("decode", text) from None
    return [[(find(f), args, kwargs) for f, args, kwargs in group] for group in groups]


# --- the payload ----------------------------------------------------------------------------------


def _decode(
    event: Mapping[str, Any], request: Request, permissions: allow.Permissions, trusted: bool
) -> tuple[dict[str, Any], list[Any]]:
    """Return the spec and the items."""
    # A caller that may send code may send pickles, which can hold code.
    allow_pickle = allow.by_value_allowed(trusted) and request.python == PYTHON
    try:
        if request.codec == "native":
            spec, items = _codec.decode_text(
                event["p"], allow_pickle=allow_pickle, names=permissions
            )
        else:
            spec, items = {}, event["p"]["items"]
    except Exception as error:
        cause = error.__cause__
        if isinstance(cause, allow.Refused):
            raise _refusal(cause) from error
        if isinstance(cause, ModuleNotFoundError) and cause.name:
            text = f"the items need {cause.name}, which the worker does not have: deploy it there"
            raise Failure("init", text) from error
        if not allow_pickle and "it holds a pickle" in str(error):
            raise Failure("refused", _no_pickles(request, trusted)) from error
        raise Failure(
            "decode", f"cannot read the request: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(spec, dict) or not isinstance(items, list):
        raise Failure("decode", "the request does not hold a list of items")
    if len(items) != request.items:
        text = f"the request says {request.items} items and holds {len(items)}"
        raise Failure("decode", text)
    return spec, items


def _no_pickles(request: Request, trusted: bool) -> str:
    """Say why the pickled items of a request are refused, and what to do."""
    if allow.by_value_allowed(trusted):
        return (
            f"{pythons_differ(request.python)} takes no pickled items: send plain data, numpy or "
            "pandas, or use the same Python on both sides"
        )
    return (
        "this worker takes no pickled items: send plain data, numpy or pandas, or set "
        "LAMBDAMAP_BY_VALUE=1 on it, which allows its callers to send code"
    )
