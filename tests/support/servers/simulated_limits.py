"""A simulated Lambda that has the service's limits: concurrency, new environments, request rate.

It is written apart from `lambdamap.model`, against which it is compared.
"""

from __future__ import annotations

import random
from typing import Any

from lambdamap.model import Lambda
from scripted import Request, aws_error, throttle
from simulated import FAULTS, Connection, Simulation

__all__ = ["LimitedSimulation"]

_FULL = throttle("ReservedFunctionConcurrentInvocationLimitExceeded")
_TOO_FAST = throttle("FunctionInvocationRateLimitExceeded")
_REFUSED = aws_error(500, "ServiceException")


class LimitedSimulation(Simulation):
    """One function with these limits; `memory_mb`, `functions` and `regions` have no effect."""

    def __init__(self, seed: int, service: Lambda, **network: Any) -> None:
        super().__init__(seed, network=network)
        self._service = service
        self._limit = min(service.concurrency, service.reserved or service.concurrency)
        self._random = random.Random(seed)
        self._environments = service.warm  # busy or not
        per_s = service.requests_per_environment_s * self._limit
        self._requests = _Spent(per_s, per_s)
        most = service.environments_per_10_s
        self._created = _Spent(most, most / 10)
        self.answers: list[str] = []

    def _serve(self, connection: Connection, request: Request) -> None:
        answer = self._answer()
        self.answers.append(answer)
        if answer == "full":
            _FULL(connection, request)
        elif answer == "too fast":
            _TOO_FAST(connection, request)
        elif answer == "refused":
            _REFUSED(connection, request)
        else:
            connection.wait(self._service.overhead_ms / 2e3)
            if answer == "cold":
                connection.wait(self._service.init_ms / 1e3)
            FAULTS["good"](connection, request)

    def _answer(self) -> str:
        if self._running >= self._limit:
            return "full"
        if not self._requests.one_more(self.now):
            return "too fast"
        if self._random.random() < self._service.refused_share:
            return "refused"
        if self._running < self._environments:
            return "warm"
        if not self._created.one_more(self.now):
            return "full"
        self._environments += 1
        return "cold"


class _Spent:
    """How much of an allowance is spent, which is refilled all the time."""

    def __init__(self, most: float, per_s: float) -> None:
        self._most, self._per_s = most, per_s
        self._spent, self._last = 0.0, 0.0

    def one_more(self, now: float) -> bool:
        self._spent = max(0.0, self._spent - (now - self._last) * self._per_s)
        self._last = now
        if self._spent + 1 > self._most:
            return False
        self._spent += 1
        return True
