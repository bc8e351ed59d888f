"""The nine functions that this library originated from, with their original arguments.

They come from a Flask application that split its work over invocations of its own Lambda function.
Use ``my_map``; the others are its parts, kept for existing code.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from lambdamap import _codec, errors
from lambdamap import options as _options
from lambdamap.calls.api import invoke_map
from lambdamap.calls.api import map as _map

__all__ = [
    "decode_payload",
    "distribute_to_lambda",
    "encode_payload",
    "feature_calculation_on_chunks",
    "function_in_lambda",
    "my_map",
    "partition",
    "run_lambda",
    "send_to_other_lambda",
]

_UNSET: Any = object()
_TASK = "lambdamap.worker.entry.zappa_message"


def my_map(
    map_function: Callable[[Any], Any] = _UNSET,
    data: Iterable[Any] = _UNSET,
    chunksize: int | str = 5,
    compression: bool = False,
    invoke_lambda: bool | None = True,
    *,
    f: Callable[[Any], Any] = _UNSET,
    **options: Any,
) -> list[Any]:
    """Apply a function to every item of the data, in parallel Lambda invocations.

    Parameters
    ----------
    map_function
        The function; also accepted as ``f=``.
    data
        Any iterable: a list, a generator, a pandas groupby.
    chunksize : int or "auto"
        Items per invocation.
    compression : bool
        Compress requests and replies.
    invoke_lambda : bool or None
        True or None: on AWS if a Lambda function is configured or this runs in one, else on the
        local Lambda. False: in this process; the data is still encoded and decoded.
    **options
        See `lambdamap.Options`.

    Returns
    -------
    list
        One result per item, in the data's order.

    Raises
    ------
    Exception
        As `lambdamap.map`. Finished results are in ``partial`` of a `LambdaMapError`, and in
        ``lambdamap.failure(error).partial`` of any other exception, including KeyboardInterrupt and
        exceptions of the data's iterator or of a signal handler.

    Examples
    --------
    >>> from lambdamap import my_map
    >>> my_map(abs, [-1, 2, -3], 2, invoke_lambda=False)
    [1, 2, 3]
    """
    if f is not _UNSET:
        if map_function is not _UNSET and data is _UNSET:
            data = cast("Iterable[Any]", map_function)
        elif map_function is not _UNSET:
            raise TypeError("my_map() got two functions: pass map_function or f, not both")
        map_function = f
    if map_function is _UNSET or data is _UNSET:
        raise TypeError("my_map() needs a function and data")
    if not isinstance(invoke_lambda, bool) and invoke_lambda is not None:
        raise errors.ConfigError(
            f"invoke_lambda must be True, False or None, not {invoke_lambda!r}"
        )
    if invoke_lambda is False:
        options["backend"] = "inline"
    with _map(map_function, data, chunksize=chunksize, compression=compression, **options) as found:
        return found._to_list()


def partition(data: Iterable[Any], chunk_size: int) -> Iterator[list[Any]]:
    """Split data into lists of `chunk_size` items; the last may be shorter.

    Parameters
    ----------
    data
        Any iterable, read as the chunks are taken.
    chunk_size
        At least 1.

    Raises
    ------
    ConfigError
        `chunk_size` is not an int of at least 1 (also a ValueError).

    Examples
    --------
    >>> from lambdamap import partition
    >>> list(partition("abcde", 2))
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    if isinstance(chunk_size, bool) or not isinstance(chunk_size, int) or chunk_size < 1:
        raise errors.ConfigError(f"chunk_size must be an int of at least 1, not {chunk_size!r}")
    return _partition(iter(data), chunk_size)


def _partition(items: Iterator[Any], chunk_size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(items, chunk_size)):
        yield chunk


def feature_calculation_on_chunks(chunk_list: Iterable[Any], f: Callable[[Any], Any]) -> list[Any]:
    """Apply f to every item of one chunk."""
    return [f(item) for item in chunk_list]


def distribute_to_lambda(
    map_function: Callable[[Any], Any],
    iterable_data: Iterable[list[Any]],
    compression: bool = False,
    invoke_lambda: bool | None = True,
) -> list[list[Any]]:
    """Run each chunk in its own invocation, in parallel; return one list of results per chunk.

    Parameters
    ----------
    map_function
        Called with the items of the chunks.
    iterable_data
        Chunks, as `partition` makes them.
    compression, invoke_lambda
        As for `my_map`.
    """
    chunk_function = functools.partial(_apply_to_chunk, map_function)
    return my_map(chunk_function, iterable_data, 1, compression, invoke_lambda)


def _apply_to_chunk(function: Callable[[Any], Any], chunk: list[Any]) -> list[Any]:
    return feature_calculation_on_chunks(chunk, function)


def run_lambda(
    data: list[Any],
    map_function: Callable[[Any], Any],
    compression: bool = False,
    invoke_lambda: bool | None = True,
) -> list[Any]:
    """Run one chunk in one invocation and return its results.

    Parameters
    ----------
    data
        The items.
    map_function
        Called with each of them.
    compression, invoke_lambda
        As for `my_map`.
    """
    return distribute_to_lambda(map_function, [data], compression, invoke_lambda)[0]


