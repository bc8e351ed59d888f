"""One invocation of the function, from the front that accepts it to the sandbox that runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdamap.local.budget import Grant
    from lambdamap.local.http import Request

__all__ = ["Invocation"]


class Invocation:
    """One invocation, from its request to its reply."""

    __slots__ = (
        "_body", "_room", "answered", "headers", "id", "is_first", "is_shown", "request", "started", "wants_log",
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
        self.request = request  # None: of type Event, whose caller has a reply already
        self._body = body
        self._room = room  # for the body
        self.wants_log = log_type == "Tail"  # the end of the log goes into the reply
        self.is_shown = log_type != "None"  # output goes to the server's log
        self.started = 0.0  # time of the event loop
        self.headers = headers  # for the Runtime API
        self.answered = False
        self.is_first = False  # its sandbox had none before

    def take_body(self) -> bytes:
        """Return the body and give up the space for it; b"" from the second call on."""
        body, self._body = self._body, b""
        self._room.release()
        return body
