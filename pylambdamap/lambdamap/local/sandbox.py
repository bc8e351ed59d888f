"""The process that runs a handler, which Lambda calls an execution environment.

Started by `lambdamap.local.processes` as ``python -m lambdamap.local.sandbox KIND HANDLER``. KIND
``builtin`` is the loop in this module, which uses three calls of Lambda's Runtime API;
``awslambdaric`` is AWS's runtime client. The process ends with its caller, and reports to the server
which source files it has loaded.

HTTP is spoken over a bare socket: the peer is always the server of this package, importing
`http.client` would take a third of the start-up time, and the reply to one invocation and the request
for the next are sent in one write.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from types import ModuleType
from typing import Any, ClassVar

from lambdamap import _process
from lambdamap._process import call_once
from lambdamap.local.unsent import Unsent

__all__ = ["main", "reporting_handler"]

_API = "/2018-06-01/runtime"
_HEADER_BYTES = 65536


class _GoneError(Exception):
    """The server has closed the connection."""


class _Record:
    """Fields of a JSON object as attributes; None for missing ones."""

    _fields: ClassVar[dict[str, str]] = {}  # attribute: name in JSON

    def __init__(self, data: dict[str, Any]) -> None:
        for name, key in self._fields.items():
            setattr(self, name, data.get(key))

    def __repr__(self) -> str:
        shown = ",".join(f"{name}={getattr(self, name)}" for name in self._fields)
        return f"{type(self).__name__}([{shown}])"


class CognitoIdentity(_Record):
    """The caller's identity in Amazon Cognito."""

    _fields: ClassVar = {
        "cognito_identity_id": "cognitoIdentityId",
        "cognito_identity_pool_id": "cognitoIdentityPoolId",
    }


class Client(_Record):
    """The mobile application of the caller."""

    _names = "installation_id app_title app_version_name app_version_code app_package_name"
    _fields: ClassVar = {name: name for name in _names.split()}


class ClientContext(_Record):
    """The client context that the caller sent with the event."""

    _fields: ClassVar = {name: name for name in ("custom", "env", "client")}
    client: Any

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        if isinstance(self.client, dict):
            self.client = Client(self.client)


class LambdaContext:
    """Lambda's context object, with the same attributes as awslambdaric's."""

    def __init__(self, headers: dict[str, str]) -> None:
        self.aws_request_id = headers["lambda-runtime-aws-request-id"]
        self.invoked_function_arn = headers["lambda-runtime-invoked-function-arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        self.identity = CognitoIdentity(
            json.loads(headers.get("lambda-runtime-cognito-identity") or "{}")
        )
        self.client_context: ClientContext | None = None
        self._w3c: dict[str, str] = {}
        self._deadline_ms = int(headers["lambda-runtime-deadline-ms"])
        passed = headers.get("lambda-runtime-client-context")
        if passed:
            said = json.loads(passed)
            trace = said.pop("w3c", None)
            if isinstance(trace, dict):
                found = {name: trace.get(name) for name in ("traceparent", "tracestate", "baggage")}
                self._w3c = {name: text for name, text in found.items() if isinstance(text, str)}
            self.client_context = ClientContext(said)

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._deadline_ms - int(time.time() * 1000))

    def w3c(self) -> dict[str, str]:
        """Return the W3C trace context of this invocation."""
        return dict(self._w3c)

    def log(self, message: object) -> None:
        """Write to the function's log."""
        sys.stdout.write(str(message))

    def __repr__(self) -> str:
        names = "aws_request_id log_group_name log_stream_name function_name memory_limit_in_mb "
        names += "function_version invoked_function_arn client_context identity tenant_id"
        shown = ",".join(f"{name}={getattr(self, name)}" for name in names.split())
        return f"LambdaContext([{shown}])"


