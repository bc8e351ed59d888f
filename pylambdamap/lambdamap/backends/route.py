"""The native Target of a map, made from its options; for the AWS and the local backend."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lambdamap._checks import encoded_context
from lambdamap._version import __version__
from lambdamap.backends import proxies
from lambdamap.backends.credentials import Credentials
from lambdamap.errors import AccessDeniedError, ConfigError

if TYPE_CHECKING:
    from lambdamap._net import Target
    from lambdamap.options import Options

__all__ = ["Route", "open_target", "renew"]

MOST_AT_ONCE = 256
_CONNECT_MS = 5000


class Route(NamedTuple):
    """Where invocations are sent, and with which credentials."""

    name: str  # of the backend
    url: str
    function: str
    region: str
    credentials: Credentials
    max_concurrency: int
    trusted: bool  # arguments and results may be pickled by default
    find: Callable[[], Credentials] | None = None  # finds newer credentials
    headers: tuple[tuple[str, str], ...] = ()  # sent with each request
    qualifier: str | None = None  # alias or version, unless it is part of the function's name
    reports: bool = False  # replies may have the end of the log in a header, which is large
    ca_bundle: str | None = None  # file, or folder of hashed certificates; None: the system's


_targets: dict[tuple[object, ...], tuple[Target, Credentials]] = {}
_lock = threading.Lock()
_renewing = threading.Lock()
_MOST_TARGETS = 64


def _forget() -> None:
    global _lock, _renewing
    _targets.clear()
    _lock = threading.Lock()
    _renewing = threading.Lock()


os.register_at_fork(after_in_child=_forget)


def open_target(
    route: Route, options: Options, headers: tuple[tuple[str, str], ...] = ()
) -> Target:
    """Return the native Target of a route; maps with the same settings share one.

    headers: additional headers, sent with each request.
    """
    from lambdamap import _net

    url = urllib.parse.urlsplit(route.url)
    host = url.hostname or ""
    function = urllib.parse.quote(
        route.function, safe=""
    )  # may include an alias or version after a colon
    trace = os.environ.get("_X_AMZN_TRACE_ID")
    all_headers = [("User-Agent", f"lambdamap/{__version__}"), *route.headers, *headers]
    if options.tenant_id is not None:
        all_headers.append(("X-Amz-Tenant-Id", options.tenant_id))
    if options.client_context is not None:
        all_headers.append(("X-Amz-Client-Context", encoded_context(options.client_context)))
    if trace and os.environ.get("AWS_LAMBDA_FUNCTION_NAME"):
        # AWS detects and stops recursive functions by this header.
        all_headers.append(("X-Amzn-Trace-Id", urllib.parse.quote(trace, safe="-=;:+&[]{}\"',")))
    attempts = options.max_attempts
    if attempts is None:
        with contextlib.suppress(ValueError):
            attempts = max(1, min(100, int(os.environ.get("AWS_MAX_ATTEMPTS", ""))))
    patience_ms = max(1, int(1000 * options.connect_timeout))
    is_folder = route.ca_bundle is not None and os.path.isdir(route.ca_bundle)
    name = urllib.parse.quote(route.qualifier or "", safe="")
    opening = functools.partial(
        _net.open_target,
        scheme=url.scheme,
        host=host,
        port=url.port or (443 if url.scheme == "https" else 80),
        path=f"{url.path.rstrip('/')}/2015-03-31/functions/{function}/invocations",
        query=f"Qualifier={name}" if name else "",
        region=route.region,
        headers=tuple(all_headers),
        proxy=proxies.find(url.scheme, host),
        ca_file=None if is_folder else route.ca_bundle,
        ca_path=route.ca_bundle if is_folder else None,
        max_concurrency=options.max_concurrency or route.max_concurrency,
        max_attempts=attempts or 3,
        max_connect_ms=min(_CONNECT_MS, patience_ms),
        connect_patience_ms=patience_ms,
        http_version=None if options.http_version == "auto" else options.http_version,
    )
    keys = route.credentials
    # Newer keys from the same source reuse its Target; keys of another caller get their own.
    whose = keys.access_key if keys.source == "argument" else (keys.source, options.profile)
    key = (whose, *opening.keywords.values())
    with _lock:
        found = _targets.get(key)
        if found is not None and not found[0].closed:
            target, before = found
            if before[:4] != keys[:4]:
                target.set_credentials(
                    keys.access_key, keys.secret_key, keys.token, keys.expires_at
                )
                _targets[key] = (target, keys)
            return target
        try:
            target = opening(
                access_key=keys.access_key,
                secret_key=keys.secret_key,
                token=keys.token,
                expires_at=keys.expires_at,
            )
        except ValueError as error:  # for example, unreadable CA certificates
            raise ConfigError(str(error)) from None
        while len(_targets) >= _MOST_TARGETS:
            _targets.pop(next(iter(_targets)))
        _targets[key] = (target, keys)
        return target


def renew(target: Target, route: Route) -> None:
    """Find the newer credentials that a target waits for.

    The first thread does so for all maps of the process; the others wait here until it has.

    Raises
    ------
    AccessDeniedError
        There are no newer credentials.
    ConfigError
        No credentials can be found any more.
    """
    with _renewing:
        wanted = target.wants_credentials
        if not wanted:
            return
        with _lock:
            key, before = next(
                ((key, keys) for key, (known, keys) in _targets.items() if known is target),
                (None, route.credentials),
            )
        keys = before if route.find is None else route.find()
        over = wanted == "others" or (
            keys.expires_at is not None and keys.expires_at <= time.time()
        )
        if over and keys[:3] == before[:3]:
            raise AccessDeniedError(
                f"the AWS credentials ({keys.source}) have expired, and no newer ones were found: "
                "renew them, then map the remaining items"
            )
        target.set_credentials(keys.access_key, keys.secret_key, keys.token, keys.expires_at)
        if key is not None:
            with _lock:
                _targets[key] = (target, keys)
