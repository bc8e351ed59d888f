"""The fields of the outer envelope: their valid values, and the functions that read them.

`REQUEST`, `REPLY`, `REPLY_HEAD` and `ERROR` are the tables in docs/wire-format.md. A field must have
exactly its type (``true`` and ``1.0`` are not integers) and be in its range; unknown fields are
ignored. csrc/core/wire/envelope.c reads the same reply fields, by the same rules, from the bytes of a
remote reply.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypedDict, cast

from lambdamap._codec import PROTOCOL
from lambdamap._version import __version__

if TYPE_CHECKING:
    from typing import TypeGuard

    from lambdamap.errors import Ran

__all__ = [
    "CALLS",
    "ERROR",
    "MARKER",
    "PYTHON",
    "REPLY",
    "REPLY_HEAD",
    "REQUEST",
    "REQUIRED",
    "ErrorObject",
    "Field",
    "Malformed",
    "Reply",
    "Request",
    "check_protocol",
    "echo",
    "is_request",
    "load",
    "read_error",
    "read_reply",
    "read_request",
]

MARKER: Final = "lambdamap"
PYTHON: Final = "%d.%d" % sys.version_info[:2]  # of this side, in the form of the field `python`
REQUIRED: Final[Any] = object()  # the default of a field that must be present
_SHOWN_CHARS = 40  # of a value in a message
_DEPLOY = "deploy the same release of lambdamap on both sides"


class Malformed(ValueError):
    """An envelope, or part of one, that violates docs/wire-format.md."""


class Field(NamedTuple):
    """One field: its type, its valid values, and its default."""

    name: str
    type: Literal["integer", "text", "object", "text or object", "any"]
    # A range of integers. For text: one of several, a pattern, or a maximum length; None: any.
    allowed: range | tuple[str, ...] | re.Pattern[str] | int | None
    default: Any = REQUIRED
    null: bool = False  # null means absent


_ID = re.compile(r"[0-9a-f]{32}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FLAG = range(2)
_COUNT = range(1 << 32)
_INT64 = range(-(1 << 63), 1 << 63)
_NAME_CHARS = 4096
_VERSION_CHARS = 100

# How f is called with the items of an invocation.
CALLS = ("item", "star", "call", "batch", "each", "group")

REQUEST = (
    Field("protocol", "integer", range(PROTOCOL, PROTOCOL + 1)),
    Field("codec", "text", ("native", "json"), "native"),
    Field("calls", "text", CALLS, "item"),
    Field("version", "text", _VERSION_CHARS, ""),
    Field("python", "text", _VERSION_CHARS, ""),
    Field("by_value", "integer", _FLAG, 0),
    Field("map", "text", _ID),
    Field("chunk", "integer", range(1 << 63)),
    Field("items", "integer", _COUNT),
    Field("attempt", "integer", _COUNT, 1),
    Field("left_ms", "integer", _INT64, None),
    Field("on_error", "text", ("raise", "return"), "raise"),
    Field("idempotent", "integer", _FLAG, 0),
    Field("compression", "integer", _FLAG, 1),
    Field("allow_pickle", "integer", _FLAG, 0),
    Field("depth", "integer", range(1 << 31), 0),
    Field("function", "text", _NAME_CHARS, ""),
    Field("code", "text", _SHA256, None, null=True),
)

REPLY_HEAD = (
    Field("protocol", "integer", range(PROTOCOL, PROTOCOL + 1)),
    Field("version", "any", None, None),
    Field("python", "any", None, None),
    Field("map", "text", _ID, None),
    Field("chunk", "integer", range(1 << 63), None),
    Field("done", "integer", _COUNT, None),
    Field("us", "integer", range(1 << 63), 0),
    Field("code", "any", None, None, null=True),
    Field("allow", "any", None, None),
)

# Next to the head, which is the object under `MARKER`.
REPLY = (
    Field("r", "text or object", None, None),
    Field("error", "object", None, None, null=True),
    Field("out", "any", None, None),
)

ERROR = (
    Field("kind", "text", None),
    Field("type", "text", None),
    Field("module", "text", None, "", null=True),
    Field("message", "text", None),
    Field("traceback", "text", None, "", null=True),
    Field("index", "integer", _COUNT, None, null=True),
    Field("exception", "text", None, None, null=True),
    Field("ran", "text", ("NOT", "MAYBE", "RAN")),
)

_OF_ITEMS = ("function", "encode", "size")  # kinds of error that mean that f has run


class Request(NamedTuple):
    """The head of a request: the fields of `REQUEST`, checked."""

    protocol: int
    codec: Literal["native", "json"]
    calls: Literal["item", "star", "call", "batch", "each", "group"]
    version: str
    python: str
    by_value: int
    map: str
    chunk: int
    items: int
    attempt: int
    left_ms: int | None
    on_error: Literal["raise", "return"]
    idempotent: int
    compression: int
    allow_pickle: int
    depth: int
    function: str
    code: str | None


class Reply(NamedTuple):
    """A reply that was checked against its request, except for `error`, which `read_error` checks."""

    done: int
    us: int
    code: Any
    r: Any  # a text, an object or None
    error: dict[str, Any] | None
    out: Any


class ErrorObject(TypedDict):
    """The fields of `ERROR`, checked."""

    kind: str
    type: str
    module: str
    message: str
    traceback: str
    index: int | None
    exception: str | None
    ran: Ran


# --- values -------------------------------------------------------------------------------------


def _shown(value: object) -> str:
    """Return a value from the wire as shown in a message, bounded in length."""
    if isinstance(value, str):
        return ascii(value) if len(value) <= _SHOWN_CHARS else f"{len(value)} characters of text"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int) and value.bit_length() > 64:
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, (list, tuple)) else f"a {type(value).__name__}"


def _expected(field: Field) -> str:
    match field.allowed:
        case range(start=low, stop=end) if end - low == 1:
            return str(low)
        case range(start=low, stop=end):
            return f"an integer from {low} to {end - 1}"
        case tuple() as words:
            return f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"
        case re.Pattern() as pattern:
            return f"text that matches {pattern.pattern}"
        case int() as most:
            return f"text of at most {most} characters"
    return field.type.replace("object", "an object")


def _is_text(value: object) -> TypeGuard[str]:
    if type(value) is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _fits(value: object, field: Field) -> bool:
    if field.type == "integer":
        allowed = field.allowed
        return type(value) is int and isinstance(allowed, range) and value in allowed
    if field.type == "object":
        return type(value) is dict
    if field.type == "any" or (field.type == "text or object" and type(value) is dict):
        return True
    if not _is_text(value):
        return False
    match field.allowed:
        case tuple() as words:
            return value in words
        case re.Pattern() as pattern:
            return pattern.fullmatch(value) is not None
        case int() as most:
            return len(value) <= most
    return True


def _read(found: Mapping[Any, Any], field: Field, where: str) -> Any:
    value = found.get(field.name, REQUIRED)
    if value is REQUIRED or (value is None and field.null):
        if field.default is REQUIRED:
            raise Malformed(f"{where} has no {field.name}")
        return field.default
    if not _fits(value, field):
        wrong = f"{field.name} of {where} must be {_expected(field)}, got {_shown(value)}"
        raise Malformed(wrong)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise Malformed("duplicate key in an object")
    return made


def _refuse(constant: str) -> Any:
    raise Malformed(f"{constant} is not JSON")


def load(text: bytes | str) -> Any:
    """Return the value of JSON text without duplicate keys.

    Raises
    ------
    Malformed
        It is not JSON, is nested too deeply, or has an integer with more digits than Python reads.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except Malformed:
        raise
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None


