"""The two HTTP APIs of a local Lambda: the Invoke API for callers, the Runtime API for sandboxes."""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

from lambdamap.local.budget import Budget
from lambdamap.local.http import Admission, RefusedError
from lambdamap.local.invocation import Invocation
from lambdamap.local.pool import Pool
from lambdamap.local.signature import BadSignatureError, Claim, Verifier

if TYPE_CHECKING:
    from lambdamap.local.budget import Grant
    from lambdamap.local.http import Request
    from lambdamap.local.processes import Sandbox

__all__ = ["ACCOUNT", "MAX_REPLY_BYTES", "MAX_REQUEST_BYTES", "Front"]

MAX_REQUEST_BYTES = 6_291_456
MAX_REPLY_BYTES = 6_291_556
_MAX_EVENT_BYTES = 1_048_576
ACCOUNT = "000000000000"

_BODY_BYTES = 64 * MAX_REQUEST_BYTES  # for all requests that arrive, or wait for a sandbox
_UNPROVEN_BYTES = 4 * MAX_REQUEST_BYTES  # of these, for requests whose signature is not checked yet
_SMALL_BYTES = 32768  # a body that needs no budget: a connection buffers as much anyway
_REPLIES = 2  # per sandbox, that may arrive at once

_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
_RUNTIME = re.compile(r"/([\w-]{20,})/2018-06-01/runtime/(.*)")
_INVOCATION = re.compile(r"invocation/([0-9a-f-]{36})/(response|error)")
_NAME = re.compile(r"(?:arn:[^:]*:lambda:[^:]*:)?(?:\d{12}:function:)?(.*)")
_CLIENT_CONTEXT_BYTES = 3583


def _for_context(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers of the Runtime API that carry a request's fields of the context object."""
    passed = []
    if (trace := headers.get("x-amzn-trace-id")) is not None:
        passed.append(("Lambda-Runtime-Trace-Id", trace))
    if (tenant := headers.get("x-amz-tenant-id")) is not None:
        passed.append(("Lambda-Runtime-Aws-Tenant-Id", tenant))
    if (encoded := headers.get("x-amz-client-context")) is not None:
        try:
            context = json.loads(base64.b64decode(encoded, validate=True))
            if not isinstance(context, dict) or len(encoded) > _CLIENT_CONTEXT_BYTES:
                raise ValueError
        except (ValueError, RecursionError):
            text = "Client context must be a valid Base64-encoded JSON object."
            raise RefusedError(400, "InvalidRequestContentException", _message(text)) from None
        passed.append(("Lambda-Runtime-Client-Context", json.dumps(context)))
    return passed


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


# For checking only, so numbers are not converted.
_JSON = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=str, parse_int=str)


def _check_body(body: bytes, is_event: bool) -> None:
    """Raise `RefusedError` for a body that AWS refuses before the function runs."""
    if is_event and len(body) > _MAX_EVENT_BYTES:
        text = f"{len(body)} byte payload is too large for the Event invocation type (limit "
        text += f"{_MAX_EVENT_BYTES} bytes)"
        raise RefusedError(413, "RequestTooLargeException", _message(text))
    if not body:
        return
    try:
        _JSON.decode(body.decode())
    except (ValueError, RecursionError) as error:
        text = f"Could not parse request body into json: {error}"
        raise RefusedError(400, "InvalidRequestContentException", _message(text)) from None


def _message(text: str) -> bytes:
    return json.dumps({"Type": "User", "message": text}).encode()


def _unsigned(error: BadSignatureError) -> RefusedError:
    return RefusedError(403, error.args[0], _message(error.args[1]))


