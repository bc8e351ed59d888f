"""Opening a map: choose the backend, ship the function, and create an `Engine`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from lambdamap import _codec, ambient, errors
from lambdamap._version import __version__
from lambdamap.backends import remote_depth
from lambdamap.flight import log
from lambdamap.flight.durable import Names
from lambdamap.flight.engine import Engine
from lambdamap.flight.packers import Payloads, coding_of
from lambdamap.flight.ports import Link
from lambdamap.shipping.envelope import PYTHON

if TYPE_CHECKING:
    from lambdamap.backends.route import Route
    from lambdamap.flight.ports import Port
    from lambdamap.options import Options
    from lambdamap.shipping.functions import Shipment

__all__ = ["connect", "invocations_at_once", "open_engine", "open_payload_engine"]

_DEFAULT_INVOCATION_S = 1830.0  # longest possible invocation, plus 30 s for the network
_MAX_REPLY_BYTES = _codec.MAX_REPLY_BYTES + 65_536
_ZAPPA_TASK = "lambdamap.worker.entry.zappa_task"


def invocations_at_once(options: Options) -> int:
    """Return the maximum number of concurrent invocations; 1 for work in this process.

    Raises
    ------
    ConfigError
        backend="aws" without a function.
    """
    from lambdamap import backends

    name = backends.choose(options)
    if name == "inline":
        return 1
    if options.max_concurrency is not None:
        return options.max_concurrency
    if name == "aws":
        from lambdamap.backends.route import MOST_AT_ONCE

        return MOST_AT_ONCE
    if name == "local":
        return int(_route(options)[1].max_concurrency)
    from lambdamap.backends.inprocess import width_of

    return width_of(options.backend)


def _milliseconds(seconds: float | None) -> int:
    return -1 if seconds is None else max(1, int(seconds * 1000))


def _default_budget() -> int:
    """Return min(512 MB, a quarter of the memory available to this process), in bytes."""
    import os

    most = 512 << 20
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return most
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path) as file:
                memory = min(memory, int(file.read()))
        except (OSError, ValueError):
            continue
    lambda_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if lambda_mb.isdigit():
        memory = min(memory, int(lambda_mb) << 20)
    return min(most, memory // 4)


def _route(options: Options) -> tuple[str, Any]:
    """Return the backend's name and its route; the route is None for work in this process."""
    from lambdamap import backends

    name = backends.choose(options)
    if name in ("inline", "executor"):
        return name, None
    if name == "local":
        from lambdamap.backends import local

        return name, local.route(options)
    from lambdamap.backends import aws

    function = options.function or backends.own_function()
    assert function is not None
    return name, aws.route(options, function)


def _compresses(options: Options, route: Route | None) -> bool:
    """Return whether requests and replies are compressed; "auto": unless the endpoint is local."""
    if options.compression != "auto":
        return bool(options.compression)
    if route is None:
        return False
    from lambdamap.backends.aws import is_local_url

    return not is_local_url(route.url)


def _billing(options: Options, route: Route) -> int:
    """Return whose log's end is asked for: of no reply, of a sample or of all, as `_net.open_map` has it."""
    if options.billing is None:
        return 1 if route.reports else 0
    # A request says at most once what becomes of the log.
    asked = any(name.lower() == "x-amz-log-type" for name, _ in route.headers)
    return 2 if options.billing and not asked else 0


def _open_native(
    route: Any,
    options: Options,
    envelope: bytes | None,
    map_id: str,
    compression: bool,
    bound_id: str = "",
) -> tuple[Port, Callable[[], int], Callable[[], None]]:
    _net = _dispatcher()
    from lambdamap.backends.route import open_target, renew

    _net.set_budget(options.max_inflight_bytes or _default_budget())
    target = open_target(route, options)
    port = _net.open_map(
        target,
        envelope=envelope,
        map_id=map_id,
        compression=compression,
        idempotent=options.idempotent,
        invocation_timeout_ms=_milliseconds(options.invocation_timeout or _DEFAULT_INVOCATION_S),
        timeout_ms=_milliseconds(options.timeout),
        max_result_bytes=options.max_result_bytes,
        max_reply_bytes=_MAX_REPLY_BYTES,
        notes=log.is_wanted(),
        trace=log.is_traced(),
        bound_id=bound_id,
        billing=_billing(options, route),
    )
    return port, lambda: target.window, lambda: renew(target, route)


def _open_in_process(
    executor: Any, options: Options, head: dict[str, Any]
) -> tuple[Port, Callable[[], int]]:
    """Open a map in an executor; None: in the calling thread."""
    from lambdamap.backends.inprocess import InProcessMap, width_of

    width = options.max_concurrency or width_of(executor)
    return InProcessMap(executor, head, options.timeout), lambda: width


def _dispatcher() -> Any:
    """Return the native dispatcher's module.

    Raises
    ------
    ConfigError
        It does not load: a library that it needs is missing.
    """
    try:
        from lambdamap import _net
    except ImportError as error:
        raise errors.ConfigError(
            f"lambdamap's dispatcher does not load ({error}). On Lambda, pack the wheel that ./dev "
            "wheel makes (lambdamap deploy --wheel); elsewhere, install libcurl 7.76 or later and "
            "OpenSSL, then reinstall lambdamap"
        ) from error
    return _net


