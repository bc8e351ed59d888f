"""One request of a web application: the options, the time and the end of the maps in it.

What `flask` and `asgi` have in common.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from lambdamap import ambient
from lambdamap.errors import ConfigError
from lambdamap.worker.deadline import time_left

__all__ = ["TIMEOUT", "RequestScope", "check_timeout", "timeout_of_environment"]

TIMEOUT = "LAMBDAMAP_REQUEST_TIMEOUT"

_REQUEST_S = 25.0  # gunicorn's sync workers are killed after 30 s
_GATEWAY_S = 28.0  # API Gateway answers 504 after 29 s
_OLDEST_EVENT_S = 60.0  # older ones were kept by somebody, or a clock is off
# Where adapters keep Lambda's event and context: zappa, Mangum, serverless-wsgi, aws-wsgi, apig-wsgi.
_ADAPTERS = ("lambda", "aws", "serverless", "awsgi", "apig_wsgi")

_log = logging.getLogger("lambdamap")

_NO_LIMIT = float("inf")


def check_timeout(name: str, value: object) -> float:
    """A setting's seconds; None is no limit.

    Raises
    ------
    ConfigError
        It is neither.
    """
    if value is None:
        return _NO_LIMIT
    try:
        seconds = -1.0 if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        seconds = -1.0
    if not seconds > 0:
        raise ConfigError(f"{name} must be a number of seconds above 0, or None, not {value!r}")
    return seconds


def timeout_of_environment() -> float | None:
    """What the variable ``LAMBDAMAP_REQUEST_TIMEOUT`` says, "none" for no limit; None: nothing.

    Raises
    ------
    ConfigError
        It is no number above 0.
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
        Asked when a map is called.
    surroundings
        The WSGI environment or the ASGI scope: where an adapter keeps Lambda's event and context.
    timeout
        Seconds from the request's beginning, or from its arrival at API Gateway; None: the
        environment's, else the default of either.
    setting
        What a user sets to have more time.
    """

    def __init__(
        self,
        options: Callable[[], Mapping[str, Any]],
        surroundings: Mapping[str, Any],
        timeout: float | None,
        setting: str,
    ) -> None:
        self.options = options
        self.is_streamed = False  # the end of its response is the end of the request
        self._maps = ambient.Maps()
        age = _age_at_gateway(surroundings)
        timeout = timeout or timeout_of_environment()
        left = (timeout or (_REQUEST_S if age is None else _GATEWAY_S)) - (age or 0.0)
        self._mend = f"raise {setting}, or answer with fewer maps a request"
        invocation_left = time_left(_of_adapter(surroundings, "context"))
        if invocation_left is not None and invocation_left < left:
            left = invocation_left
            self._mend = ambient.FUNCTION_TIMEOUT
        self._ends = time.monotonic() + left

    def deadline(self) -> tuple[float, str] | None:
        return None if self._ends == _NO_LIMIT else (self._ends, self._mend)

    def adopt(self, engine: ambient.Running) -> None:
        self._maps.add(engine)

    def close(self, why: str = "the request that called it is over") -> None:
        """Cancel what it has left running. Idempotent, from any thread."""
        left = self._maps.abandon(f"the map was cancelled: {why}")
        if left:
            _log.info("cancelled %d maps: %s", left, why)


def _of_adapter(surroundings: Mapping[str, Any], what: str) -> Any:
    """Lambda's event or context, which `what` says."""
    names = [f"{adapter}.{what}" for adapter in _ADAPTERS]
    names.append(f"apig_wsgi.full_{what}")
    return next((surroundings[name] for name in names if name in surroundings), None)


def _age_at_gateway(surroundings: Mapping[str, Any]) -> float | None:
    """Seconds since API Gateway took the request; None when it did not come through one."""
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