def function_in_lambda(
    encoded_data: str, map_function: str | Callable[[Any], Any], compression: bool = False
) -> str:
    """Decode a chunk, apply the function and encode the results; runs in the worker.

    Parameters
    ----------
    encoded_data
        A chunk, as returned by `encode_payload`.
    map_function
        A function, or the dotted path of one (``module.function``). A path is subject to the
        worker's permissions, ``LAMBDAMAP_ALLOW``.
    compression
        Whether to compress the results.
    """
    if isinstance(map_function, str):
        from lambdamap.worker import allow

        module, _, name = map_function.replace(":", ".").rpartition(".")
        try:
            function = allow.Permissions().function(module, name)
        except allow.Refused as error:
            raise errors.WorkerInitError(str(error)) from None
    else:
        function = map_function
    chunk = decode_payload(encoded_data, compression)
    return encode_payload(feature_calculation_on_chunks(chunk, function), compression)


def send_to_other_lambda(function_in_lambda: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in another invocation of this Lambda function, which runs zappa.

    The event is zappa's task message. For a function decorated as a zappa task, the undecorated
    function is called.

    Parameters
    ----------
    function_in_lambda
        A function of a deployed module.
    *args, **kwargs
        Its arguments: JSON-serializable values, or functions, which are sent as dotted paths.

    Returns
    -------
    object
        What it returned, after a round trip through JSON.

    Raises
    ------
    ConfigError
        No function is configured and this process does not run on Lambda.
    ProtocolError
        The function replied but does not run zappa with lambdamap.
    Exception
        What the function raised, if it can be rebuilt here; else `RemoteError`.
    """
    message = {
        "command": _TASK,
        "task_path": _path(function_in_lambda),
        "args": [_path(value) if callable(value) else value for value in args],
        "kwargs": {key: _path(v) if callable(v) else v for key, v in kwargs.items()},
        "capture_response": False,
        "response_id": None,
    }
    from lambdamap.backends import own_function

    target = _options.resolve().function or own_function()
    if not target:
        raise errors.ConfigError(
            "send_to_other_lambda needs a function: set LAMBDAMAP_FUNCTION, or run it on Lambda"
        )
    with invoke_map(target, [message], backend="aws") as replies:
        reply = next(replies)
    if not (isinstance(reply, dict) and isinstance(reply.get("lambdamap"), dict)):
        raise errors.ProtocolError(
            f"{target} did not reply as lambdamap under zappa does: send_to_other_lambda needs a "
            "function that runs zappa and lambdamap; for others use invoke_map",
            ran="RAN",
        )
    from lambdamap.backends.inprocess import InProcessCompletion
    from lambdamap.flight import failures
    from lambdamap.shipping import envelope

    completion = InProcessCompletion(0, 1, b"")
    try:
        envelope.check_protocol(reply["lambdamap"])
        if reply.get("error") is None:
            if "r" not in reply:
                raise envelope.Malformed("neither a result nor an error")
            return reply["r"]
        said = envelope.read_error(reply["error"], 1, 0)
    except envelope.Malformed as wrong:
        raise failures.invalid_reply(wrong, completion) from None
    raise failures.of_reply(said, completion)


def _path(function: Callable[..., Any]) -> str:
    from lambdamap.shipping.functions import path_of

    return path_of(function).replace(":", ".")


def encode_payload(payload: Any, compression: bool = False) -> str:
    """Return an object as text that can be embedded in JSON.

    Parameters
    ----------
    payload
        Anything that lambdamap can send.
    compression
        False: JSON text if JSON represents the payload exactly, else lambdamap's text form.
        True: always lambdamap's text form, compressed.

    Raises
    ------
    EncodeError
        It contains something that cannot be sent; the message says where.

    Examples
    --------
    >>> from lambdamap import encode_payload
    >>> encode_payload([{"id": 1, "values": [1.5]}])
    '[{"id": 1, "values": [1.5]}]'
    """
    if not compression and _survives_json(payload, 0):
        text = json.dumps(payload, allow_nan=False)
        if not (isinstance(payload, str) and payload.startswith("lm1:")):
            return text
    try:
        return _codec.encode_text(payload, compression=compression)
    except _codec.EncodeFailure as error:
        message, path = (*error.args, "")[:2]
        raise errors.EncodeError(f"the payload{path} cannot be encoded: {message}") from error


def _survives_json(value: Any, depth: int) -> bool:
    """Return whether a round trip through JSON gives the same value and type."""
    kind = type(value)
    if value is None or kind is bool or kind is int:
        return True
    if kind is str:
        return bool(value.isascii()) or not any("\ud800" <= c <= "\udfff" for c in value)
    if kind is float:
        return math.isfinite(value)
    if depth > 100:
        return False
    if kind is list:
        return all(_survives_json(item, depth + 1) for item in value)
    if kind is dict:
        return all(type(k) is str and _survives_json(v, depth + 1) for k, v in value.items())
    return False


def decode_payload(compressed_string: str, compression: bool = False) -> Any:
    """Return the object of a text made by `encode_payload`, in either form.

    Parameters
    ----------
    compressed_string
        The text.
    compression
        Ignored: the text identifies its form.

    Raises
    ------
    DecodeError
        The text is neither JSON nor lambdamap's text form.
    """
    del compression
    if isinstance(compressed_string, str) and compressed_string.startswith("lm1:"):
        try:
            return _codec.decode_text(compressed_string)
        except _codec.DecodeFailure as error:
            raise errors.DecodeError(str(error)) from error
    try:
        return json.loads(compressed_string, parse_constant=_not_json)
    except RecursionError:
        raise errors.DecodeError("the payload's JSON is nested too deeply") from None
    except (ValueError, TypeError) as error:
        raise errors.DecodeError(
            f"the payload is neither JSON nor lambdamap's text form: {error}"
        ) from error


def _not_json(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")
