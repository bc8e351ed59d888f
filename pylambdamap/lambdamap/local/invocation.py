"""One request for the function, between the front that takes it and the sandbox that works on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdamap.local.budget import Grant
    from lambdamap.local.http import Request

__all__ = ["Invocation"]


class Invocation:
    """One request for the function, from its arrival to its answer."""

    __slots__ = (
        "_body", "_room", "answered", "headers", "id", "is_shown", "request", "started", "wants_log",
    )  # fmt: skip

    def __init__(
        self,
        id_: str,
        request: Request | None,
        body: bytes,
        log_type: str,
        headers: list[tuple[str, str]],
        room: Grant,
    ) -> None:
        self.id = id_
        self.request = request  # None: an Event, whose caller has its answer already
        self._body = body
        self._room = room  # that the body takes
        self.wants_log = log_type == "Tail"  # in its reply
        self.is_shown = log_type != "None"  # on the server's log
        self.started = 0.0  # loop time
        self.headers = headers  # for the Runtime API
        self.answered = False

    def take_body(self) -> bytes:
        """Its body, which is the caller's from now on: there is nothing when asked again."""
        body, self._body = self._body, b""
        self._room.release()
        return body
