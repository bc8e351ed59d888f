"""Return values of maps: `Results`, and `Handle`, the base that it shares with `aio.AsyncResults`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from lambdamap import errors

if TYPE_CHECKING:
    from lambdamap.flight.engine import Engine
    from lambdamap.flight.stats import Stats
    from lambdamap.flight.timeline import Timeline

__all__ = ["Handle", "Results"]

R = TypeVar("R")


class Handle(Generic[R]):
    """The caller's handle of an engine: statistics, and closing when it is dropped."""

    __slots__ = ("__weakref__", "_engine")

    _NAME: ClassVar[str]
    _REMEDY: ClassVar[str]  # how a user closes it

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        engine.record()

    def _abandon(self) -> None:
        """Close the map; called by the garbage collector."""
        self._engine.close()

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is None or engine.closed:
            return
        if engine.unfinished:
            warnings.warn(
                f"unclosed {self._NAME}: its unfinished chunks were cancelled; {self._REMEDY}",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
        self._abandon()

    @property
    def stats(self) -> Stats:
        """Return counts so far: items, requests, retries, throttles, bytes, latencies; see `Stats`."""
        return self._engine.stats

    def timeline(self) -> Timeline:
        """Return when each finished chunk was queued, sent and done; see `Timeline`.

        A notebook draws it. It can be called while the map runs, and afterwards.

        Returns
        -------
        Timeline
            With ``save("x.svg")`` and ``to_frame()``.
        """
        return self._engine.timeline()

    def __repr__(self) -> str:
        stats = self.stats
        return (
            f"<{self._NAME}: {stats.items} items in {stats.chunks} chunks, "
            f"{stats.requests} requests>"
        )

    def _repr_html_(self) -> str:
        return self.stats._repr_html_()


class Results(Handle[R]):
    """What `lambdamap.map` and its relatives return: an iterator of results.

    It is closed by `close`, by leaving a ``with`` block or by the garbage collector, which cancels
    unfinished chunks. On Lambda, invocations that have started run to completion.
    """

    __slots__ = ("_next", "_results")

    _NAME = "lambdamap.map"
    _REMEDY = "close it, or use it in a with statement"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._results = engine.results()
        self._next = self._results.__next__

    def __iter__(self) -> Results[R]:
        return self

    def __next__(self) -> R:
        result: R = self._next()
        return result

    def _to_list(self) -> list[R]:
        """Return all results of an ordered map.

        Any exception, including KeyboardInterrupt, has the finished results in its ``partial``."""
        results: list[R] = []
        try:
            results.extend(self._results)
        except BaseException as error:
            self._engine.end(error)
            errors.keep(error, dict(enumerate(results)))
            raise
        return results

    def __enter__(self) -> Results[R]:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel unfinished chunks. Idempotent.

        Raises
        ------
        ValueError
            Another thread is waiting for a result.
        """
        self._results.close()
        self._engine.close()
