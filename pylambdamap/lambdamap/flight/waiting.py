"""Waiting for file descriptors.

If gevent or eventlet has patched `select`, other greenlets run meanwhile; the server of the local
Lambda may be one of them.
"""

from __future__ import annotations

import select
from collections.abc import Iterable
from types import BuiltinFunctionType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lambdamap.flight.ports import Port

__all__ = ["for_port", "for_readable"]


def for_port(port: Port, timeout_s: float) -> bool:
    """Wait until the port has something to take; return False on timeout."""
    if isinstance(select.select, BuiltinFunctionType):
        return port.wait(timeout_s)
    return bool(for_readable([port.fileno()], timeout_s))


def for_readable(descriptors: Iterable[int], timeout_s: float | None = None) -> list[int]:
    """Wait until some descriptors are readable, and return those."""
    if not hasattr(select, "poll"):  # eventlet removes it
        return select.select(list(descriptors), [], [], timeout_s)[0]
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return [fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000)]
