"""What happens to a chunk that the worker runs, in part at least: steps for a server that runs it in its own way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripted import Request, Step, aws_error

__all__ = ["ChunkFaults", "short_of_time"]


def short_of_time(request: Request) -> Request:
    """Leave the worker time for the first item only. A payload without an envelope stays as it is."""
    body = request.json()
    if "lambdamap" in body:
        body["lambdamap"]["left_ms"] = 499  # enough to start one, less than the worker's reserve
        request.body = json.dumps(body).encode()
    return request


@dataclass(frozen=True)
class ChunkFaults:
    """Steps of `scripted`, made of one function.

    answer: takes a step's connection and request, runs the request and returns the bytes of the reply.
    """

    answer: Callable[[Any, Request], bytes]

    def good(self, connection: Any, request: Request) -> None:
        connection.send(self.answer(connection, request))

    def after_run(self, step: Step) -> Step:
        """Run it, then do another step in place of the reply."""

        def both(connection: Any, request: Request) -> None:
            self.answer(connection, request)
            step(connection, request)

        return both

    def cut(self, connection: Any, request: Request) -> None:
        """The reply's end is lost."""
        connection.send(self.answer(connection, request)[:-5])
        connection.close()

    def cut_in_head(self, connection: Any, request: Request) -> None:
        connection.send(self.answer(connection, request)[:20])
        connection.reset()

    def in_part(self, step: Step) -> Step:
        """Do a step for a worker that stops after the first item."""

        def shortened(connection: Any, request: Request) -> None:
            step(connection, short_of_time(request))

        return shortened

    def too_large(self, connection: Any, request: Request) -> None:
        """A chunk of several items is."""
        if request.json().get("lambdamap", {}).get("items", 1) > 1:
            aws_error(413, "RequestEntityTooLargeException")(connection, request)
        else:
            self.good(connection, request)
