"""Flask: ``LambdaMap(app)`` gives the maps of an application their options and their time.

>>> from flask import Flask
>>> from lambdamap.integrations.flask import LambdaMap
>>> app = Flask(__name__)
>>> app.config["LAMBDAMAP_BACKEND"] = "inline"
>>> lambdamap_ = LambdaMap(app)

Views call `lambdamap.map` and its relatives as everybody does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from flask import current_app, has_app_context, has_request_context, request
from flask.cli import AppGroup
from flask.signals import request_started

from lambdamap import ambient
from lambdamap import options as _options
from lambdamap.errors import ConfigError

if TYPE_CHECKING:
    from flask import Flask, Response

__all__ = ["LambdaMap"]

_PREFIX = "LAMBDAMAP_"
_SCOPE = "lambdamap.scope"  # in the WSGI environment of a request
_REQUEST_S = 25.0  # gunicorn's sync workers are killed after 30 s
_GATEWAY_S = 28.0  # API Gateway answers 504 after 29 s
_OLDEST_EVENT_S = (
    60.0  # an event that says that it is older was kept by somebody, or a clock is off
)
_NOT_OPTIONS = {"request_timeout", "allow"}  # ours, and the worker's
# Where adapters keep Lambda's event and context: zappa, serverless-wsgi, aws-wsgi, apig-wsgi.
_EVENTS = ("lambda.event", "serverless.event", "awsgi.event", "apig_wsgi.full_event")
_CONTEXTS = ("lambda.context", "serverless.context", "awsgi.context", "apig_wsgi.context")

_log = logging.getLogger("lambdamap")


class LambdaMap:
    """Configures lambdamap from ``app.config`` and binds maps to the request that they are called in.

    Every option of `lambdamap.Options` may stand in ``app.config`` as ``LAMBDAMAP_`` and its name in
    upper case, with its own type or as text (``Flask.config.from_prefixed_env`` gives both). It holds
    for maps that are called in a context of that application: below an argument of the call and a
    ``with lambdamap.configure(...)``, above ``lambdamap.configure(...)`` and the environment.

    ``LAMBDAMAP_REQUEST_TIMEOUT`` is the time, in seconds from the beginning of the request, by which
    all its maps have ended; those that have not raise `DeadlineError`, with what has finished in
    ``partial``. Default: 25, below the 30 after which gunicorn kills a sync worker, and behind API
    Gateway 28 from the arrival of its event, below the 29 after which it answers 504. None: no such
    limit. On Lambda the function's own remaining time limits it, too.

    What a request leaves running when it ends is cancelled; a response that is streamed ends with its
    last byte, or when its reader hangs up. A map that is called while it is streamed belongs to the
    request under ``flask.stream_with_context``.

    ``flask lambdamap doctor`` checks the set-up.

    Parameters
    ----------
    app : Flask, optional
        Calls `init_app`.
    **options
        Options for all applications, below what their ``config`` says.

    Raises
    ------
    ConfigError
        An unknown name, or a value that cannot be.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        _options.check_names(options)
        _options.Options(**options)
        self._defaults = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind to an application; for the factory pattern.

        Parameters
        ----------
        app : Flask
            Its ``config`` is checked now and read when a map is called.

        Raises
        ------
        ConfigError
            ``app.config`` has an unknown ``LAMBDAMAP_`` name or a value that cannot be.
        """
        if "lambdamap" in app.extensions:
            raise ConfigError(f"{app.import_name} has a LambdaMap already")
        _options.Options(**self.options_of(app))
        _request_timeout(app)
        app.extensions["lambdamap"] = self
        request_started.connect(_begin, app)
        app.after_request(_answer)
        app.teardown_request(_end)
        app.cli.add_command(_commands())
        ambient.register(_find)

    def options_of(self, app: Flask) -> dict[str, Any]:
        """The options that an application's ``config`` gives, and this object's own below them.

        Parameters
        ----------
        app : Flask
            Any application.

        Raises
        ------
        ConfigError
            An unknown ``LAMBDAMAP_`` name, or a text that is no value of its option.
        """
        found = dict(self._defaults)
        for key, value in app.config.items():
            if not key.startswith(_PREFIX):
                continue
            name = key.removeprefix(_PREFIX).lower()
            if name not in _NOT_OPTIONS:
                _options.check_names({name: value})
                found[name] = _options.parse(name, value) if isinstance(value, str) else value
        return found


def _request_timeout(app: Flask) -> float | None:
    """What the configuration says; None: nothing. Infinity stands for no limit."""
    if "LAMBDAMAP_REQUEST_TIMEOUT" not in app.config:
        return None
    value = app.config["LAMBDAMAP_REQUEST_TIMEOUT"]
    if value is None:
        return float("inf")
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if isinstance(value, bool) or not seconds > 0:
        raise ConfigError(
            f"LAMBDAMAP_REQUEST_TIMEOUT must be a number of seconds above 0, or None, not {value!r}"
        )
    return seconds


# --- one request ----------------------------------------------------------------------------------


class _AppScope:
    """An application's context without a request, as in its command line."""

    def __init__(self, extension: LambdaMap, app: Flask) -> None:
        self._extension = extension
        self._app = app

    def options(self) -> Mapping[str, Any]:
        return self._extension.options_of(self._app)

    def deadline(self) -> tuple[float, str] | None:
        return None

    def adopt(self, engine: ambient.Running) -> None:
        pass


