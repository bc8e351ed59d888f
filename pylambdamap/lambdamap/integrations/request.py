"""One HTTP request of a web application: options, deadline and cancellation of the maps in it.

Used by `flask` and `asgi`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

from lambdamap import ambient
from lambdamap.errors import ConfigError
from lambdamap.worker.deadline import time_left

__all__ = ["TIMEOUT", "RequestScope", "check_timeout", "timeout_of_environment"]

TIMEOUT = "LAMBDAMAP_REQUEST_TIMEOUT"

_REQUEST_S = 25.0  # gunicorn kills sync workers after 30 s
_GATEWAY_S = 28.0  # API Gateway replies 504 after 29 s
_OLDEST_EVENT_S = 60.0  # the timestamp of an older event is not trusted
# Prefixes of Lambda's event and context in zappa, Mangum, serverless-wsgi, aws-wsgi and apig-wsgi.
_ADAPTERS = ("lambda", "aws", "serverless", "awsgi", "apig_wsgi")

_log = logging.getLogger("lambdamap")

_NO_LIMIT = float("inf")


def check_timeout(name: str, value: object) -> float:
    """Return a setting in seconds; infinity for None.

    Raises
    ------
    ConfigError
        The value is neither None nor a number above 0.
    """
    if value is None:
        return _NO_LIMIT
    seconds = -1.0
    if isinstance(value, (str, SupportsFloat)) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            seconds = float(value)
    if not seconds > 0:
        raise ConfigError(f"{name} must be a number of seconds above 0, or None, got {value!r}")
    return seconds


def timeout_of_environment() -> float | None:
    """Return the seconds of the variable ``LAMBDAMAP_REQUEST_TIMEOUT``, or None if it is not set.

    Infinity if the variable is "none".

    Raises
    ------
    ConfigError
        The variable is neither "none" nor a number above 0.
    """
    text = os.environ.get(TIMEOUT, "").strip()
    if not text:
        return None
    return check_timeout(TIMEOUT, None if text.lower() == "none" else text)


class RequestScope:
    """The `ambient.Scope` of a request.

    Parameters
    ----------
    options
        Returns the options; called for each map.
    surroundings
        The WSGI environment or the ASGI scope, where an adapter puts Lambda's event and context.
    timeout
        Seconds from the start of the request, or from its arrival at API Gateway. None: that of the
        environment, or the default.
    setting
        Name of the setting that extends the timeout, for the error message.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        surroundings: Mapping[str, Any],
        timeout: float | None,
        setting: str,
    ) -> None:
        self.options = options
        self.is_streamed = False  # the request ends with its response
        self._maps = ambient.Maps()
        age = _age_at_gateway(surroundings)
        timeout = timeout or timeout_of_environment()
        left = (timeout or (_REQUEST_S if age is None else _GATEWAY_S)) - (age or 0.0)
        self._remedy = f"raise {setting}, or call fewer maps per request"
        invocation_left = time_left(_of_adapter(surroundings, "context"))
        if invocation_left is not None and invocation_left < left:
            left = invocation_left
            self._remedy = ambient.FUNCTION_TIMEOUT
        self._ends = time.monotonic() + left

    def deadline(self) -> tuple[float, str] | None:
        return None if self._ends == _NO_LIMIT else (self._ends, self._remedy)

    def adopt(self, engine: ambient.Running) -> None:
        self._maps.add(engine)

    def close(self, why: str = "its HTTP request has ended") -> None:
        """Cancel the maps that are still running. Idempotent, from any thread."""
        left = self._maps.abandon(f"the map was cancelled: {why}")
        if left:
            _log.info("cancelled %d maps: %s", left, why)


def _of_adapter(surroundings: Mapping[str, Any], what: str) -> Any:
    """Return Lambda's event or context (`what`) of the adapter, or None."""
    names = [f"{adapter}.{what}" for adapter in _ADAPTERS]
    names.append(f"apig_wsgi.full_{what}")
    return next((surroundings[name] for name in names if name in surroundings), None)


def _age_at_gateway(surroundings: Mapping[str, Any]) -> float | None:
    """Return seconds since API Gateway received the request; None if it did not."""
    event = _of_adapter(surroundings, "event")
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
