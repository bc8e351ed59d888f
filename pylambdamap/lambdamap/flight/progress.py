"""The progress bar of long maps. tqdm is imported when a bar is shown, not before."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Progress"]

_AFTER_S = 1.0  # shorter maps show no bar


def _is_watched() -> bool:
    """Return whether stderr is shown to a person: a terminal or a notebook kernel."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _tqdm() -> Callable[..., Any]:
    """Return tqdm's class: a widget in a notebook with ipywidgets, else a line of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the missing widget
        from tqdm.auto import tqdm
    return tqdm


class Progress:
    """Counts finished items, and shows them as set by the ``progress`` option."""

    __slots__ = ("_bar", "_callback", "_due", "_make", "_shown", "done", "total")

    def __init__(self, wish: bool | Callable[..., Any] | None, total: int | None) -> None:
        self.done = 0
        self.total = total
        self._bar: Any = None
        self._shown = 0
        self._callback: Callable[[int, int | None], Any] | None = None
        self._make: Callable[..., Any] | None = None
        self._due = float("inf")
        if wish is None:
            if _is_watched():
                self._due = time.monotonic() + _AFTER_S
        elif wish is True:
            self._due = 0.0
        elif wish is not False:
            if isinstance(wish, type):
                self._make, self._due = wish, 0.0
            else:
                self._callback = wish

    @property
    def wanted(self) -> bool:
        """Return whether `add` must be called periodically even if nothing has finished."""
        return self._bar is not None or self._due < float("inf")

    def add(self, items: int) -> None:
        """Count finished items."""
        self.done += items
        if self._callback is not None:
            if items:
                self._callback(self.done, self.total)
        elif self._bar is not None or time.monotonic() >= self._due:
            self._show()

    def _show(self) -> None:
        if self._bar is None:
            if self._make is None:
                self._make = _tqdm()
            self._bar = self._make(total=self.total, unit="item", desc="lambdamap")
        self._bar.update(self.done - self._shown)
        self._shown = self.done

    def close(self) -> None:
        """Close the bar; its last state stays on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._due = float("inf")
