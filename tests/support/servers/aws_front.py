"""A proxy in front of a moto server.

It forwards requests, answers some as a test specifies, and sends invocations to a local Lambda,
since moto needs Docker to run functions.
"""

from __future__ import annotations

import http.client
import re
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import urlsplit

HANG_S = 60
_INVOKE = re.compile(r"/2015-03-31/functions/[^/]+/invocations")
Reply = tuple[int, dict[str, str], bytes]


class Front:
    """A context manager; `url` is the endpoint of every service.

    `rules` are called in turn with method, path and body; the first reply is sent instead of
    moto's.
    """

    def __init__(self, moto_url: str) -> None:
        self.rules: list[Callable[[str, str, bytes], Reply | None]] = []
        self.seen: list[tuple[str, str]] = []
        self.invoke_url: str | None = None
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = HANG_S
            hidden: ClassVar[set[str]] = {
                "connection",
                "transfer-encoding",
                "content-length",
                "date",
                "server",
            }

            def _serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                front.seen.append((self.command, self.path))
                for rule in front.rules:
                    reply = rule(self.command, self.path, body)
                    if reply is not None:
                        break
                else:
                    reply = self._pass_on(body)
                status, headers, payload = reply
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in self.hidden:
                        self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def _pass_on(self, body: bytes) -> Reply:
                invoked = front.invoke_url and _INVOKE.fullmatch(self.path.partition("?")[0])
                url = urlsplit(front.invoke_url if invoked else moto_url)
                connection = http.client.HTTPConnection(str(url.netloc), timeout=HANG_S)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    return answer.status, dict(answer.getheaders()), answer.read()
                finally:
                    connection.close()

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Front:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def fail(
        self, method: str, path: str, status: int, kind: str, text: str, times: int = 1
    ) -> None:
        """Answer this many requests to Lambda's API with an error; `path` is a pattern."""
        left = [times]

        def rule(got_method: str, got_path: str, body: bytes) -> Reply | None:
            if got_method != method or not re.fullmatch(path, got_path) or not left[0]:
                return None
            left[0] -= 1
            message = f'{{"Type":"User","message":"{text}"}}'.encode()
            headers = {"x-amzn-ErrorType": kind, "Content-Type": "application/json"}
            return status, headers, message

        self.rules.append(rule)
