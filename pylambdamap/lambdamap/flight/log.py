"""Log records of a map, by the logger ``lambdamap``.

One record per chunk at DEBUG. One per retry at WARNING; for 429 replies and connection failures,
only the first of a map at WARNING and the rest at DEBUG, since a map that exceeds its function's
concurrency may get thousands. Each record has these attributes, for structured handlers:
``event``, ``map_id``, ``first_item``, ``n_items``, ``attempt``, ``status``, ``failure``, ``ran``,
``request_id``, ``delay`` and ``seconds`` (seconds), ``bytes_sent``, ``bytes_received``.

The logger ``lambdamap.wire`` is for debugging connections. Only if its own level is set to DEBUG,
it logs each connection, request head and reply; secrets are removed before the text is built. No
record contains a payload. Native threads never log: they leave notes, from which the calling thread
makes the records when it wakes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lambdamap.flight.ports import Completion, Port

__all__ = ["MapLog", "is_traced", "is_wanted"]

_log = logging.getLogger("lambdamap")
_wire = logging.getLogger("lambdamap.wire")

_WHY = {
    "retry": "retrying in {delay:.3g} s",
    "connect": "retrying in {delay:.3g} s",
    "throttle": "throttled; resent when the function accepts more",
    "poll": "the function is not ready; retrying in {delay:.3g} s",
    "sign": "signed again and resent at once",
    "refresh": "waiting for newer credentials",
}


def is_wanted() -> bool:
    """Return whether a retry would be logged."""
    return _log.isEnabledFor(logging.WARNING)


def is_traced() -> bool:
    """Return whether ``lambdamap.wire`` itself was set to DEBUG; an inherited level does not count."""
    return 0 < _wire.level <= logging.DEBUG and _wire.isEnabledFor(logging.DEBUG)


def _items(first: int, count: int) -> str:
    return f"item {first}" if count == 1 else f"items {first} to {first + count - 1}"


def _reply(status: int, request_id: str | None, unconnected: bool = False) -> str:
    """Describe the reply, or that there was none."""
    if not status:
        return "no connection" if unconnected else "no reply"
    return f"status {status}" + (f", request id {request_id}" if request_id else "")


class MapLog:
    """The records of one map. Levels are read once, when it starts."""

    __slots__ = ("_debug", "_map_id", "_port", "_said")

    def __init__(self, map_id: str, port: Port) -> None:
        self._map_id = map_id
        self._port = port
        self._debug = _log.isEnabledFor(logging.DEBUG)
        self._said: set[str] = set()  # kinds already logged at WARNING

    def chunk(self, completion: Completion) -> None:
        """Log a finished chunk."""
        if not self._debug:
            return
        self.notes()
        first, count = completion.first_item, completion.n_items
        state = completion.failure or ("done" if completion.done == count else "partly done")
        extra = {
            "event": "chunk",
            "map_id": self._map_id,
            "first_item": first,
            "n_items": count,
            "attempt": completion.attempts,
            "status": completion.status,
            "failure": completion.failure,
            "ran": completion.ran,
            "request_id": completion.request_id,
            "delay": 0.0,
            "seconds": completion.seconds,
            "bytes_sent": completion.bytes_sent,
            "bytes_received": completion.bytes_received,
        }
        _log.debug(
            "map %s %s: %s, %s, attempt %d (%s), %.3g s, %d bytes sent, %d received",
            self._map_id[:8],
            _items(first, count),
            state,
            completion.ran,
            completion.attempts,
            _reply(completion.status, completion.request_id, completion.failure == "connect"),
            completion.seconds,
            completion.bytes_sent,
            completion.bytes_received,
            extra=extra,
        )

    def notes(self) -> None:
        """Log the events since the last call."""
        for note in self._port.notes():
            kind = note["kind"]
            if kind == "lost":
                _log.warning(
                    "map %s: %d events could not be kept for the log",
                    self._map_id[:8],
                    note["count"],
                )
            elif kind in _WHY:
                self._retry(note)
            else:
                self._wire(note)

    def _retry(self, note: dict[str, Any]) -> None:
        kind = note["kind"]
        level = logging.DEBUG if kind in self._said else logging.WARNING
        if kind in ("connect", "throttle"):
            self._said.add(kind)
        if not _log.isEnabledFor(level):
            return
        extra = {name: value for name, value in note.items() if name not in ("kind", "text")}
        extra.update(event=kind, map_id=self._map_id)
        _log.log(
            level,
            "map %s %s: %s after attempt %d (%s), %s, %s",
            self._map_id[:8],
            _items(note["first_item"], note["n_items"]),
            note["failure"],
            note["attempt"],
            _reply(note["status"], note["request_id"], kind == "connect"),
            note["ran"],
            _WHY[kind].format(delay=note["delay"]),
            extra=extra,
        )

    def _wire(self, note: dict[str, Any]) -> None:
        kind = note["kind"]
        extra = {name: value for name, value in note.items() if name not in ("kind", "text")}
        extra.update(event=kind, map_id=self._map_id)
        if kind == "reply":
            text = (
                f"{_reply(note['status'], note['request_id'])}, "
                f"{note['bytes_received']} bytes in all, after {note['seconds']:.3g} s"
            )
        else:
            text = note["text"] or ""
        items = _items(note["first_item"], note["n_items"])
        _wire.debug("map %s %s: %s: %s", self._map_id[:8], items, kind, text, extra=extra)
