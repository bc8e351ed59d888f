"""Servers on raw sockets that reply, or fail to reply, exactly as a test specifies.

A `Server` listens on loopback. Every complete request is counted, then passed to the next *step* of
the script; when the script has ended, to `then`. A step is a function of the connection and the
request; it may send anything, wait, close or reset. A *greeting* is what is done with a connection
before its first request: also a list, which may be shorter than the number of connections.

    server = Server([throttle(), run()], then=run())
    server = Server([reset()], greetings=[close_at_once()])

All threads are daemons and end in `stop`, or at the end of the with block.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Connection",
    "Request",
    "Server",
    "after",
    "aws_error",
    "close_at_once",
    "fin",
    "hold",
    "plain_reply",
    "raw",
    "reads",
    "reply",
    "reset",
    "reset_at_once",
    "run",
    "run_reply",
    "throttle",
]

ACCESS_KEY = "AKIDSCRIPTED"
SECRET_KEY = "a secret/with+odd=characters"
REGION = "eu-central-1"

_HANG_S = 30.0  # a thread that has not ended by then is a bug in the test


@dataclass
class Request:
    """One complete request, as received."""

    number: int  # over all connections, from 0
    connection: int  # number of the connection, from 0
    method: str
    target: str
    headers: dict[str, str]  # lower-case names
    body: bytes
    at: float = field(default_factory=time.monotonic)

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def envelope(self) -> dict[str, Any]:
        envelope = self.json()["lambdamap"]
        assert isinstance(envelope, dict)
        return envelope


class Connection:
    """One accepted connection, in its own thread."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.buffer = b""
        self.received = 0
        self.open = True
        self.forgotten = False  # by everything in between: whatever arrives now is never answered
        self.swallowed = 0

    # --- reading

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except OSError:
            data = b""
        self.received += len(data)
        if self.forgotten and data:
            self.swallowed += len(data)
            return self._more()
        self.buffer += data
        return bool(data)

    def read_request(self) -> Request | None:
        """Return the next complete request; None if the connection ended before its end."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        self.buffer = rest
        while len(self.buffer) < length:
            if not self._more():
                return None
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return self.server._count(self, method, target, headers, body)

    def read(self, count: int) -> bytes:
        """Return exactly count bytes, or fewer at the end of the stream. They belong to no request."""
        while len(self.buffer) < count and self._more():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def read_to_end(self) -> None:
        while self._more():
            self.buffer = b""

    # --- answering

    def send(self, data: bytes) -> bool:
        """Send; return False if the peer is gone."""
        try:
            self.sock.sendall(data)
        except OSError:
            return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait; return False if the server is stopping."""
        return not self.server.stopping.wait(seconds)

    def start_tls(self) -> bool:
        context = self.server.tls
        assert context is not None
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except OSError:
            self.close()
            return False
        return True

    def close(self) -> None:
        """Send a FIN without TLS's close_notify; it has been sent once `open` is false."""
        if self.open:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.sock.close()
            self.open = False

    def end_sending(self) -> None:
        """FIN; what the peer sends is still read."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def reset(self) -> None:
        """Send a RST: data that was not read is lost, and the peer learns of it."""
        if self.open:
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.sock.close()
            self.open = False


Step = Callable[[Connection, Request], None]
Greeting = Callable[[Connection], None]


class Server:
    """A scripted server.

    Parameters
    ----------
    script
        One step per complete request, in order of arrival.
    then
        The step for all later requests; default: `run()`.
    greetings
        What happens on the n-th connection before its TLS handshake and first request.
    tls
        TLS context of the server, or None for plain HTTP.
    check_signatures
        Refuse requests that botocore's signer would sign differently (403), and record them in
        `bad_signatures`.
    """

    def __init__(
        self,
        script: Iterable[Step] = (),
        then: Step | None = None,
        *,
        greetings: Iterable[Greeting] = (),
        tls: ssl.SSLContext | None = None,
        check_signatures: bool = True,
        family: int = socket.AF_INET,
    ) -> None:
        self.script: Iterator[Step] = iter(script)
        self.then = run() if then is None else then
        self.greetings: Iterator[Greeting] = iter(greetings)
        self.tls = tls
        self.check_signatures = check_signatures
        self.requests: list[Request] = []
        self.runs: Counter[int] = Counter()  # by first item: chunks passed to `run` steps
        self.items: Counter[int] = Counter()  # by index: items that were run
        self.bad_signatures: list[str] = []
        self.failures: list[BaseException] = []  # of steps; raised by stop
        self.connections: list[Connection] = []
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.threads: list[threading.Thread] = []
        self.family = family
        self.host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        self._holder = self._bound(0)  # reserves the port while this server refuses connections
        self.port: int = self._holder.getsockname()[1]
        self.listener: socket.socket | None = None
        self.listen()

    # --- life

    def _bound(self, port: int) -> socket.socket:
        sock = socket.socket(self.family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.host, port))
        return sock

    def listen(self) -> None:
        """Accept connections, also after `refuse`."""
        self.listener = self._bound(self.port)
        self.listener.listen(1024)
        self._acceptor = self._start(self._accept, self.listener)

    def refuse(self) -> None:
        """Stop accepting: new connections are refused, open ones stay."""
        listener, self.listener = self.listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            self._acceptor.join(_HANG_S)
            listener.close()

    def stop(self) -> None:
        self.stopping.set()
        self.refuse()
        with self.lock:
            connections, threads = list(self.connections), list(self.threads)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_HANG_S)
            assert not thread.is_alive(), f"{thread.name} hangs"
        for connection in connections:
            connection.close()
        self._holder.close()
        if self.failures:
            raise self.failures[0]

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self.tls is None else 'https'}://{host}:{self.port}"

    # --- what was seen

    @property
    def complete(self) -> int:
        """Return the number of complete requests, over all connections."""
        with self.lock:
            return len(self.requests)

    def wait_for(self, count: int, seconds: float = _HANG_S) -> None:
        """Wait until this many complete requests have arrived."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.requests) >= count, seconds), (
                f"{len(self.requests)} requests, waited for {count}"
            )

    def wait_for_connections(self, count: int, seconds: float = _HANG_S) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.connections) >= count, seconds)

    # --- inside

    def _start(self, function: Callable[..., None], *args: object) -> threading.Thread:
        thread = threading.Thread(target=function, args=args, name="scripted", daemon=True)
        with self.lock:
            self.threads = [known for known in self.threads if known.is_alive()]
            thread.start()
            self.threads.append(thread)
        return thread

    def _accept(self, listener: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                sock, _address = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                connection = self._connection(sock, len(self.connections))
                self.connections.append(connection)
                greeting = next(self.greetings, None)
                self.changed.notify_all()
            self._start(self._serve, connection, greeting)

    def _connection(self, sock: socket.socket, number: int) -> Connection:
        return Connection(self, sock, number)

    def _serve(self, connection: Connection, greeting: Greeting | None) -> None:
        try:
            if greeting is not None:
                greeting(connection)
            if connection.open and self.tls is not None and not connection.start_tls():
                return
            while connection.open and not self.stopping.is_set():
                request = connection.read_request()
                if request is None:
                    break
                self._step(connection, request)
        except BaseException as error:
            if not self.stopping.is_set():
                self.failures.append(error)
        finally:
            connection.close()

    def _step(self, connection: Connection, request: Request) -> None:
        """The next step of the script."""
        with self.lock:
            step = next(self.script, self.then)
        if self.check_signatures and not self._is_signed(request):
            step = aws_error(403, "InvalidSignatureException", "signature")
        step(connection, request)

    def _count(
        self, connection: Connection, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> Request:
        with self.changed:
            request = Request(len(self.requests), connection.number, method, target, headers, body)
            self.requests.append(request)
            self.changed.notify_all()
        return request

    def _is_signed(self, request: Request) -> bool:
        wrong = signature_error(request, self.url)
        if wrong is not None:
            self.bad_signatures.append(wrong)
        return wrong is None


def signature_error(
    request: Request,
    url: str,
    access_key: str = ACCESS_KEY,
    secret_key: str = SECRET_KEY,
    region: str = REGION,
) -> str | None:
    """Return how the signature differs from that of botocore's own signer, or None."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    given = request.headers.get("authorization", "")
    scheme, _, rest = given.partition(" ")
    if scheme != "AWS4-HMAC-SHA256":
        return "no signature"
    parts = dict(piece.strip().split("=", 1) for piece in rest.split(","))
    names = parts["SignedHeaders"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return f"host and x-amz-date must be signed, {names} are"
    unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in names]
    if unsigned:
        return f"not signed: {unsigned}"
    token = request.headers.get("x-amz-security-token")
    digest = request.headers.get("x-amz-content-sha256")
    if digest not in (None, hashlib.sha256(request.body).hexdigest()):
        return "x-amz-content-sha256 is not the body's"
    rebuilt = AWSRequest(
        method=request.method,
        url=url + request.target.partition("?")[0],
        params=_query(request.target),
        headers={name: request.headers[name] for name in names},
        data=request.body,
    )
    rebuilt.context["timestamp"] = request.headers["x-amz-date"]
    signer = SigV4Auth(Credentials(access_key, secret_key, token), "lambda", region)
    text = signer.string_to_sign(rebuilt, signer.canonical_request(rebuilt))
    if parts["Credential"] != signer.scope(rebuilt):
        return f"scope {parts['Credential']}, not {signer.scope(rebuilt)}"
    if parts["Signature"] != signer.signature(text, rebuilt):
        return f"signature of {request.target}"
    return None


def _query(target: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    return dict(parse_qsl(target.partition("?")[2], keep_blank_values=True))


# --- replies ----------------------------------------------------------------------------------


def plain_reply(
    body: bytes,
    status: int = 200,
    headers: dict[str, str] | None = None,
    *,
    length: int | None = None,
) -> bytes:
    """Return the bytes of a reply with a Content-Length (a wrong one if given)."""
    lines = [f"HTTP/1.1 {status} Something", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


_run_lock = threading.Lock()


def run_reply(request: Request) -> dict[str, Any]:
    """Run the items in this process with the worker's own code, and return its reply.

    One request at a time: a worker has a process to itself, and captures what the items print.
    """
    from lambdamap.worker.call import run_request

    with _run_lock:
        return run_request(request.json(), None)


# --- steps ------------------------------------------------------------------------------------


def reply(body: bytes | str, status: int = 200, **headers: str) -> Step:
    """Reply. Underscores in header names stand for hyphens."""
    text = body.encode() if isinstance(body, str) else body
    names = {name.replace("_", "-"): value for name, value in headers.items()}

    def step(connection: Connection, request: Request) -> None:
        connection.send(plain_reply(text, status, names))

    return step


def _note_run(connection: Connection, request: Request) -> None:
    envelope = request.envelope
    first, count = envelope["chunk"], envelope["items"]
    with connection.server.lock:
        connection.server.runs[first] += 1
        for index in range(first, first + count):
            connection.server.items[index] += 1


def run(
    change: Callable[[dict[str, Any]], Any] | None = None, *, afterwards: Step | None = None
) -> Step:
    """Run the request's items and reply as the worker would; `change` may alter the reply.

    With `afterwards`, the items are run and that step replies.
    """

    def step(connection: Connection, request: Request) -> None:
        _note_run(connection, request)
        answer: Any = run_reply(request)
        if afterwards is not None:
            afterwards(connection, request)
            return
        if change is not None:
            changed = change(answer)
            answer = answer if changed is None else changed
        connection.send(
            plain_reply(
                json.dumps(answer).encode(),
                headers={
                    "x-amzn-RequestId": f"request-{request.number}",
                    "X-Amz-Executed-Version": "$LATEST",
                },
            )
        )

    return step


def aws_error(status: int, error_type: str | None, message: str = "", **headers: str) -> Step:
    """An API error in Lambda's wording; without a type it might come from a proxy."""
    names = {"x-amzn-RequestId": "request-error"}
    if error_type is not None:
        names["x-amzn-ErrorType"] = f"{error_type}:http://internal.amazon.com/coral/{error_type}/"
    names.update({name.replace("_", "-"): value for name, value in headers.items()})
    body = json.dumps({"Type": "User", "message": message or error_type}).encode()

    def step(connection: Connection, request: Request) -> None:
        connection.send(plain_reply(body, status, names))

    return step


def throttle(reason: str = "ConcurrentInvocationLimitExceeded", **headers: str) -> Step:
    """Reply 429."""
    body = json.dumps({"Reason": reason, "Type": "User", "message": "Rate Exceeded."}).encode()
    names = {"x-amzn-ErrorType": "TooManyRequestsException"}
    names.update({name.replace("_", "-"): value for name, value in headers.items()})

    def step(connection: Connection, request: Request) -> None:
        connection.send(plain_reply(body, 429, names))

    return step


def function_error(body: dict[str, Any], kind: str = "Unhandled") -> Step:
    """Reply 200 with the handler's failure."""
    return reply(json.dumps(body), 200, X_Amz_Function_Error=kind, x_amzn_RequestId="request-f")


def raw(*pieces: bytes | float, close: bool = False) -> Step:
    """Send these bytes; a number waits for that many seconds."""

    def step(connection: Connection, request: Request) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                if not connection.send(piece):
                    break
            elif not connection.wait(piece):
                break
        if close:
            connection.close()

    return step


def in_one_segment(*pieces: bytes) -> Step:
    """Send these at once; over TLS, each in its own record."""

    def step(connection: Connection, request: Request) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        for piece in pieces:
            connection.send(piece)
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)

    return step


def fin(*pieces: bytes | float) -> Step:
    """Send these, then close."""
    return raw(*pieces, close=True)


def reset(*pieces: bytes) -> Step:
    """Send these, then RST."""

    def step(connection: Connection, request: Request) -> None:
        for piece in pieces:
            connection.send(piece)
        connection.reset()

    return step


def hold() -> Step:
    """Never reply; ends when the peer closes or the server stops."""

    def step(connection: Connection, request: Request) -> None:
        connection.read_to_end()

    return step


def after(seconds: float, step: Step) -> Step:
    """Run the step after a delay."""

    def later(connection: Connection, request: Request) -> None:
        if connection.wait(seconds):
            step(connection, request)

    return later


def once(event: threading.Event, step: Step) -> Step:
    """Run the step when the event is set."""

    def later(connection: Connection, request: Request) -> None:
        assert event.wait(_HANG_S)
        step(connection, request)

    return later


def then_close(step: Step) -> Step:
    """Reply as if the connection were kept, and close it.

    `open` is false once the peer has noticed and closed its end.
    """

    def both(connection: Connection, request: Request) -> None:
        step(connection, request)
        connection.end_sending()
        connection.read_to_end()
        connection.close()

    return both


# --- greetings --------------------------------------------------------------------------------


def welcome() -> Greeting:
    """Do nothing special; a placeholder in the list."""
    return lambda connection: None


def close_at_once() -> Greeting:
    return Connection.close


def reset_at_once() -> Greeting:
    return Connection.reset


def reads(count: int, end: Callable[[Connection], None] = Connection.reset) -> Greeting:
    """Read this many bytes (of the TLS handshake or the request), then end."""

    def greeting(connection: Connection) -> None:
        connection.read(count)
        end(connection)

    return greeting


def waits(seconds: float) -> Greeting:
    """Read and send nothing for this long."""

    def greeting(connection: Connection) -> None:
        connection.wait(seconds)

    return greeting
