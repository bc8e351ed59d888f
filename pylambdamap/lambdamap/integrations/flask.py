"""Flask: ``LambdaMap(app)`` gives the maps of an application their options and their time.

>>> from flask import Flask
>>> from lambdamap.integrations.flask import LambdaMap
>>> app = Flask(__name__)
>>> app.config["LAMBDAMAP_BACKEND"] = "inline"
>>> lambdamap_ = LambdaMap(app)

Views call `lambdamap.map` and its relatives as everybody does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

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

__all__ = ["LambdaMap"]

_SCOPE = "lambdamap.scope"  # in the WSGI environment of a request


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
    limit. The environment's variable of that name stands behind ``app.config``. On Lambda the
    function's own remaining time limits it, too.

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
            name = name_in(key)
            if name in _options.DECLARED:
                found[name] = _options.read(name, value) if isinstance(value, str) else value
            elif name is not None and key not in VARIABLES:
                _options.check_names([name])
        return found


def _request_timeout(app: Flask) -> float | None:
    """What the configuration or the environment says; None: nothing."""
    if TIMEOUT not in app.config:
        return timeout_of_environment()
    return check_timeout(TIMEOUT, app.config[TIMEOUT])


# --- one request ----------------------------------------------------------------------------------


class _AppScope:
    """An application's context without a request, as in its command line: options, no more."""

    def __init__(self, options: Callable[[], Mapping[str, Any]]) -> None:
        self.options = options

    def deadline(self) -> None:
        return None

    def adopt(self, engine: ambient.Running) -> None:
        pass


def _begin(app: Flask, **_: object) -> None:
    """Before the first function of the request."""
    extension: LambdaMap = app.extensions["lambdamap"]
    request.environ[_SCOPE] = RequestScope(
        lambda: extension.options_of(app), request.environ, _request_timeout(app), TIMEOUT
    )


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
    return scope or _AppScope(lambda: extension.options_of(app))


# --- command line ---------------------------------------------------------------------------------


def _commands() -> AppGroup:
    group = AppGroup("lambdamap", help="lambdamap, with this application's configuration.")

    @group.command()
    @click.option("--invoke/--no-invoke", default=None, help="Ask the worker for its versions.")
    @click.pass_context
    def doctor(ctx: click.Context, /, invoke: bool | None) -> None:
        """Check Python, libraries, credentials, and that the function can be reached."""
        from lambdamap.cli.doctor import run

        ctx.exit(run(invoke=invoke))

    return group