class Front:
    """Checks requests, passes them to a `Pool`, and answers them. For the server's event loop."""

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
        self._bodies = Budget(_BODY_BYTES)
        self._unproven = Budget(_UNPROVEN_BYTES)
        self._replies = Budget(_REPLIES * MAX_REPLY_BYTES * pool.settings.sandboxes)
        self.throttled_until = 0.0  # of time.monotonic

    def judge_sandbox(self, request: Request) -> Admission:
        """Judge the headers of a request to the Runtime API.

        Raises
        ------
        RefusedError
            The path lacks the token of a sandbox.
        """
        runtime = _RUNTIME.fullmatch(request.target)
        sandbox = self._pool.by_token.get(runtime[1]) if runtime is not None else None
        if runtime is None or sandbox is None:
            raise RefusedError(404, "", _message("no such operation"))
        serve = functools.partial(self._runtime, sandbox, runtime[2])
        return Admission(serve, True, MAX_REPLY_BYTES, (self._replies,))

    def judge_caller(self, request: Request) -> Admission:
        """Judge the headers of a request to the Invoke API.

        Raises
        ------
        RefusedError
            It is not an invocation, is made by a web page, or is not signed with the key pair.
        """
        path = request.target.partition("?")[0]
        invoke = _INVOKE.fullmatch(unquote(path))
        if invoke is None:
            raise RefusedError(404, "", _message("no such operation"))
        if request.method != "POST":
            raise RefusedError(405, "MethodNotAllowedException", _message("use POST"))
        if "origin" in request.headers:
            text = "requests from web pages are refused"
            raise RefusedError(403, "AccessDeniedException", _message(text))
        claim = None
        if self._verifier is not None:
            try:
                claim = self._verifier.check_headers(
                    request.method, request.target, request.headers
                )
            except BadSignatureError as error:
                raise _unsigned(error) from None
        serve = functools.partial(self._invoke, invoke[1], claim)
        if claim is None or claim.fresh:
            return Admission(serve, True, MAX_REQUEST_BYTES, (self._bodies,))
        small = (
            not request.is_chunked
            and int(request.headers.get("content-length", "0")) <= _SMALL_BYTES
        )
        budgets = () if small else (self._unproven, self._bodies)
        return Admission(serve, False, MAX_REQUEST_BYTES, budgets)

    # --- the Runtime API ------------------------------------------------------------------------

    def _runtime(self, sandbox: Sandbox, operation: str, request: Request) -> None:
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
        if request.method == "POST" and operation == "lambdamap/worn":
            sandbox.stale = True
            request.reply(202)
            return
        request.reply(404)

    # --- the Invoke API -------------------------------------------------------------------------

    def _invoke(self, name: str, claim: Claim | None, request: Request) -> None:
        headers = request.headers
        if request.too_large:
            # Checking its signature would need the body, which is not kept. AWS does the same.
            text = f"Request must be smaller than {MAX_REQUEST_BYTES} bytes for the InvokeFunction operation"
            raise RefusedError(413, "RequestEntityTooLargeException", _message(text))
        if claim is not None and self._verifier is not None:
            try:
                self._verifier.check_body(claim, request.body)
            except BadSignatureError as error:
                raise _unsigned(error) from None
            request.prove()
        self._check_name(request, name)
        self._pool.stats["bytes_in"] += len(request.body)
        kind = headers.get("x-amz-invocation-type", "RequestResponse")
        if kind == "DryRun":
            request.reply(204, b"", [("x-amzn-RequestId", request.id)])
            return
        if kind not in ("RequestResponse", "Event"):
            text = f"unknown invocation type {kind!r}"
            raise RefusedError(400, "InvalidParameterValueException", _message(text))
        is_event = kind == "Event"
        _check_body(request.body, is_event)
        if self._is_throttled() or (is_event and self._bodies.is_exhausted):
            self._pool.stats["throttles"] += 1
            reason = {
                "Reason": "ConcurrentInvocationLimitExceeded",
                "Type": "User",
                "message": "Rate Exceeded.",
            }
            raise RefusedError(429, "TooManyRequestsException", json.dumps(reason).encode())
        invocation = Invocation(
            request.id,
            None if is_event else request,
            request.body or b"{}",
            headers.get("x-amz-log-type", ""),
            _for_context(headers),
            self._room_of(request),
        )
        request.body = b""
        if is_event:
            request.reply(202, b"", [("x-amzn-RequestId", request.id)])
        else:
            request.on_gone = functools.partial(self._pool.withdraw, invocation)
        try:
            self._pool.submit(invocation)
        except BaseException:
            self._pool.withdraw(invocation)
            raise

    def _room_of(self, request: Request) -> Grant:
        """Return the room of a request's body in the budget of bodies, for its invocation to keep."""
        if not request.room:  # a small body
            return self._bodies.take(len(request.body))
        return request.room.pop()  # the budget of bodies comes last

    def _check_name(self, request: Request, name: str) -> None:
        found = _NAME.fullmatch(name)
        base, _, qualifier = (found[1] if found else name).partition(":")
        query = request.target.partition("?")[2]
        if query:
            asked = parse_qs(query).get("Qualifier", [qualifier])[0]
            if qualifier and asked != qualifier:
                text = (
                    "The derived qualifier from the function name does not match the specified one"
                )
                raise RefusedError(400, "InvalidParameterValueException", _message(text))
            qualifier = asked
        if self._function_name is not None and base != self._function_name:
            text = f"Function not found: arn:aws:lambda:us-east-1:{ACCOUNT}:function:{name}"
            raise RefusedError(404, "ResourceNotFoundException", _message(text))
        if qualifier not in ("", "$LATEST"):
            text = f"Function not found: {base}:{qualifier}: a local function has only $LATEST"
            raise RefusedError(404, "ResourceNotFoundException", _message(text))

    def _is_throttled(self) -> bool:
        if time.monotonic() < self.throttled_until:
            return True
        limit = self._concurrency_limit
        return limit is not None and self._pool.load >= limit