# --- requests -----------------------------------------------------------------------------------


def is_request(event: object) -> bool:
    """Return whether an event is a request: an object with an object under `MARKER` and a payload."""
    return isinstance(event, dict) and isinstance(event.get(MARKER), dict) and "p" in event


def read_request(event: Mapping[str, Any]) -> Request:
    """Return the head of a request after checking every field.

    Raises
    ------
    Malformed
        A field is missing, or has the wrong type or an invalid value.
    """
    head = event[MARKER]
    protocol = head.get("protocol")
    if type(protocol) is int and protocol != PROTOCOL:  # other fields may have other meanings
        version = head.get("version")
        release = f" (lambdamap {version})" if _is_text(version) and len(version) < 40 else ""
        raise Malformed(
            f"the caller speaks protocol {_shown(protocol)}{release}, this worker {PROTOCOL} "
            f"(lambdamap {__version__}): {_DEPLOY}"
        )
    try:
        return Request(*[_read(head, field, "the request") for field in REQUEST])
    except Malformed as wrong:
        raise Malformed(f"{wrong} (this worker runs lambdamap {__version__}): {_DEPLOY}") from None


def echo(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request, even a malformed one, that its reply repeats."""
    head = event[MARKER]
    fields = [field for field in REQUEST if field.name in ("map", "chunk")]
    return {f.name: head[f.name] for f in fields if f.name in head and _fits(head[f.name], f)}


# --- replies ------------------------------------------------------------------------------------


def check_protocol(head: Mapping[str, Any]) -> None:
    """Raise `Malformed` unless the head of a reply has this protocol."""
    said = head.get("protocol")
    if type(said) is int and said in _COUNT and said != PROTOCOL:
        raise Malformed(f"the worker speaks protocol {said}, this caller {PROTOCOL}: {_DEPLOY}")
    _read(head, REPLY_HEAD[0], "the reply")


def read_reply(reply: object, map_id: str, chunk: int, items: int, codec: str) -> Reply:
    """Return a reply that was never JSON text, checked against its request.

    It does the same as `lm_envelope_read` and `lm_envelope_check`.

    Raises
    ------
    Malformed
        It is not a lambdamap reply, belongs to another request, or contradicts itself.
    """
    head = reply.get(MARKER) if isinstance(reply, dict) else None
    if not isinstance(reply, dict) or not isinstance(head, dict):
        raise Malformed("not a lambdamap reply")
    check_protocol(head)
    read = {field.name: _read(head, field, "the reply") for field in REPLY_HEAD}
    r, error, out = (_read(reply, field, "the reply") for field in REPLY)
    if r is not None and isinstance(r, dict) is not (codec == "json"):
        raise Malformed("the results are not encoded with the request's codec")
    done = read["done"]
    refused = error is not None and done is None
    for name, mine in (("map", map_id), ("chunk", chunk)):
        if read[name] != mine and not (refused and read[name] is None):
            raise Malformed(f"the reply does not belong to chunk {chunk} of this map")
    if not refused:
        if done is None:
            raise Malformed("the reply has neither a count of done items nor an error")
        if done > items:
            raise Malformed(f"the reply says that {done} of {items} items are done")
        if (r if done else error) is None:
            raise Malformed("the reply contains neither results nor an error")
    return Reply(done or 0, read["us"], read["code"], r, error, out)


def read_error(found: object, items: int, done: int, *, among: int | None = None) -> ErrorObject:
    """Return the error of a reply, checked against the rest of the reply.

    Parameters
    ----------
    found
        The object, or its JSON.
    items, done
        Number of items in the chunk, and of those that are done according to the reply.
    among
        Index of the item, for an error that is among the results of other items.

    Raises
    ------
    Malformed
        A field is missing or invalid, the error does not belong to the first item that is not done,
        or it says that f has not run although it has.
    """
    if isinstance(found, bytes):
        found = load(found)
    if type(found) is not dict:
        raise Malformed(f"the error must be an object, got {_shown(found)}")
    read = {field.name: _read(found, field, "the error") for field in ERROR}
    index, ran = read["index"], read["ran"]
    if among is not None:
        if index not in (None, among):
            raise Malformed(f"the error of item {among} names item {index}")
        read["index"] = among
    elif index is not None and (index >= items or index != done):
        raise Malformed(f"the error names item {index} of {items}, but {done} are done")
    has_run = read["kind"] in _OF_ITEMS or among is not None or (index is None and done > 0)
    if ran == "NOT" and has_run:
        raise Malformed("the error says that f has not run, but the reply says that it has")
    if ran != "RAN" and read["kind"] in _OF_ITEMS:
        raise Malformed(f"an error of kind {read['kind']} means that f has run, but it says {ran}")
    return cast("ErrorObject", read)
