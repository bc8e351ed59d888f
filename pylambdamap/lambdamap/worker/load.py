"""From a request to the function and the items that it runs.

A function given by its path is resolved, or refused, before any of the payload is decoded. Every
failure in this module comes before the first item runs.
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

_BLOBS = 32  # functions by value kept loaded; the least recently used is dropped first

_loaded: OrderedDict[bytes, Callable[..., Any]] = OrderedDict()  # by the SHA-256 of their pickles
_loaded_lock = threading.Lock()


def check(request: Request, trusted: bool) -> None:
    """Check that this worker can run a request, as far as its head tells.

    Raises
    ------
    Failure
        The deadline has passed, or the function is sent by value and that is not allowed, or comes
        from another Python version.
    """
    if request.left_ms is not None and request.left_ms <= 0:
        raise too_late()
    if not request.by_value:
        return
    if not allow.by_value_allowed(trusted):
        raise Failure(
            "refused",
            "this worker does not accept functions by value: set LAMBDAMAP_BY_VALUE=1 on it "
            "(lambdamap deploy --by-value does), or move the function into a module deployed with "
            "the worker (--module)",
        )
    if request.python != PYTHON:
        raise Failure(
            "refused",
            f"{pythons_differ(request.python)}, so functions cannot be sent by value: use the same "
            "Python on both sides, or move the function into a module deployed with the worker",
        )


def load(
    event: Mapping[str, Any], request: Request, trusted: bool
) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return the callable for one item, and the items.

    Parameters
    ----------
    event
        The request; its payload is decoded.
    request
        The head of the request, checked by `check`.
    trusted
        The caller and the worker are one process, or one user.

    Raises
    ------
    Failure
        The function cannot be found or is not allowed, or the payload cannot be decoded.
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
            raise Failure("decode", "args of the request must be a tuple, and kwargs a dict")
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
        raise Failure("decode", "the request contains no pickled callable")
    return function


def _load_blob(blob: bytes) -> Callable[..., Any]:
    """Return the function of a pickle, which is unpickled once per process."""
    digest = hashlib.sha256(blob).digest()
    with _loaded_lock:
        if digest in _loaded:
            _loaded.move_to_end(digest)
            return _loaded[digest]
    import pickle

    try:
        function: Callable[..., Any] = pickle.loads(blob)
    except BaseException as error:  # what it imports may raise SystemExit
        remedy = "the modules it uses must be importable on the worker"
        if isinstance(error, ModuleNotFoundError) and error.name:
            remedy = f"deploy {error.name} with the worker, or send it with by_value=[{error.name}]"
        raise Failure(
            "init",
            f"cannot load the function sent by value ({type(error).__name__}: {error}): {remedy}",
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
    """Return the items of "each" with all their references resolved to functions."""

    def find(reference: object) -> Callable[..., Any]:
        if type(reference) is bytes and request.by_value:
            return _load_blob(reference)
        if type(reference) is str:
            return _by_path(permissions, reference)
        text = (
            f"a function reference must be the path of a function, got {type(reference).__name__}"
        )
        raise Failure("refused", text)

    try:
        groups = [calls_of(item, 3) for item in items]
    except TypeError as error:
        text = f"each call of the request must be a function and its arguments: {error}"
        raise Failure("decode", text) from None
    return [[(find(f), args, kwargs) for f, args, kwargs in group] for group in groups]


# --- the payload ----------------------------------------------------------------------------------


def _decode(
    event: Mapping[str, Any], request: Request, permissions: allow.Permissions, trusted: bool
) -> tuple[dict[str, Any], list[Any]]:
    """Return the spec and the items."""
    # A caller that may send code may send pickles, which can contain code.
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
            text = f"the items need {cause.name}, which is not installed on the worker: deploy it"
            raise Failure("init", text) from error
        if isinstance(error, _codec.PickleRefused):
            raise Failure("refused", _no_pickles(request, trusted)) from error
        raise Failure(
            "decode", f"cannot decode the request: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(spec, dict) or not isinstance(items, list):
        raise Failure("decode", "the request contains no list of items")
    if len(items) != request.items:
        text = f"the request announces {request.items} items and contains {len(items)}"
        raise Failure("decode", text)
    return spec, items


def _no_pickles(request: Request, trusted: bool) -> str:
    """Return why the pickled items of a request are refused, and the remedy."""
    if allow.by_value_allowed(trusted):
        return (
            f"{pythons_differ(request.python)}, so pickled items are not accepted: send built-in "
            "types, numpy or pandas, or use the same Python on both sides"
        )
    return (
        "this worker does not accept pickled items: send built-in types, numpy or pandas, or set "
        "LAMBDAMAP_BY_VALUE=1 on it, which allows its callers to send code"
    )
