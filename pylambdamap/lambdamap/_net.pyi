from collections.abc import Sequence
from typing import Final, Literal, final

CURL_VERSION: Final[str]
TLS_VERSION: Final[str]
FAILURES: Final[tuple[str, ...]]

@final
class Target:
    """Endpoint, path, credentials, limiter and retry policy; shared by the maps of one function."""

    @property
    def closed(self) -> bool:
        """Whether its dispatcher has been shut down: open another target."""
    @property
    def window(self) -> int:
        """Invocations that one map may have in flight now."""
    @property
    def wants_credentials(self) -> Literal["", "fresh", "others"]:
        """Why nothing starts until `set_credentials`, or "".

        "fresh": the current ones expire soon. "others": AWS has refused them as expired.
        """
    def set_credentials(
        self, access_key: str, secret_key: str, token: str | None, expires_at: float | None, /
    ) -> None:
        """Sign every later attempt with these credentials; expires_at is in seconds since 1970."""

@final
class Completion:
    """One finished chunk."""

    @property
    def first_item(self) -> int:
        """Index of the chunk's first item."""
    @property
    def n_items(self) -> int: ...
    @property
    def ok(self) -> bool:
        """Whether every item has a result."""
    @property
    def failure(self) -> str:
        """Kind of failure, one of FAILURES; "": none. flight/failures.py explains them."""
    @property
    def ran(self) -> Literal["NOT", "MAYBE", "RAN"]:
        """Whether f ran for the chunk's items, as known from the last attempt."""
    @property
    def worst_ran(self) -> Literal["NOT", "MAYBE", "RAN"]:
        """The strongest `ran` of the failed attempts, even if a later one succeeded."""
    @property
    def message(self) -> str:
        """Error message; "": none."""
    @property
    def stops_map(self) -> bool:
        """Whether every other chunk would fail in the same way."""
    @property
    def split(self) -> bool:
        """Whether the chunk is too large and must be split; see `request_frame`."""
    @property
    def attempts(self) -> int:
        """Number of attempts, not counting those answered with 429 or 409."""
    @property
    def throttles(self) -> int:
        """Number of 429 replies."""
    @property
    def request_id(self) -> str | None:
        """AWS request id of the last attempt."""
    @property
    def status(self) -> int:
        """HTTP status of the last reply; 0: none."""
    @property
    def done(self) -> int:
        """Number of items that have run, from the first."""
    @property
    def worker_us(self) -> int:
        """Time that the worker took for these items, in microseconds."""
    @property
    def seconds(self) -> float:
        """Duration of the last attempt, including the wait for a connection."""
    @property
    def stale_code(self) -> str | None:
        """The reply's ``code`` field as JSON: the worker's source differs from the caller's."""
    @property
    def error(self) -> bytes | None:
        """The reply's ``error`` field as JSON, or the body of an error reply by Lambda."""
    @property
    def output(self) -> bytes | None:
        """The reply's ``out`` field as JSON: what the items printed."""
    @property
    def frame(self) -> memoryview | None:
        """The checked raw frame of the results, for `_codec.decode`; a view of this object."""
    @property
    def body(self) -> bytes | None:
        """The reply as received, for a map without an envelope."""
    @property
    def bytes_sent(self) -> int:
        """Bytes sent in all attempts, including HTTP headers."""
    @property
    def bytes_received(self) -> int:
        """Bytes received in all attempts, including HTTP headers."""
    @property
    def executed_version(self) -> str | None:
        """Version of the function that ran."""
    def request_frame(self) -> bytes:
        """Return the raw request frame, or the payload, to send its items again.

        ValueError if the request contains none.
        """

