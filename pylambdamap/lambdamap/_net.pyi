from collections.abc import Sequence
from typing import Any, Final, final

CURL_VERSION: Final[str]
TLS_VERSION: Final[str]

@final
class Target:
    """Where and how: endpoint, path, credentials, limiter, retry policy. Shared by the maps of one function."""

    @property
    def closed(self) -> bool:
        """Its dispatcher has been shut down: open another."""
    @property
    def window(self) -> int:
        """The limiter's present window (invocations at once)."""
    @property
    def wants_credentials(self) -> str:
        """ "", or why nothing starts until set_credentials: "fresh" or "others" (than those that expired)."""
    def set_credentials(
        self, access_key: str, secret_key: str, token: str | None, expires_at: float | None, /
    ) -> None:
        """Used by every attempt signed from now on; expires_at in seconds since 1970."""

@final
class Completion:
    """One finished chunk. Attributes are read-only."""

    first_item: int
    n_items: int
    ok: bool  # frame (or body) holds results and nothing failed
    failure: str  # "" or one of: config access_denied function_not_found service throttled connect connection_lost deadline remote worker_init worker_timeout worker_crashed too_large protocol cancelled memory system
    ran: str  # "NOT", "MAYBE", "RAN"
    message: str
    stops_map: bool
    split: bool  # 413: request_frame() gives the chunk back to be halved
    attempts: int
    throttles: int
    request_id: str | None
    status: int  # HTTP status, 0 when no head was read
    done: int  # items the worker did (envelope "done"); n_items when complete
    worker_us: int
    seconds: float  # of the last attempt
    stale_code: str | None  # raw JSON of the reply's "code"
    error: bytes | None  # raw JSON of the envelope's "error", or of a Lambda error body
    output: bytes | None  # raw JSON of "out"
    frame: bytes | None  # checked raw frame of "r": give it to _codec.decode
    body: bytes | None  # raw reply of an envelope-less map (invoke_map)
    bytes_sent: int
    bytes_received: int
    executed_version: str | None
    def request_frame(self) -> bytes:
        """The raw request frame, recovered from the body; ValueError when it is gone."""

@final
class Map:
    """One map in flight. For one thread at a time; dropping it cancels."""

    def submit(
        self, frame: bytes, first_item: int, n_items: int, durable_name: str | None = None, /
    ) -> bool:
        """Queue one chunk. False: no room now (byte budget or window ahead), nothing was taken: take a completion first."""
    def take(self) -> Completion | None:
        """A finished chunk, or None. Never blocks."""
    def wait(self, timeout_s: float, /) -> bool:
        """Wait without the GIL until a completion can be taken (True) or the time is over (False).

        Signals are handled meanwhile: Ctrl-C raises KeyboardInterrupt here.
        """
    def fileno(self) -> int: ...
    @property
    def wants_credentials(self) -> bool:
        """Whether chunks wait for Target.set_credentials; `wait` returns when this changes."""
    def cancel(self) -> None:
        """Idempotent, from any thread. Every outstanding chunk completes with failure "cancelled"."""
    def quiesce(self, timeout_s: float, /) -> bool:
        """After cancel: wait until no native thread holds a buffer of this map."""
    @property
    def outstanding(self) -> int:
        """Chunks submitted and not yet taken."""
    @property
    def stats(self) -> dict[str, int]:
        """requests, retries, throttles, bytes_sent, bytes_received, connections, in_flight."""
    @property
    def latency(self) -> tuple[float, float, float, float] | None:
        """p50, p90, p99 and maximum of answered chunks' last attempts, in seconds."""
    def notes(self) -> list[dict[str, Any]]:
        """For the log (log.py): what happened since the last call."""

def open_target(
    *,
    scheme: str,
    host: str,
    port: int,
    path: str,  # percent-encoded wire path, e.g. /2015-03-31/functions/f%3Av1/invocations
    query: str,  # "" or Qualifier=%24LATEST
    region: str,
    access_key: str,
    secret_key: str,
    token: str | None,
    expires_at: float | None,
    headers: Sequence[tuple[str, str]],  # extra constant headers (X-Amzn-Trace-Id, User-Agent ...)
    proxy: str | None,
    ca_file: str | None,
    ca_path: str | None,
    max_concurrency: int,  # invocations at once of one map
    max_attempts: int,
    max_connect_ms: int,  # one attempt to connect
    connect_patience_ms: int,  # how long connecting is tried again
) -> Target: ...
def open_map(
    target: Target,
    /,
    *,
    head: bytes
    | None,  # static JSON head of the envelope (envelope.h); None: bodies go as they are
    map_id: str,  # 32 hex digits
    compression: bool,
    idempotent: bool,
    invocation_timeout_ms: int,  # per attempt; -1 = none
    timeout_ms: int,  # whole map from now; -1 = none
    max_result_bytes: int,
    max_reply_bytes: int,
    notes: bool,  # keep what Map.notes() gives: retries and the like
    trace: bool,  # every connection, request head and reply as well
    bound_id: str,  # maps with the same one share the bound of max_concurrency
) -> Map: ...
def set_budget(max_inflight_bytes: int, /) -> None: ...
def shutdown(timeout_s: float, at_exit: bool = False, /) -> None:
    """Stop the I/O threads (atexit)."""

def debug_periods(**seconds: float) -> dict[str, float]:
    """The times that the dispatcher waits for, and change some of them: for tests, while no map runs."""

def debug_state() -> dict[str, Any]:
    """Threads, descriptors, bytes and maps alive: for tests."""
