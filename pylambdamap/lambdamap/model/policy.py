"""The dispatcher's policy in simulated seconds: csrc/core/policy/limiter.c, rate.c and retry.c.

Constants and rules are theirs; tests/sim/test_model.py compares the two.
"""

from __future__ import annotations

__all__ = ["Rate", "Window", "backoff_s"]

THROTTLE_BASE_S, TRANSIENT_BASE_S, MAX_BACKOFF_S = 1.0, 0.05, 20.0
PATIENCE_S = 60.0  # without an accepted invocation before a map gives up
MAX_ATTEMPTS = 3
_QUIET_S = 10.0  # without a 429 before the window grows by a tenth
_STALE_S = 60.0  # without a 429 before window and rate are unlimited again
_LONG_AGO_S = -1e9


def backoff_s(base_s: float, retry: int, random: float) -> float:
    """Return the delay before a retry, of which the first is 1; random is in [0, 1)."""
    return random * min(MAX_BACKOFF_S, base_s * 2.0 ** min(retry - 1, 30))


class Window:
    """How many invocations of a function may be in flight: lm_limiter."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.size = self.threshold = self.believed = float(cap)
        self.in_flight = 0
        self.not_before = _LONG_AGO_S
        self.refusals = 0  # rounds of 429s without an accepted invocation
        self.last_accept = 0.0
        self._last_429 = _LONG_AGO_S
        self._last_grow = 0.0

    @property
    def room(self) -> int:
        """Return the size, rounded down, at least 1: lm_limiter_window."""
        return int(self.size) or 1

    def has_room(self) -> bool:
        return self.in_flight < self.room

    def started(self, now: float) -> None:
        self.in_flight += 1
        if self.in_flight > 1:
            return
        if now - self.not_before > _QUIET_S and now - self._last_429 > _QUIET_S:
            self.refusals = 0
        if self.refusals == 0:
            self.last_accept = now
        if now - self._last_429 > _STALE_S:
            self.size = self.threshold = self.believed = float(self.cap)

    def finished(self, now: float, accepted: bool) -> None:
        self.in_flight -= 1
        if not accepted:
            return
        self.last_accept = now
        self.refusals = 0
        self.believed = self.threshold
        self._grow(1.0 if self.size < self.threshold else 1.0 / self.size)
        if now - self._last_429 > _QUIET_S and now - self._last_grow >= 1.0:
            self._grow(self.size / 10 if self.size > 10 else 1.0)
            self._last_grow = now

    def _grow(self, by: float) -> None:
        self.size = min(float(self.cap), self.size + by)

    def throttled(self, now: float, backoff: float) -> None:
        """Record a 429 that concerns the number in flight."""
        self.in_flight -= 1
        self._last_429 = now
        fits = float(max(1, self.in_flight * 7 // 10))
        self.size = min(self.size, fits)
        self.threshold = min(self.threshold, fits)
        if self.in_flight == 0:
            self.refusals += 1
            self.threshold = self.believed
            self.not_before = max(self.not_before, now + backoff)

    def refused(self, now: float) -> None:
        """Record a 429 that concerns the rate."""
        self.in_flight -= 1
        self._last_429 = now
        if self.in_flight == 0:
            self.refusals += 1

    def exhausted(self, asked: float, now: float) -> bool:
        since = max(self.last_accept, asked)
        return self.in_flight == 0 and self.refusals > 0 and now - since > PATIENCE_S


class Rate:
    """How many invocations of a function may start per second: lm_rate."""

    _BETA, _C, _SMOOTHING, _LEAST, _COUNT_S = 0.7, 0.4, 0.8, 0.5, 0.5

    def __init__(self) -> None:
        self.limited = False
        self._per_s = self._tokens = self._measured = self._before = self._flat_s = 0.0
        self._filled = self._throttled = self._counted = 0.0
        self._starts = 0

    def next(self, now: float) -> float:
        """Return when the next start may be; `now` or earlier: at once."""
        if self.limited and now - self._throttled > _STALE_S:
            self.limited = False
        if not self.limited:
            return now
        self._fill(now)
        return now if self._tokens >= 1 else now + 1e-9 + (1 - self._tokens) / self._per_s

    def started(self, now: float) -> None:
        self._measure(now)
        self._starts += 1
        if self.limited:
            self._tokens -= 1

    def succeeded(self, now: float) -> None:
        if not self.limited:
            return
        self._measure(now)
        t = now - self._throttled - self._flat_s
        self._set(self._C * t * t * t + self._before, now)

    def throttled(self, started: float, now: float) -> None:
        """Record a 429 that concerns the rate, for an attempt that began at `started`."""
        if self.limited and started <= self._throttled:
            return
        self._measure(now)
        seen = self._measured
        if seen == 0:
            seen = self._measured = self._starts / max(now - self._counted, 0.05)
        if self.limited:
            seen = min(seen, self._per_s)
        else:
            self.limited, self._tokens, self._filled = True, 0.0, now
        self._before = seen
        self._flat_s = (seen * (1 - self._BETA) / self._C) ** (1 / 3)
        self._throttled = now
        self._set(seen * self._BETA, now)

    def _fill(self, now: float) -> None:
        most = max(1.0, self._per_s)
        self._tokens = min(most, self._tokens + max(0.0, now - self._filled) * self._per_s)
        self._filled = now

    def _measure(self, now: float) -> None:
        passed = now - self._counted
        if passed < self._COUNT_S:
            return
        present = self._starts / passed
        if self._measured == 0:
            self._measured = present
        else:
            self._measured += self._SMOOTHING * (present - self._measured)
        self._starts, self._counted = 0, now

    def _set(self, per_s: float, now: float) -> None:
        self._fill(now)
        self._per_s = max(self._LEAST, min(per_s, 2 * self._measured))
