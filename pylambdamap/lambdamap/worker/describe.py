"""Errors as data: the ``error`` object of a reply.

Its fields are those of `lambdamap.shipping.envelope.ERROR`. Texts are truncated, so that no error
makes a reply too large.
"""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING, Literal

from lambdamap.shipping.envelope import PYTHON
from lambdamap.worker.output import cut

if TYPE_CHECKING:
    from lambdamap.shipping.envelope import ErrorObject

__all__ = ["Failure", "of_item", "of_request", "pythons_differ", "too_large", "too_late"]

_TEXT_BYTES = 16384  # limit for a message, traceback or exception, as JSON
_NAME_BYTES = 1024  # limit for the name of an exception's class or module, as JSON


class Failure(Exception):
    """The request failed as a whole, not one of its items.

    Attributes
    ----------
    kind : str
        The error's ``kind`` in the envelope.
    ran : {"NOT", "RAN"}
        Whether items have run.
    trace : str
        A traceback, or "".
    """

    def __init__(
        self, kind: str, text: str, ran: Literal["NOT", "RAN"] = "NOT", trace: str = ""
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.ran = ran
        self.trace = trace


def too_late() -> Failure:
    """Return the failure of a request whose deadline leaves no time for a single item."""
    return Failure("deadline", "no time left on the worker to start an item")


def pythons_differ(python: str) -> str:
    """Return which Python each side runs, to be followed by a comma and the consequence."""
    return f"the caller runs Python {python} and this worker {PYTHON}"


def of_request(failure: Failure) -> ErrorObject:
    """Describe the failure of a whole request."""
    return {
        "kind": failure.kind,
        "type": "WorkerInitError",
        "module": "lambdamap",
        "message": cut(str(failure), _TEXT_BYTES),
        "traceback": cut(failure.trace, _TEXT_BYTES, keep_end=True),
        "index": None,
        "exception": None,
        "ran": failure.ran,
    }


def of_item(
    error: BaseException, index: int, kind: str = "function", allow_pickle: bool = False
) -> ErrorObject:
    """Describe the exception of one item.

    Parameters
    ----------
    error
        What f, or the encoding of its result, raised.
    index
        The item's position in the chunk.
    kind
        "function": raised by f; the exception itself is sent as well. "encode": the result of f
        cannot be encoded.
    allow_pickle
        Whether the exception's state may be pickled.
    """
    exception: str | None = None
    if kind == "function":
        from lambdamap.shipping import exceptions

        exception = exceptions.pack(error, allow_pickle, _TEXT_BYTES)
    frames = error.__traceback__
    while frames is not None and _is_ours(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException:
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    try:
        message = str(error)
    except BaseException as broken:
        message = f"<str() of the exception raised {type(broken).__name__}>"
    return {
        "kind": kind,
        "type": cut(type(error).__qualname__, _NAME_BYTES),
        "module": cut(str(type(error).__module__), _NAME_BYTES),
        "message": cut(message, _TEXT_BYTES),
        "traceback": cut(text, _TEXT_BYTES, keep_end=True),
        "index": index,
        "exception": exception,
        "ran": "RAN",
    }


def too_large(index: int, size: int, most: int) -> ErrorObject:
    """Describe a result of `size` bytes that exceeds the `most` bytes of a reply's results."""
    remedy = "return less, or store the result and return its location"
    beside = ""
    if size <= most:
        beside = " together with the results before it"
        remedy = "use a smaller chunksize, or idempotent=True if f may run twice"
    return {
        "kind": "size",
        "type": "PayloadTooLargeError",
        "module": "lambdamap",
        "message": f"f has run, but its result of {size:,} bytes exceeds the 6 MB of a Lambda reply"
        f"{beside}: {remedy}",
        "traceback": "",
        "index": index,
        "exception": None,
        "ran": "RAN",
    }


def _is_ours(path: str) -> bool:
    """Return whether a stack frame is in the worker itself, which tracebacks leave out."""
    return os.path.dirname(path) == os.path.dirname(__file__)
