"""The progress bar of long maps. tqdm is imported when a bar is shown, not before."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Progress"]

_AFTER_S = 1.0  # a map that ends sooner shows nothing


def _is_watched() -> bool:
    """Whether a person sees stderr: a terminal, or a notebook's kernel."""
    if "ipykernel" in sys.modules:
        return True
    try:
        return sys.stderr.isatty()
    except (AttributeError, ValueError):
        return False


def _tqdm() -> Callable[..., Any]:
    """In a notebook a widget where ipywidgets is there, else a line of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no widget
        from tqdm.auto import tqdm
    return tqdm


class Progress:
    """Counts finished items; shows them as the ``progress`` option says."""

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
        """Whether `add` is to be called now and then though nothing has finished."""
        return self._bar is not None or self._due < float("inf")

    def add(self, items: int) -> None:
        """So many more items have their result."""
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
        """The last state stays on the screen."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
            self._due = float("inf")
