"""Maps directly on `lambdamap._net`, for tests of that layer only."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import scripted

if TYPE_CHECKING:
    from lambdamap import LambdaExecutor, _net

__all__ = [
    "Endless",
    "api_options",
    "collect",
    "executor_on",
    "invoke",
    "notes",
    "open_map",
    "open_target",
    "until",
]

HANG_S = 30.0

_names = itertools.count()


def open_target(url: str, *, ca_file: Path | None = None, **changes: Any) -> _net.Target:
    """Return a Target for a scripted server, with its own function: limiter and quota."""
    from lambdamap import _net

    parts = urlsplit(url)
    name = f"function-{next(_names)}"
    arguments: dict[str, Any] = {
        "scheme": parts.scheme,
        "host": parts.hostname,
        "port": parts.port,
        "path": f"/2015-03-31/functions/{name}/invocations",
        "query": "",
        "region": scripted.REGION,
        "access_key": scripted.ACCESS_KEY,
        "secret_key": scripted.SECRET_KEY,
        "token": None,
        "expires_at": None,
        "headers": [],
        "proxy": None,
        "ca_file": None if ca_file is None else str(ca_file),
        "ca_path": None,
        "max_concurrency": 64,
        "max_attempts": 3,
        "max_connect_ms": 20_000,
        "connect_patience_ms": 300,
        "http_version": "1.1",
    }
    return _net.open_target(**{**arguments, **changes})


def open_map(target: _net.Target, **changes: Any) -> _net.Map:
    """Open a map whose bodies are sent unchanged, unless `envelope` is given."""
    from lambdamap import _net

    arguments: dict[str, Any] = {
        "envelope": None,
        "map_id": uuid.uuid4().hex,
        "compression": False,
        "idempotent": False,
        "invocation_timeout_ms": 20_000,
        "timeout_ms": -1,
        "max_result_bytes": 256 << 20,
        "max_reply_bytes": 6_291_556 + 65_536,
        "notes": False,
        "trace": False,
        "bound_id": "",
        "billing": 0,
    }
    return _net.open_map(target, **{**arguments, **changes})


def collect(net_map: _net.Map, seconds: float = HANG_S, *, left: int = 0) -> list[_net.Completion]:
    """Return the outstanding completions, except for the last few, by first item."""
    ends = time.monotonic() + seconds
    found = []
    while net_map.outstanding > left:
        completion = net_map.take()
        if completion is None:
            assert time.monotonic() < ends, f"{net_map.outstanding} chunks hang"
            net_map.wait(1.0)
            continue
        found.append(completion)
    return sorted(found, key=lambda completion: completion.first_item)


def invoke(
    target: _net.Target,
    bodies: Iterable[bytes] = (b'{"body":1}',),
    *,
    hang_s: float = HANG_S,
    **changes: Any,
) -> list[_net.Completion]:
    """Run one map of these bodies, with as many in flight as the window allows."""
    net_map = open_map(target, **changes)
    for number, body in enumerate(bodies):
        while not net_map.submit(body, number, 1):
            net_map.wait(1.0)
    return collect(net_map, hang_s)


def api_options(server: scripted.Server, **changes: Any) -> dict[str, Any]:
    """Return options of `lambdamap.map` for a scripted server."""
    return {
        "function": f"function-{next(_names)}",
        "endpoint_url": server.url,
        "region": scripted.REGION,
        "credentials": (scripted.ACCESS_KEY, scripted.SECRET_KEY),
        "chunksize": 1,
        "progress": False,
        **changes,
    }


def executor_on(server: scripted.Server, **changes: Any) -> LambdaExecutor:
    """Return an executor whose calls go to a scripted server."""
    import lambdamap

    options = api_options(server, **changes)
    del options["chunksize"], options["progress"]
    return lambdamap.LambdaExecutor(**options)


def until(condition: Callable[[], object], hang_s: float = HANG_S) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + hang_s
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.005)


def notes(error: BaseException) -> list[str]:
    """Return an exception's notes, which Python has since 3.11."""
    return getattr(error, "__notes__", [])


class Endless:
    """0, 1, 2 and so on without end; `taken` is the last one taken."""

    def __init__(self) -> None:
        self.taken = -1

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.taken += 1
        return self.taken
