"""Flask: ``LambdaMap(app)`` configures the maps of an application, and limits their time.

>>> from flask import Flask
>>> from lambdamap.integrations.flask import LambdaMap
>>> app = Flask(__name__)
>>> app.config["LAMBDAMAP_BACKEND"] = "inline"
>>> lambdamap_ = LambdaMap(app)

Views call `lambdamap.map` and the other functions as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import click
from flask import current_app, has_app_context, has_request_context, request
from flask.cli import AppGroup
from flask.signals import request_started

from lambdamap import ambient
from lambdamap import options as _options
from lambdamap._variables import VARIABLES, name_in
from lambdamap.errors import ConfigError
from lambdamap.integrations.request import (
    TIMEOUT,
    RequestScope,
    check_timeout,
    timeout_of_environment,
)

if TYPE_CHECKING:
    from flask import Flask, Response
    from werkzeug.local import LocalProxy

__all__ = ["LambdaMap"]

_SCOPE = "lambdamap.scope"  # in the WSGI environment of a request


class LambdaMap:
    """Configures lambdamap from ``app.config``, and binds maps to the request that calls them.

    Every option of `lambdamap.Options` can be set in ``app.config`` as ``LAMBDAMAP_`` and its name in
    upper case, with its own type or as text (``Flask.config.from_prefixed_env`` gives both). It
    applies to maps called in a context of that application. Arguments of a call and ``with
    lambdamap.configure(...)`` take precedence over it; it takes precedence over
    ``lambdamap.configure(...)`` and the environment.

    ``LAMBDAMAP_REQUEST_TIMEOUT`` is the time in seconds from the start of a request after which its
    maps raise `DeadlineError`, with finished results in ``partial``. It is taken from ``app.config``,
    then from the environment. Default: 25, since gunicorn kills sync workers after 30; behind API
    Gateway 28 from the arrival of its event, since it replies 504 after 29. None: no limit. On Lambda
    the function's remaining time is a limit as well.

    Maps still running at the end of a request are cancelled. The request of a streamed response ends
    with the last byte, or when the client disconnects. A map called while streaming belongs to the
    request if ``flask.stream_with_context`` is used.

    ``flask lambdamap doctor`` checks the configuration.

    Parameters
    ----------
    app : Flask, optional
        Calls `init_app`.
    **options
        Options for all applications; their ``config`` takes precedence.

    Raises
    ------
    ConfigError
        Unknown option, or invalid value.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        _options.check_names(options)
        _options.Options(**options)
        self._defaults = options
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Bind to an application, for the application factory pattern.

        Parameters
        ----------
        app : Flask
            Its ``config`` is checked now, and read whenever a map is called.

        Raises
        ------
        ConfigError
            ``app.config`` contains an unknown ``LAMBDAMAP_`` name, or an invalid value.
        """
        if "lambdamap" in app.extensions:
            raise ConfigError(f"{app.import_name} already has a LambdaMap: create only one per app")
        _options.Options(**self.options_of(app))
        _request_timeout(app)
        app.extensions["lambdamap"] = self
        request_started.connect(_begin, app)
        app.after_request(_answer)
        app.teardown_request(_end)
        app.cli.add_command(_commands())
        ambient.register(_find)

    def options_of(self, app: Flask) -> dict[str, Any]:
        """Return the options of an application's ``config``, and this object's as defaults.

        Parameters
        ----------
        app : Flask
            Any application.

        Returns
        -------
        dict

        Raises
        ------
        ConfigError
            Unknown ``LAMBDAMAP_`` name, or text that is not a value of its option.
        """
        found = dict(self._defaults)
        for key, value in app.config.items():
            name = name_in(key)
            if name in _options.DECLARED:
                found[name] = _options.read(name, value) if isinstance(value, str) else value
            elif name is not None and key not in VARIABLES:
                _options.check_names([name])
        return found


def _request_timeout(app: Flask) -> float | None:
    """Return the timeout of the configuration or the environment, or None."""
    if TIMEOUT not in app.config:
        return timeout_of_environment()
    return check_timeout(TIMEOUT, app.config[TIMEOUT])


# --- one request ----------------------------------------------------------------------------------


class _AppScope:
    """An application context without a request, as on the command line: only options."""

    def __init__(self, options: Callable[[], Mapping[str, Any]]) -> None:
        self.options = options

    def deadline(self) -> None:
        return None

    def adopt(self, engine: ambient.Running) -> None:
        pass


def _begin(app: Flask, **_: object) -> None:
    """At the start of the request."""
    extension: LambdaMap = app.extensions["lambdamap"]
    request.environ[_SCOPE] = RequestScope(
        lambda: extension.options_of(app), request.environ, _request_timeout(app), TIMEOUT
    )


def _answer(response: Response) -> Response:
    """After the view. A streamed response continues after the request context is popped."""
    scope = request.environ.get(_SCOPE)
    if scope is not None and response.is_streamed:
        scope.is_streamed = True
        response.call_on_close(scope.close)
    return response


def _end(error: BaseException | None) -> None:
    """When the request context is popped."""
    scope = request.environ.get(_SCOPE)
    if scope is not None and (error is not None or not scope.is_streamed):
        scope.close()


def _find() -> ambient.Scope | None:
    if not has_app_context():
        return None
    app = cast("LocalProxy[Flask]", current_app)._get_current_object()  # as Flask documents
    extension = app.extensions.get("lambdamap")
    if extension is None:
        return None
    scope = request.environ.get(_SCOPE) if has_request_context() else None
    return scope or _AppScope(lambda: extension.options_of(app))


# --- command line ---------------------------------------------------------------------------------


def _commands() -> AppGroup:
    group = AppGroup("lambdamap", help="Run lambdamap with this application's configuration.")

    @group.command()
    @click.option("--invoke/--no-invoke", default=None, help="Ask the worker for its versions.")
    @click.pass_context
    def doctor(ctx: click.Context, /, invoke: bool | None) -> None:
        """Check Python, the libraries, the credentials and the connection to the function."""
        from lambdamap.cli.doctor import run

        ctx.exit(run(invoke=invoke))

    return group