def _runs_on(name: str, route: Route | None) -> str:
    """Return where cancelled invocations that had started run to completion; "": nowhere.

    The local Lambda ends them."""
    if route is None:
        return "in the executor" if name == "executor" else ""
    return "" if name == "local" else f"on {route.function}"


def _head(
    shipment: Shipment,
    calls: str,
    options: Options,
    map_id: str,
    compression: bool,
    allow_pickle: bool,
) -> dict[str, Any]:
    digest = None
    if shipment.source is not None:
        from lambdamap.worker.source import source_digest

        digest = source_digest(shipment.source)
    codec = {} if options.codec == "native" else {"codec": options.codec}
    return {
        "protocol": _codec.PROTOCOL,
        **codec,
        "version": __version__,
        "python": PYTHON,
        "by_value": int(shipment.by_value),
        "map": map_id,
        "depth": max(0, remote_depth(options)),
        "on_error": "return" if options.retries else options.on_error,
        "idempotent": int(options.idempotent),
        "compression": int(compression),
        "allow_pickle": int(allow_pickle),
        "calls": calls,
        "function": shipment.path,
        "code": digest,
    }


def open_engine(
    function: Callable[..., Any],
    iterator: Iterator[Any],
    options: Options,
    *,
    total: int | None,
    calls: str = "item",
    ordered: bool = True,
    marks_errors: bool = False,
    bound_id: str = "",
) -> Engine:
    """Return an engine that calls f on items; its first window has been submitted.

    Parameters
    ----------
    function, options
        As for `lambdamap.map`.
    iterator
        The items, read in the thread that steps the engine; or a `Feed`.
    total
        Number of items; None if unknown.
    calls
        How f is called with an item: one of `lambdamap.shipping.envelope.CALLS`.
    ordered
        False: results are returned in the order of completion.
    marks_errors
        As for `Engine`.
    bound_id
        Maps with the same id share ``max_concurrency``.
    """
    from lambdamap.shipping.functions import ship

    try:
        shipment = ship(function, options.by_value)
        link = connect(shipment, options, calls=calls, bound_id=bound_id)
        if options.journal is not None:
            from lambdamap.flight import resume

            link = resume.keep(link, options, resume.head_of(function, shipment, options, calls))
    except (errors.ConfigError, errors.EncodeError) as error:
        raise error.with_traceback(None)  # noqa: B904  # drop the traceback, which fills pages in a notebook
    return _start(
        Engine(link, iterator, options, total=total, ordered=ordered, marks_errors=marks_errors)
    )


def _start(engine: Engine) -> Engine:
    ambient.adopt(engine)
    try:
        engine.fill()
    except BaseException as error:
        engine.end(error)
        raise
    return engine


def connect(shipment: Shipment, options: Options, *, calls: str, bound_id: str = "") -> Link:
    """Choose the backend and open a map of this function there; nothing is sent.

    bound_id: as for `open_engine`.

    Raises
    ------
    ConfigError
        No function, region or credentials.
    EncodeError
        The function's constant arguments cannot be sent.
    """
    name, route = _route(options)
    trusted = route is None or route.trusted
    allow_pickle = trusted if options.allow_pickle is None else options.allow_pickle
    map_id = uuid.uuid4().hex
    compression = _compresses(options, route)
    coding = coding_of(shipment, options, calls, allow_pickle)
    head = _head(shipment, calls, options, map_id, compression, allow_pickle)
    if route is None:
        executor = None if name == "inline" else options.backend
        port, window = _open_in_process(executor, options, head)
        return Link(map_id, port, window, coding, None, _runs_on(name, route))
    text = json.dumps({"command": _ZAPPA_TASK, "lambdamap": head}, separators=(",", ":"))
    port, window, renew = _open_native(
        route, options, text[:-2].encode(), map_id, compression, bound_id
    )
    return Link(map_id, port, window, coding, renew, _runs_on(name, route))


def open_payload_engine(
    iterator: Iterator[Any],
    options: Options,
    *,
    total: int | None,
    raw: bool,
    durable_execution_name: str | Callable[[int, Any], str] | None = None,
    ordered: bool = True,
) -> Engine:
    """Return an engine that sends payloads to any Lambda function. ordered: as for `open_engine`."""
    names = None if durable_execution_name is None else Names(durable_execution_name)
    if names is not None and options.retries:
        raise errors.ConfigError(
            "retries does not apply to durable executions: Lambda runs each name once"
        )
    name, route = _route(options)
    if route is None:
        raise errors.ConfigError(f"invoke_map needs a Lambda function, not backend={name!r}")
    map_id = uuid.uuid4().hex
    port, window, renew = _open_native(route, options, None, map_id, _compresses(options, route))
    if names is not None:
        port = names.naming(port)
    link = Link(map_id, port, window, Payloads(raw, names), renew, _runs_on(name, route))
    if options.journal is not None:
        from lambdamap.flight import resume

        if names is not None:
            raise errors.ConfigError(
                "durable_execution_name and journal cannot be combined: Lambda keeps the reply of a "
                "durable execution, so the same call can be repeated"
            )
        link = resume.keep(link, options, resume.head_of_payloads(route.function, options))
    return _start(Engine(link, iterator, options, total=total, ordered=ordered))
