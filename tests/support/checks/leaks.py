"""Checks that a test leaves no threads, descriptors or native state behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["descriptors", "native_state", "nothing_left"]

_PATIENCE_S = 20.0


def descriptors() -> dict[int, str]:
    """Return the open descriptors and what they refer to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue  # the descriptor used for listing
    return found


def native_state() -> dict[str, int]:
    """Return what the dispatcher holds; nothing if it was never imported."""
    net = sys.modules.get("lambdamap._net")
    return {} if net is None else net.debug_state()


def _python_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.is_alive()}


def _sockets() -> set[str]:
    return {name for name in descriptors().values() if name.startswith("socket:")}


def _left(threads: set[threading.Thread], sockets: set[str]) -> list[str]:
    left = [f"thread {thread.name}" for thread in _python_threads() - threads]
    left += [f"descriptor {name}" for name in _sockets() - sockets]
    for name in ("maps", "used_bytes", "in_flight"):
        value = native_state().get(name, 0)
        if value:
            left.append(f"{name}: {value}")
    return left


def _stop_local_lambdas() -> None:
    """Stop the local Lambdas that earlier tests in this process left running.

    Their sandboxes may open connections at any time. Later tests start new ones.
    """
    server = sys.modules.get("lambdamap.local.server")
    for function in list(server._shared.values()) if server is not None else []:
        function.stop()


@contextmanager
def nothing_left() -> Iterator[None]:
    """Fail if the body leaves Python threads, sockets, maps, bytes or jobs behind.

    The dispatcher's own threads, epoll and event descriptors stay by design. It gets a moment to
    notice that a peer has closed.
    """
    _stop_local_lambdas()
    threads, sockets = _python_threads(), _sockets()
    yield
    gc.collect()  # a caught exception and its frame form a cycle, which may hold a map
    ends = time.monotonic() + _PATIENCE_S
    while (left := _left(threads, sockets)) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not left, f"left behind: {left}"