@final
class Map:
    """One map in flight. For one thread at a time; deallocation cancels it."""

    def submit(
        self,
        frame: bytes | bytearray | memoryview,
        first_item: int,
        n_items: int,
        durable_name: str | None = None,
        /,
    ) -> bool:
        """Queue one chunk. False: there is no room (byte budget or window), and the chunk was not
        queued; take a completion first."""
    def take(self) -> Completion | None:
        """Return a finished chunk, or None. Never blocks."""
    def wait(self, timeout_s: float, /) -> bool:
        """Wait without the GIL for a completion. Return False on timeout.

        Signal handlers run meanwhile, so Ctrl-C raises KeyboardInterrupt here.
        """
    def fileno(self) -> int:
        """Return a descriptor that is readable while completions wait."""
    @property
    def wants_credentials(self) -> bool:
        """Whether chunks wait for `Target.set_credentials`; `wait` returns when this changes."""
    def cancel(self) -> None:
        """Complete every outstanding chunk with failure "cancelled". Idempotent, from any thread."""
    def quiesce(self, timeout_s: float, /) -> bool:
        """After `cancel`, wait until no native thread holds a buffer of the map. False on timeout."""
    @property
    def outstanding(self) -> int:
        """Number of chunks submitted and not yet taken."""
    @property
    def stats(self) -> dict[str, int]:
        """Counts: requests, retries, throttles, bytes_sent, bytes_received, connections, streams, in_flight."""
    @property
    def latency(self) -> tuple[float, float, float, float] | None:
        """p50, p90, p99 and maximum of the last attempts of chunks with a reply, in seconds."""
    @property
    def bill(
        self,
    ) -> tuple[tuple[int, int, int, int, int], tuple[int, int, int, int, int], int, int, int, int]:
        """What REPORT lines say: the fields of struct lm_bill in csrc/core/job/bill.h, in its order."""
    def notes(self) -> list[dict[str, str | int | float | None]]:
        """Return the events since the last call, for the log; empty without notes=True."""
    def record(self, limit: int, /) -> None:
        """Record the times of the chunks taken from now on, of at most `limit` of them."""
    def records(self) -> tuple[bytes, int]:
        """Return the records, as in backends/records.py, and how many chunks they were selected from."""

def open_target(
    *,
    scheme: str,
    host: str,
    port: int,
    path: str,
    query: str,
    region: str,
    access_key: str,
    secret_key: str,
    token: str | None,
    expires_at: float | None,
    headers: Sequence[tuple[str, str]],
    proxy: tuple[str, str, int] | None,
    ca_file: str | None,
    ca_path: str | None,
    max_concurrency: int,
    max_attempts: int,
    max_connect_ms: int,
    connect_patience_ms: int,
    http_version: str | None,
) -> Target:
    """Return a target for `open_map`.

    scheme is http or https; path and query are percent-encoded, as on the wire; headers are
    sent with each request; proxy is its URL, host and port. max_concurrency limits the invocations of
    one map, max_connect_ms one attempt to connect, connect_patience_ms all attempts together.
    http_version is "1.1", "2", or None: HTTP/2 if the endpoint chooses it (ALPN).
    """

def open_map(
    target: Target,
    /,
    *,
    envelope: bytes | str | None,
    map_id: str,
    compression: bool,
    idempotent: bool,
    invocation_timeout_ms: int,
    timeout_ms: int,
    max_result_bytes: int,
    max_reply_bytes: int,
    notes: bool,
    trace: bool,
    bound_id: str,
    billing: int,
) -> Map:
    """Return a map on a target.

    envelope is the constant start of each body, JSON to which wire/envelope.h adds the chunk's own
    fields; None: chunks are sent as they are. map_id is 32 hex digits. Timeouts are for one attempt
    and for the whole map; -1: none. notes: keep events for `Map.notes`; trace: connections and HTTP
    headers as well. Maps with the same bound_id share max_concurrency.
    billing: whose log's end is asked for, of no reply (0), a sample (1) or all (2).
    """

def set_budget(max_inflight_bytes: int, /) -> None:
    """Limit the bytes of requests, expected replies and untaken results, over all maps."""

def shutdown(timeout_s: float, at_exit: bool = False, /) -> None:
    """Stop the native threads; outstanding chunks complete as cancelled.

    at_exit: daemon threads that use a map block for ever, since the interpreter is about to stop them.
    """

def debug_periods(**seconds: float) -> dict[str, float]:
    """Return the dispatcher's periods, and set some of them: for tests, while no map runs."""

def debug_state() -> dict[str, int]:
    """Return counts of threads, maps, bytes and invocations in flight: for tests."""
