"""The two HTTP APIs of a local Lambda: Invoke for callers, Runtime for sandboxes."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from lambdamap.local.pool import Invocation, Pool
from lambdamap.local.signature import BadSignatureError, Verifier

if TYPE_CHECKING:
    from lambdamap.local.http import Request
    from lambdamap.local.processes import Sandbox

__all__ = ["ACCOUNT", "MAX_REPLY_BYTES", "MAX_REQUEST_BYTES", "Front"]

MAX_REQUEST_BYTES = 6_291_456
MAX_REPLY_BYTES = 6_291_556
ACCOUNT = "000000000000"

_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_RUNTIME = re.compile(r"/([\w-]{20,})/2018-06-01/runtime/(.*)")
_INVOCATION = re.compile(r"invocation/([0-9a-f-]{36})/(response|error)")
_NAME = re.compile(r"(?:arn:[^:]*:lambda:[^:]*:)?(?:\d{12}:function:)?(.*)")
_CLIENT_CONTEXT_BYTES = 3583


def _for_context(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """What a request says to the handler's context, as the Runtime API says it."""
    passed = []
    if (trace := headers.get("x-amzn-trace-id")) is not None:
        passed.append(("Lambda-Runtime-Trace-Id", trace))
    if (encoded := headers.get("x-amz-client-context")) is not None:
        try:
            context = json.loads(base64.b64decode(encoded, validate=True))
            if not isinstance(context, dict) or len(encoded) > _CLIENT_CONTEXT_BYTES:
                raise ValueError
        except ValueError:
            text = "Client context must be a valid Base64-encoded JSON object."
            raise _RefusedError(400, "InvalidRequestContentException", _message(text)) from None
        passed.append(("Lambda-Runtime-Client-Context", json.dumps(context)))
    return passed


def _message(text: str) -> bytes:
    return json.dumps({"Type": "User", "message": text}).encode()


class _RefusedError(Exception):
    """args = (status, AWS's error type, body)."""


class Front:
    """Answers requests with what a `Pool` makes of them. Belongs to the server's loop."""

    def __init__(
        self,
        pool: Pool,
        verifier: Verifier | None,
        function_name: str | None,
        concurrency_limit: int | None,
    ) -> None:
        self._pool = pool
        self._verifier = verifier
        self._function_name = function_name
        self._concurrency_limit = concurrency_limit
        self.throttled_until = 0.0  # of time.monotonic

    def serve(self, request: Request) -> None:
        """Answer one request, now or when its invocation has ended."""
        path = request.target.partition("?")[0]
        runtime = _RUNTIME.fullmatch(path)
        if runtime is not None:
            sandbox = self._pool.by_token.get(runtime[1])
            if sandbox is not None:
                self._runtime(sandbox, request, runtime[2])
                return
        invoke = _INVOKE.fullmatch(unquote(path))
        if invoke is None:
            request.reply(404, _message("no such operation"))
            return
        id_ = str(uuid.uuid4())
        try:
            self._invoke(request, invoke[1], id_)
        except _RefusedError as refused:
            status, kind, body = refused.args
            request.reply(status, body, [("x-amzn-ErrorType", kind), ("x-amzn-RequestId", id_)])

    # --- the Runtime API ------------------------------------------------------------------------

    def _runtime(self, sandbox: Sandbox, request: Request, operation: str) -> None:
        pool = self._pool
        if operation == "invocation/next" and request.method == "GET":
            pool.next(sandbox, request)
            return
        if request.method == "POST" and (found := _INVOCATION.fullmatch(operation)) is not None:
            if request.too_large or len(request.body) > MAX_REPLY_BYTES:
                pool.too_large(sandbox, found[1], MAX_REPLY_BYTES)
            else:
                pool.done(sandbox, found[1], request.body, found[2] == "error")
            request.reply(202)
            return
        if request.method == "POST" and operation == "init/error":
            sandbox.init_error = request.body
            request.reply(202)
            return
        if request.method == "POST" and operation == "lambdamap/sources":
            with contextlib.suppress(ValueError, TypeError, AttributeError, LookupError):
                found_sources = json.loads(request.body)
                sandbox.sources.update({k: (v[0], v[1]) for k, v in found_sources.items()})
            request.reply(202)
            return
        request.reply(404)

    # --- the Invoke API -------------------------------------------------------------------------

    def _invoke(self, request: Request, name: str, id_: str) -> None:
        headers = request.headers
        if request.method != "POST":
            raise _RefusedError(405, "MethodNotAllowedException", _message("use POST"))
        if "origin" in headers:
            text = "requests that a web page makes are refused"
            raise _RefusedError(403, "AccessDeniedException", _message(text))
        if request.too_large or len(request.body) > MAX_REQUEST_BYTES:
            # Before the signature, which needs the body; AWS does the same.
            text = f"Request must be smaller than {MAX_REQUEST_BYTES} bytes for the InvokeFunction operation"
            raise _RefusedError(413, "RequestEntityTooLargeException", _message(text))
        if self._verifier is not None:
            try:
                self._verifier.check(request.method, request.target, headers, request.body)
            except BadSignatureError as error:
                raise _RefusedError(403, error.args[0], _message(error.args[1])) from None
        self._check_name(request, name)
        self._pool.stats["bytes_in"] += len(request.body)
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "DryRun":
            request.reply(204, b"", [("x-amzn-RequestId", id_)])
            return
        if kind not in ("RequestResponse", "Event"):
            text = f"unknown invocation type {kind!r}"
            raise _RefusedError(400, "InvalidParameterValueException", _message(text))
        if self._is_throttled():
            self._pool.stats["throttles"] += 1
            reason = {
                "Reason": "ConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
            }
            raise _RefusedError(429, "TooManyRequestsException", json.dumps(reason).encode())
        is_event = kind == "Event"
        invocation = Invocation(
            id_,
            None if is_event else request,
            request.body or b"{}",
            headers.get("x-amz-log-type") == "Tail",
            _for_context(headers),
        )
        request.body = b""
        if is_event:
            request.reply(202, b"", [("x-amzn-RequestId", id_)])
        else:
            request.on_gone = functools.partial(self._pool.withdraw, invocation)
        self._pool.submit(invocation)

    def _check_name(self, request: Request, name: str) -> None:
        found = _NAME.fullmatch(name)
        plain, _, qualifier = (found[1] if found else name).partition(":")
        query = request.target.partition("?")[2]
        if query:
            asked = parse_qs(query).get("Qualifier", [qualifier])[0]
            if qualifier and asked != qualifier:
                text = (
                    "The derived qualifier from the function name does not match the specified one"
                )
                raise _RefusedError(400, "InvalidParameterValueException", _message(text))
            qualifier = asked
        if self._function_name is not None and plain != self._function_name:
            text = f"Function not found: arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
            raise _RefusedError(404, "ResourceNotFoundException", _message(text))
        if qualifier not in ("", "$LATEST"):
            text = f"Function not found: {plain}:{qualifier}: a local function has only $LATEST"
            raise _RefusedError(404, "ResourceNotFoundException", _message(text))

    def _is_throttled(self) -> bool:
        if time.monotonic() < self.throttled_until:
            return True
        limit = self._concurrency_limit
        return limit is not None and self._pool.load >= limit
