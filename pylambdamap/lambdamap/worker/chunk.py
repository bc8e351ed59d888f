"""One chunk: f is called on its items until all are done, one fails, or time or space runs out."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from lambdamap import _codec
from lambdamap._process import end_copy
from lambdamap.shipping.envelope import PYTHON, Request
from lambdamap.worker import describe
from lambdamap.worker.output import Output, captured

if TYPE_CHECKING:
    from lambdamap.shipping.envelope import ErrorObject

__all__ = ["Chunk", "Context"]

_RESULTS_BYTES = _codec.MAX_RESULTS_TEXT  # as JSON
_BESIDE_ERROR = 24  # bytes for an error among the results: its index and a placeholder
_NUMBER_BYTES = 20  # upper bound for None, a bool, a float or a 64-bit int, encoded
_LONGEST_MS = 1 << 40  # limit for the caller's deadline, within the range of a clock
_RESERVE_S = 0.5  # for encoding and sending the reply


class Context(Protocol):
    """The part of Lambda's context object that is used."""

    def get_remaining_time_in_millis(self) -> int: ...


class Chunk:
    """The items of one request and their results.

    Parameters
    ----------
    request
        The head of the request; its deadline is counted from now.
    context
        Lambda's context object, or None outside Lambda.
    interruptible
        Raise KeyboardInterrupt, which is the user's Ctrl-C, instead of returning it as an error.

    Attributes
    ----------
    results : list
        One per item that has run; None in place of an item that failed.
    error : dict or None
        The error that ended the chunk.
    output : Output
        What the items printed.
    microseconds : int
        The duration of `run`.
    ends : float or None
        The caller's deadline on the clock of `time.monotonic`.
    """

    def __init__(self, request: Request, context: Context | None, interruptible: bool) -> None:
        self.results: list[Any] = []
        self.error: ErrorObject | None = None
        self.output = Output(request.chunk)
        self.microseconds = 0
        left = request.left_ms
        self.ends = None if left is None else time.monotonic() + min(left, _LONGEST_MS) / 1000
        self._errors: dict[int, ErrorObject] = {}  # with on_error="return", by item
        self._bytes = 0  # upper bound for the results in the reply
        self._request = request
        self._is_json = request.codec == "json"
        # Another Python version could not read the pickles of this one.
        self._may_pickle = bool(request.allow_pickle) and request.python == PYTHON
        self._context = context
        self._interruptible = interruptible

    def _is_late(self, reserve_s: float) -> bool:
        """Return whether at most `reserve_s` seconds are left, of the caller's time or of Lambda's."""
        if self.ends is not None and time.monotonic() + reserve_s >= self.ends:
            return True
        if self._context is None:
            return False
        return self._context.get_remaining_time_in_millis() <= reserve_s * 1000

    def _must_stop(self, slowest_s: float, largest: int) -> bool:
        """Return whether another item might not end in time, or its result not fit."""
        # Three quarters stay free for a result larger than all before it: one that does not fit is
        # lost, although f has run.
        if self._bytes + largest > _RESULTS_BYTES or self._bytes > _RESULTS_BYTES // 4:
            return True
        return self._is_late(max(_RESERVE_S, slowest_s))

    def run(self, function: Callable[[Any], Any], items: list[Any]) -> None:
        """Call f on the items until all are done, one fails, or a limit is reached."""
        guarded = self._request.on_error == "return"
        started = last = time.perf_counter()
        slowest, largest = 0.0, 0
        pid = os.getpid()
        with captured(self.output):
            for index, item in enumerate(items):
                # The duration of the first item is unknown: it starts if there is any time at all.
                if self._must_stop(slowest, largest) if index else self._is_late(0):
                    break
                self.output.index = index
                kind = "function"
                failed: ErrorObject | None = None
                try:
                    result = function(item)
                    if os.getpid() != pid:
                        end_copy()
                    kind = "encode"
                    result, size = self._measure(result)
                except BaseException as error:
                    if os.getpid() != pid:
                        end_copy(error)
                    if self._interruptible and isinstance(error, KeyboardInterrupt):
                        raise
                    failed = describe.of_item(error, index, kind, self._may_pickle)
                else:
                    if self._bytes + size > _RESULTS_BYTES:
                        if self._request.idempotent and size <= _RESULTS_BYTES:
                            break  # runs again as the first item of the next request
                        failed = describe.too_large(index, size, _RESULTS_BYTES)
                if failed is not None:
                    if not guarded:
                        self.error = failed
                        break
                    self._errors[index] = failed
                    result = None
                    size = self._measure(failed)[1] + _BESIDE_ERROR
                self._bytes += size
                self.results.append(result)
                largest = max(largest, size)
                now = time.perf_counter()
                slowest = max(slowest, now - last)
                last = now
        self.microseconds = int((time.perf_counter() - started) * 1e6)

    def _measure(self, result: Any) -> tuple[Any, int]:
        """Return the result as it will be encoded, and an upper bound for its bytes in the reply.

        Raises
        ------
        EncodeFailure
            The result cannot be encoded.
        """
        if self._is_json:
            try:
                _codec.encode_json(result)
            except _codec.EncodeFailure as failure:
                message, path = failure.args
                raise _codec.EncodeFailure(
                    f"the result{path} cannot be encoded: {message}"
                ) from None
            # Lambda's runtime client may escape all non-ASCII characters, as json.dumps does.
            return result, len(json.dumps(result)) + 2
        kind = type(result)
        if result is None or kind in (float, bool) or (kind is int and result.bit_length() < 64):
            return result, _NUMBER_BYTES
        allowed = bool(self._request.allow_pickle)
        encode = functools.partial(
            _codec.encode, allow_pickle=self._may_pickle, compression=False, callables=allowed
        )
        try:
            try:
                frame = encode(result)
            except _codec.Entangled as failure:
                if not self._may_pickle:
                    raise
                from lambdamap.shipping import kinds

                result = kinds.whole(result, failure)
                frame = encode(result)
        except _codec.EncodeFailure as failure:
            text, path = failure.args
            if allowed != self._may_pickle:
                differ = describe.pythons_differ(self._request.python)
                text += f" ({differ}, so results cannot be pickled)"
            raise _codec.EncodeFailure(f"at result{path}: {text}" if path else text) from None
        size = _text_bytes(frame)
        if size > _RESULTS_BYTES and self._request.compression:  # it may fit when compressed
            size = _text_bytes(encode(result, compression=True))
        return result, size

    def encode(self) -> str | dict[str, Any]:
        """Return the results and the errors among them, as the reply's ``r``."""
        if self._is_json:
            errors = {str(index): error for index, error in self._errors.items()}
            return {"results": self.results, "errors": errors}
        text = self._encode(self.results)
        if len(text) <= _RESULTS_BYTES:
            return text
        # In a column, a few wide numbers make all of them wide. Encoded one by one, the results take
        # what was measured.
        return self._encode(dict(enumerate(self.results)))

    def _encode(self, results: list[Any] | dict[int, Any]) -> str:
        allowed = bool(self._request.allow_pickle)
        return _codec.encode_text(
            [results, self._errors],
            allow_pickle=allowed,
            compression=bool(self._request.compression),
            callables=allowed,
        )


def _text_bytes(frame: bytes) -> int:
    """Return an upper bound for the bytes of a frame in base64."""
    return 4 * len(frame) // 3 + 1
