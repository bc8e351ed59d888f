"""The process that a handler runs in: what Lambda calls an execution environment.

Started by `lambdamap.local.server` as ``python -m lambdamap.local.sandbox KIND HANDLER``. KIND
``builtin`` is the loop below, three calls of Lambda's Runtime API on `http.client`;
``awslambdaric`` runs AWS's own runtime client. Either way the process ends with its caller, and
tells the server which source files it has loaded.
"""

from __future__ import annotations

import http.client
import importlib
import json
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

__all__ = ["main", "reporting_handler"]

_API = "/2018-06-01/runtime"


class _Context:
    """Lambda's context object, as far as the builtin loop knows it."""

    def __init__(self, headers: http.client.HTTPMessage) -> None:
        self.aws_request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        self.invoked_function_arn = headers["Lambda-Runtime-Invoked-Function-Arn"]
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self._deadline_ms = int(headers["Lambda-Runtime-Deadline-Ms"])

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self._deadline_ms - int(time.time() * 1000))


class _Api:
    """One keep-alive connection to the Runtime API."""

    def __init__(self) -> None:
        address, _, path = os.environ["AWS_LAMBDA_RUNTIME_API"].partition("/")
        self.connection = http.client.HTTPConnection(address)
        self.base = f"/{path}{_API}" if path else _API

    def call(self, method: str, path: str, body: bytes | None = None) -> http.client.HTTPResponse:
        self.connection.request(
            method, self.base + path, body, {"Content-Type": "application/json"} if body else {}
        )
        return self.connection.getresponse()

    def post(self, path: str, body: bytes) -> None:
        self.call("POST", path, body).read()


def _watch_caller() -> None:
    """End this process when the other end of the inherited pipe is closed: the caller is gone."""
    lifeline = int(os.environ.pop("LAMBDAMAP_LIFELINE"))

    def wait() -> None:
        while os.read(lifeline, 1):
            pass
        os._exit(0)

    threading.Thread(target=wait, name="lambdamap-lifeline", daemon=True).start()


# --- which sources are loaded -------------------------------------------------------------------

_known_modules = 0
_FIXED = tuple(
    os.path.join(path, "")
    for path in {
        sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")
    }
)


def _report_sources() -> None:
    """Tell the server the loaded files outside the standard library and site-packages."""
    global _known_modules
    if len(sys.modules) == _known_modules:
        return
    _known_modules = len(sys.modules)
    sources = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or path.startswith(_FIXED):
            continue
        try:
            facts = os.stat(path)
        except OSError:
            continue
        sources[path] = [facts.st_mtime_ns, facts.st_size]
    api = _Api()
    api.post("/lambdamap/sources", json.dumps(sources).encode())
    api.connection.close()


_wrapped: Callable[[Any, Any], Any] | None = None


def reporting_handler(event: Any, context: Any) -> Any:
    """The real handler, then the report; what ``awslambdaric`` is given to run."""
    global _wrapped
    if _wrapped is None:
        _wrapped = _find_handler(os.environ["LAMBDAMAP_HANDLER"])
    try:
        return _wrapped(event, context)
    finally:
        _report_sources()


def _find_handler(path: str) -> Callable[[Any, Any], Any]:
    module, _, name = path.replace("/", ".").rpartition(".")
    handler: Callable[[Any, Any], Any] = getattr(importlib.import_module(module), name)
    return handler


# --- the builtin loop ---------------------------------------------------------------------------


def _error_body(error: BaseException, request_id: str) -> bytes:
    frames = traceback.format_tb(error.__traceback__)[1:]
    return json.dumps(
        {
            "errorMessage": str(error),
            "errorType": type(error).__name__,
            "requestId": request_id,
            "stackTrace": frames,
        }
    ).encode()


def _loop(path: str) -> None:
    api = _Api()
    try:
        handler = _find_handler(path)
    except Exception as error:
        kind = "ImportModuleError" if isinstance(error, ImportError) else "HandlerNotFound"
        body = {
            "errorMessage": f"Unable to load handler '{path}': {error}",
            "errorType": f"Runtime.{kind}",
            "requestId": "",
            "stackTrace": [],
        }
        api.post("/init/error", json.dumps(body).encode())
        sys.exit(1)
    while True:
        got = api.call("GET", "/invocation/next")
        event = got.read()
        context = _Context(got.headers)
        request_id = context.aws_request_id
        try:
            result = handler(json.loads(event), context)
            reply = result if isinstance(result, bytes) else json.dumps(result).encode()
            where = f"/invocation/{request_id}/response"
        except Exception as error:
            traceback.print_exc()
            reply = _error_body(error, request_id)
            where = f"/invocation/{request_id}/error"
        sys.stdout.flush()
        sys.stderr.flush()
        _report_sources()
        api.post(where, reply)


def main() -> None:
    """Run until the caller is gone."""
    kind, path = sys.argv[1:3]
    sys.argv[1:] = []
    _watch_caller()
    if sys.path and sys.path[0] != "":
        sys.path[:] = os.environ["LAMBDAMAP_PATH"].split(os.pathsep)
    try:
        if kind == "builtin":
            _loop(path)
        else:
            from awslambdaric import __main__ as runtime

            os.environ["LAMBDAMAP_HANDLER"] = path
            try:
                _find_handler(path)
                path = "lambdamap.local.sandbox.reporting_handler"
            except Exception:
                pass  # the runtime client says what is wrong with it
            runtime.main(["awslambdaric", path])
    except (ConnectionError, http.client.HTTPException):
        sys.exit(0)  # the server has gone


if __name__ == "__main__":
    main()