class _RequestScope(_AppScope):
    def __init__(self, extension: LambdaMap, app: Flask, environ: Mapping[str, Any]) -> None:
        super().__init__(extension, app)
        self.is_streamed = False  # the end of its response is the end of the request
        self._maps = ambient.Maps()
        wanted = _request_timeout(app)
        age = _age_at_gateway(environ)
        seconds = wanted or (_REQUEST_S if age is None else _GATEWAY_S)
        left = seconds - (age or 0.0)
        self._mend = "raise LAMBDAMAP_REQUEST_TIMEOUT, or answer with fewer maps a request"
        context_left = _context_left(environ)
        if context_left is not None and context_left < left:
            left = context_left
            self._mend = "raise the Lambda function's timeout"
        self._ends = time.monotonic() + left

    def deadline(self) -> tuple[float, str] | None:
        return None if self._ends == float("inf") else (self._ends, self._mend)

    def adopt(self, engine: ambient.Running) -> None:
        self._maps.add(engine)

    def close(self) -> None:
        left = self._maps.abandon("the map was cancelled: the request that called it is over")
        if left:
            _log.info("cancelled %d maps that a request of %s left", left, self._app.import_name)


def _first(environ: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((environ[name] for name in names if name in environ), None)


def _age_at_gateway(environ: Mapping[str, Any]) -> float | None:
    """Seconds since API Gateway took the request; None when it did not come through one."""
    event = _first(environ, _EVENTS)
    context = event.get("requestContext") if isinstance(event, dict) else None
    if not isinstance(context, dict) or "elb" in context:
        return None
    if ".lambda-url." in str(context.get("domainName", "")):
        return None
    arrived_ms = context.get("requestTimeEpoch", context.get("timeEpoch"))
    if isinstance(arrived_ms, bool) or not isinstance(arrived_ms, (int, float)):
        return 0.0
    age = time.time() - arrived_ms / 1000
    return age if 0 <= age <= _OLDEST_EVENT_S else 0.0


def _context_left(environ: Mapping[str, Any]) -> float | None:
    """Seconds until Lambda ends this invocation, less what the answer needs."""
    remaining = getattr(_first(environ, _CONTEXTS), "get_remaining_time_in_millis", None)
    if remaining is None:
        return None
    left = float(remaining()) / 1000
    return left - max(0.5, 0.05 * left)


def _begin(app: Flask, **_: object) -> None:
    """Before the first function of the request."""
    scope = _RequestScope(app.extensions["lambdamap"], app, request.environ)
    request.environ[_SCOPE] = scope


def _answer(response: Response) -> Response:
    """After the view. A streamed response goes on when the request's context has gone."""
    scope = request.environ.get(_SCOPE)
    if scope is not None and response.is_streamed:
        scope.is_streamed = True
        response.call_on_close(scope.close)
    return response


def _end(error: BaseException | None) -> None:
    """The request's context goes."""
    scope = request.environ.get(_SCOPE)
    if scope is not None and (error is not None or not scope.is_streamed):
        scope.close()


def _find() -> ambient.Scope | None:
    if not has_app_context():
        return None
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # Flask's own documented way
    extension = app.extensions.get("lambdamap")
    if extension is None:
        return None
    scope = request.environ.get(_SCOPE) if has_request_context() else None
    return scope or _AppScope(extension, app)


# --- command line ---------------------------------------------------------------------------------


def _commands() -> AppGroup:
    group = AppGroup("lambdamap", help="lambdamap, with this application's configuration.")

    @group.command()
    @click.pass_context
    def doctor(ctx: click.Context) -> None:
        """Check Python, libraries, credentials, and that the function can be reached."""
        from lambdamap.cli.doctor import run

        ctx.exit(run())

    return group