class _Api:
    """One keep-alive connection to the Runtime API."""

    def __init__(self) -> None:
        address, _, path = os.environ["AWS_LAMBDA_RUNTIME_API"].partition("/")
        host, _, port = address.partition(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._got = b""
        self._base = f"/{path}{_API}" if path else _API
        self._host = address

    def get(self, path: str) -> bytes:
        return f"GET {self._base}{path} HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()

    def post(self, path: str, body: bytes) -> bytes:
        return (
            f"POST {self._base}{path} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body

    def send(self, requests: bytes) -> None:
        try:
            self._socket.sendall(requests)
        except OSError:
            raise _GoneError from None

    def receive(self) -> tuple[dict[str, str], bytes]:
        """Return the headers of the next reply, with names in lower case, and its body."""
        while (end := self._got.find(b"\r\n\r\n")) < 0:
            if len(self._got) > _HEADER_BYTES:
                raise _GoneError
            self._got += self._more()
        lines = self._got[:end].decode("latin-1").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        left = int(headers.get("content-length", "0")) - (len(self._got) - end - 4)
        if left <= 0:
            stop = len(self._got) + left
            body, self._got = self._got[end + 4 : stop], self._got[stop:]
            return headers, body
        parts, self._got = [self._got[end + 4 :]], b""
        while left > 0:
            parts.append(self._more(left))
            left -= len(parts[-1])
        return headers, b"".join(parts)

    def _more(self, most: int = 65536) -> bytes:
        try:
            data = self._socket.recv(min(most, 1 << 20))
        except OSError:
            data = b""
        if not data:
            raise _GoneError
        return data

    def close(self) -> None:
        self._socket.close()


# --- the end of the caller ------------------------------------------------------------------------


def _watch_caller(lifeline: int) -> None:
    """End this process and its children when the other end of the inherited pipe is closed."""
    import threading

    _ask_kernel(lifeline)

    def wait() -> None:
        while os.read(lifeline, 1):
            pass
        os.killpg(0, 9)

    threading.Thread(target=wait, name="lambdamap-lifeline", daemon=True).start()


def _ask_kernel(lifeline: int) -> None:
    """Have the kernel send SIGKILL, if it can: code that holds the GIL would delay a thread."""
    import fcntl

    if not hasattr(fcntl, "F_SETSIG"):
        return
    try:
        # Owner and signal are set per open file description: this process needs its own.
        own = os.open(f"/proc/self/fd/{lifeline}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.fcntl(own, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(own, fcntl.F_SETSIG, 9)
        fcntl.fcntl(own, fcntl.F_SETFL, os.O_NONBLOCK | os.O_ASYNC)
    except OSError:
        pass


# --- loaded source files ------------------------------------------------------------------------

_State = tuple[int, int]  # of a file: modification time in ns, size
_loaded: dict[str, _State] = {}  # by source file, just before it was read
_unreported: dict[str, _State] = {}
_known_modules = 0
_fixed: tuple[str, ...] = ()  # folders whose files nobody edits


def _watch_imports() -> None:
    """Record the state of each source file when it is loaded, since it may change later.

    Cached bytecode is ignored where it may belong to an earlier version of the file.
    """
    global _fixed
    import sysconfig
    from importlib.util import cache_from_source

    names = ("stdlib", "platstdlib", "purelib", "platlib")
    _fixed = tuple(os.path.join(sysconfig.get_path(name), "") for name in names)
    path_stats = SourceFileLoader.path_stats

    def noting(self: SourceFileLoader, path: str) -> Any:
        facts = _note(str(path))
        if facts is not None:
            try:
                # The cache compares whole seconds: bytecode cached in the second of the last edit
                # may be of the version before it.
                if os.stat(cache_from_source(path)).st_mtime_ns < facts[0] + 2_000_000_000:
                    raise OSError("the cached bytecode may be outdated")
            except FileNotFoundError:
                pass
        return path_stats(self, path)

    SourceFileLoader.path_stats = noting  # type: ignore[method-assign]


def _note(path: str) -> _State | None:
    """Record and return the current state of a file; None for files that nobody edits."""
    if path.startswith(_fixed) or "/site-packages/" in path or "/dist-packages/" in path:
        return None
    try:
        facts = os.stat(path)
    except OSError:
        return None
    state = (facts.st_mtime_ns, facts.st_size)
    if _loaded.get(path) != state:
        _loaded[path] = _unreported[path] = state
    return state


def _report() -> bytes | None:
    """Return the loaded source files that the server does not know yet, as JSON."""
    global _known_modules
    if len(sys.modules) != _known_modules:
        _known_modules = len(sys.modules)
        for module in list(sys.modules.values()):
            # Extension modules, and modules loaded before `_watch_imports`.
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path not in _loaded:
                _note(path)
    if not _unreported:
        return None
    report = json.dumps(_unreported).encode()
    _unreported.clear()
    return report


def _reports() -> list[tuple[str, bytes]]:
    """Return operations and bodies of the reports that the server needs now."""
    calls = []
    report = _report()
    if report is not None:
        calls.append(("/lambdamap/sources", report))
    if any(sys.modules.get(name) is not module for name, module in _needed.items()):
        calls.append(("/lambdamap/worn", b""))
    return calls


def _send_reports() -> None:
    """Send the reports over a separate connection."""
    for call in _reports():
        api = _Api()
        api.send(api.post(*call))
        api.receive()
        api.close()


# --- output of f ----------------------------------------------------------------------------------

_unsent: Unsent | None = None


def _forget_output() -> None:
    """After the handler has returned: its output is in the reply, or in the log."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # f may have closed or replaced it
            stream.flush()
    if _unsent is not None:
        _unsent.forget()


# --- modules that f may remove --------------------------------------------------------------------

_needed: dict[str, ModuleType] = {}  # without which the next invocation, or another map, would fail


def _note_needed() -> None:
    """Record the modules loaded before the first invocation.

    If f removes one, as with ``sys.modules.clear()``, the server replaces this process before its
    next invocation.
    """
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("lambdamap", "__main__", "builtins", "os", "sys"):
            _needed[name] = module


_wrapped: Callable[[Any, Any], Any] | None = None


def reporting_handler(event: Any, context: Any) -> Any:
    """Call the real handler, then send the reports: the handler for ``awslambdaric``."""
    global _wrapped
    if _wrapped is None:
        _wrapped = _find_handler(os.environ["_HANDLER"])
    try:
        return call_once(_wrapped, event, context)
    finally:
        _forget_output()
        _send_reports()


def _find_handler(path: str) -> Callable[[Any, Any], Any]:
    module, _, name = path.replace("/", ".").rpartition(".")
    if not module:
        raise ImportError("the handler must have the form module.function")
    handler: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), name)
    return handler


# --- the builtin loop ---------------------------------------------------------------------------


def _error_body(kind: str, error: BaseException, request_id: str, frames: list[str]) -> bytes:
    return json.dumps(
        {
            "errorMessage": str(error),
            "errorType": kind,
            "requestId": request_id,
            "stackTrace": frames,
        }
    ).encode()


def _call(
    handler: Callable[[Any, Any], Any], event: bytes, headers: dict[str, str]
) -> tuple[str, bytes]:
    """Run the handler; return the reply's operation, "response" or "error", and its body."""
    request_id = headers["lambda-runtime-aws-request-id"]
    trace = headers.get("lambda-runtime-trace-id")
    if trace is not None:
        os.environ["_X_AMZN_TRACE_ID"] = trace
    else:
        os.environ.pop("_X_AMZN_TRACE_ID", None)
    kind = "Runtime.UnmarshalError"
    try:
        value, context = json.loads(event), LambdaContext(headers)
        kind = ""
        result = call_once(handler, value, context)
        kind = "Runtime.MarshalError"
        return "response", result if isinstance(result, bytes) else json.dumps(result).encode()
    except Exception as error:
        import traceback

        traceback.print_exc()
        frames = [] if kind else traceback.format_tb(error.__traceback__)[2:]
        return "error", _error_body(kind or type(error).__name__, error, request_id, frames)


def _load_handler(path: str) -> Callable[[Any, Any], Any]:
    """Import the handler. A failure is reported to the server and ends the process.

    awslambdaric cannot report it itself: it ignores the path in the address of the Runtime API.
    """
    try:
        return _find_handler(path)
    except Exception as error:
        import traceback

        traceback.print_exc()
        text = ImportError(f"Unable to load handler '{path}': {type(error).__name__}: {error}")
        name = {ImportError: "ImportModuleError", ModuleNotFoundError: "ImportModuleError",
                AttributeError: "HandlerNotFound", SyntaxError: "UserCodeSyntaxError"}.get(
                    type(error))  # fmt: skip
        kind = f"Runtime.{name}" if name else type(error).__name__
        api = _Api()
        api.send(api.post("/init/error", _error_body(kind, text, "", [])))
        api.receive()
        sys.exit(1)


def _loop(path: str) -> None:
    handler = _load_handler(path)
    _note_needed()
    _send_reports()
    api = _Api()
    os.register_at_fork(after_in_child=api.close)
    more = api.get("/invocation/next")
    api.send(more)
    while True:
        headers, event = api.receive()
        outcome, body = _call(handler, event, headers)
        _forget_output()
        request_id = headers["lambda-runtime-aws-request-id"]
        answer = api.post(f"/invocation/{request_id}/{outcome}", body) + more
        reports = [api.post(*call) for call in _reports()]
        api.send(b"".join([*reports, answer]))
        for _ in reports:
            api.receive()
        api.receive()


def main() -> None:
    """Serve invocations until the caller ends."""
    global _unsent
    kind, path = sys.argv[1:3]
    notes = int(os.environ["LAMBDAMAP_SANDBOX"])
    own = json.loads(os.pread(notes, os.fstat(notes).st_size, 0))
    # From here on the environment is the caller's, but for a variable that marks a sandbox.
    if own["as_on_aws"]:
        del os.environ["LAMBDAMAP_SANDBOX"]
    else:
        os.environ["LAMBDAMAP_SANDBOX"] = kind
    for name, value in own["restore"].items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    sys.path[:] = own["path"]
    sys.argv[:] = own["arguments"]
    _unsent = Unsent(notes)
    _process.keep_printed = _unsent.keep
    os.close(notes)
    _watch_caller(own["lifeline"])
    _watch_imports()
    try:
        if kind == "builtin":
            _loop(path)
            return
        from awslambdaric import __main__ as runtime

        _load_handler(path)
        _note_needed()
        _send_reports()
        runtime.main(["awslambdaric", "lambdamap.local.sandbox.reporting_handler"])
    except _GoneError:
        sys.exit(0)


if __name__ == "__main__":
    # awslambdaric imports this module by its name: it must not be loaded twice.
    sys.modules["lambdamap.local.sandbox"] = sys.modules["__main__"]
    main()
