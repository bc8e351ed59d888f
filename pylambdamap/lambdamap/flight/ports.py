"""Protocols for the parts of a map in flight, as the engine sees them.

A *port* is a map as seen by the engine: `lambdamap._net.Map`, or
`lambdamap.backends.inprocess.InProcessMap` for work in this process. The protocols exist for type
checkers only, not at run time.
"""

from __future__ import annotations

import dataclasses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol, TypeAlias

    # The first replies and the later ones, as `bill.Part`; then cold starts and their microseconds, and
    # the function's memory and the maximum used, in MB.
    _Part: TypeAlias = tuple[int, int, int, int, int]
    Bill: TypeAlias = tuple[_Part, _Part, int, int, int, int]

    class Completion(Protocol):
        """One finished chunk. _net.pyi documents the attributes."""

        @property
        def first_item(self) -> int: ...
        @property
        def n_items(self) -> int: ...
        @property
        def done(self) -> int: ...
        @property
        def failure(self) -> str: ...
        @property
        def ran(self) -> str: ...
        @property
        def worst_ran(self) -> str: ...
        @property
        def message(self) -> str: ...
        @property
        def stops_map(self) -> bool: ...
        @property
        def split(self) -> bool: ...
        @property
        def attempts(self) -> int: ...
        @property
        def status(self) -> int: ...
        @property
        def request_id(self) -> str | None: ...
        @property
        def stale_code(self) -> str | None: ...
        @property
        def error(self) -> bytes | None: ...
        @property
        def output(self) -> bytes | None: ...
        @property
        def frame(self) -> bytes | memoryview | str | dict[str, Any] | None: ...
        @property
        def body(self) -> bytes | None: ...
        @property
        def seconds(self) -> float: ...
        @property
        def worker_us(self) -> int: ...
        @property
        def bytes_sent(self) -> int: ...
        @property
        def bytes_received(self) -> int: ...
        def request_frame(self) -> bytes: ...

    class Port(Protocol):
        """Sends chunks, returns completions. For one thread at a time, except `cancel`."""

        def submit(self, frame: bytes, first_item: int, n_items: int, /) -> bool: ...
        def take(self) -> Completion | None: ...
        def wait(self, timeout_s: float, /) -> bool: ...
        def fileno(self) -> int: ...
        def cancel(self) -> None: ...
        def quiesce(self, timeout_s: float, /) -> bool: ...
        def notes(self) -> list[dict[str, Any]]: ...
        def record(self, limit: int, /) -> None: ...
        def records(self) -> tuple[bytes, int]: ...
        @property
        def outstanding(self) -> int: ...
        @property
        def wants_credentials(self) -> bool: ...
        @property
        def stats(self) -> dict[str, int]: ...
        @property
        def bill(self) -> Bill | None: ...
        @property
        def latency(self) -> tuple[float, float, float, float] | None: ...

    class Packer(Protocol):
        """Packs items into chunks, as `lambdamap._codec.ChunkPacker` does."""

        def fill(self, iterator: Iterator[Any], max_items: int, max_bytes: int, /) -> int: ...
        def take(self) -> bytes: ...
        def skip(self) -> None: ...
        @property
        def exhausted(self) -> bool: ...
        @property
        def items_packed(self) -> int: ...
        @property
        def chunk_bytes(self) -> int: ...

    class Coding(Protocol):
        """Encodes a map's requests and decodes its replies."""

        @property
        def packer(self) -> Packer: ...
        @property
        def for_worker(self) -> bool:
            """Whether chunks are for a lambdamap worker; else each is one payload for any function."""

        @property
        def allow_pickle(self) -> bool:
            """Whether replies may contain pickles."""

        def unpack(
            self, completion: Completion, check: Callable[[], None] | None, /
        ) -> tuple[list[Any], dict[int, Any]]:
            """Return the results, and by index the descriptions of the items that failed.

            check is called periodically, and may raise. Raises `_codec.DecodeFailure`.
            """

        def parts(self, chunk: bytes, start: int, size: int, /) -> list[tuple[bytes, int]]:
            """Repack a chunk's items from `start` on into chunks of `size`; return each with its count."""

        def pick(self, chunk: bytes, positions: list[int], /) -> list[bytes]:
            """Return chunks of one item each, for some of a chunk's items."""

    class JournalKeeper(Protocol):
        """The port of a map with a journal: what it sends and takes waits for the journal."""

        def flush_if_due(self) -> None: ...
        def flush(self) -> bool:
            """Write the journal, send what waited for it, and return whether `take` has something."""

        def close(self) -> None: ...
        @property
        def items(self) -> int:
            """Number of items whose outcome was in the journal, so far."""

        @property
        def chunks(self) -> int:
            """Number of chunks that were not sent because of that."""


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """A map of one function opened on its backend, ready for chunks."""

    map_id: str
    port: Port
    window: Callable[[], int]  # current maximum of concurrent invocations
    coding: Coding
    renew: Callable[[], None] | None  # called when the port needs newer credentials
    runs_on: str  # where cancelled invocations run to completion; "": nowhere
    journal: JournalKeeper | None = None  # the port, if the map keeps a journal
