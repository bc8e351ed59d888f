"""What the chunks of a map did, and when."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lambdamap.backends.records import ChunkTimes, read

if TYPE_CHECKING:
    import pandas

__all__ = ["Timeline"]


class Timeline:
    """The finished chunks of a map over time: a drawing, and a table.

    A notebook shows the drawing: the number of chunks in flight over time, and below it the chunks
    from the first sent to the last, each from when it was queued to when it was done. Of more chunks
    than fit, one row stands for several.

    Attributes
    ----------
    chunks : list of ChunkTimes
        In the order in which they were taken. At most 100,000: of more, one in two, four, and so on.
    seen : int
        Number of finished chunks, including those that are not in `chunks`.

    Examples
    --------
    >>> import lambdamap
    >>> results = lambdamap.map(abs, [-1, 2, -3], chunksize=1, backend="inline")
    >>> sum(results)
    6
    >>> results.timeline()
    <lambdamap timeline: 3 chunks>
    """

    def __init__(self, records: bytes, seen: int) -> None:
        self.seen = seen
        self.chunks = read(records)

    def __repr__(self) -> str:
        noun = "chunk" if self.seen == 1 else "chunks"
        kept = "" if self.seen == len(self.chunks) else f", {len(self.chunks):,} of them recorded"
        return f"<lambdamap timeline: {self.seen:,} {noun}{kept}>"

    def _repr_html_(self) -> str:
        return self.svg()

    def svg(self) -> str:
        """Return the drawing as an SVG document without scripts."""
        from lambdamap.flight.drawing import draw

        return draw(self.chunks, self.seen)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the drawing to an SVG file.

        Parameters
        ----------
        path
            Its name; a file of that name is replaced.
        """
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg())

    def to_frame(self) -> pandas.DataFrame:
        """Return the chunks as a pandas DataFrame, one row per chunk.

        Its columns are the attributes of `ChunkTimes`; ``cold`` is nullable.
        """
        import pandas as pd

        frame = pd.DataFrame(self.chunks, columns=list(ChunkTimes._fields))
        return frame.astype(
            {"queued": "float64", "sent": "float64", "done": "float64", "failed": "bool",
             "first_item": "int64", "n_items": "int64", "attempts": "int64", "cold": "boolean"}
        )  # fmt: skip
