"""lambdamap in FastAPI: under uvicorn with clients that hang up, and behind Mangum as a handler."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from lambdamap import options
from lambdamap.integrations.asgi import LambdaMapMiddleware
from lambdamap.local import LocalLambda

HANG_GUARD_S = 60


class Service:
    """tests/support/workers/asgi_service.py under uvicorn."""

    def __init__(self, folder: Path, loop: str) -> None:
        paths = [str(Path(lambdamap.__file__).parents[1]), str(Path(tasks.__file__).parent)]
        self.log = folder / "uvicorn.log"
        with socket.socket() as listener, self.log.open("w") as log:
            listener.bind(("127.0.0.1", 0))
            listener.listen(16)
            self.port = listener.getsockname()[1]
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "asgi_service:app"),
                    *("--fd", str(listener.fileno()), "--loop", loop),
                ],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(paths),
                    "LAMBDAMAP_BACKEND": "local",
                },
                stdout=log,
                stderr=log,
                pass_fds=[listener.fileno()],
            )

    def get(self, path: str, body: bytes | None = None) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", body, {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=HANG_GUARD_S) as reply:
                text = reply.read().decode()
                return reply.status, json.loads(text) if text[:1] in '[{"' else text
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def hang_up_on(self, path: str, after: bytes = b"") -> None:
        """Send a request, wait for that much of the answer or until it is at work, and go."""
        with socket.create_connection(("127.0.0.1", self.port), HANG_GUARD_S) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            got = b""
            while after and after not in got:
                got += client.recv(65536)
            self.wait_for(lambda state: state["in_flight"] > 0)

    def wait_for(self, what: Callable[[Any], bool]) -> Any:
        ends = time.monotonic() + HANG_GUARD_S
        while not what(state := self.get("/state")[1]):
            assert time.monotonic() < ends, (state, self.log.read_text())
            time.sleep(0.02)
        return state

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def service(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("uvicorn"), request.param)
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.parametrize("path", ["/squares", "/squares-in-a-thread"])
def test_a_map_in_an_endpoint(service: Service, path: str) -> None:
    assert service.get(f"{path}?n=20") == (200, [n * n for n in range(20)])


def test_a_body_reaches_the_application(service: Service) -> None:
    body = list(range(30_000))
    assert service.get("/echo", json.dumps(body[:50]).encode()) == (200, body[:50])
    status, _ = service.get("/echo", json.dumps(body).encode()[:-1])  # broken, in several messages
    assert status == 422


def test_a_stream(service: Service) -> None:
    assert service.get("/stream?seconds=0,0.1,0") == (200, "0.0\n0.1\n0.0\n")


def test_a_deadline(service: Service) -> None:
    status, told = service.get("/sleep?seconds=0,30&timeout=2")
    assert status == 504
    assert told["finished"] == {"0": 0.0}


@pytest.mark.parametrize(
    ("path", "after", "name"),
    [
        ("/sleep?seconds=60,60", b"", "/sleep"),
        ("/sleep-in-a-thread?seconds=60", b"", "/sleep-in-a-thread"),
        ("/stream?seconds=0,60,60", b"0.0\n", "/stream"),
    ],
)
def test_a_client_that_hangs_up_cancels_the_map(
    service: Service, path: str, after: bytes, name: str
) -> None:
    before = service.get("/state")[1]["ended"].count(name)
    service.hang_up_on(path, after)
    state = service.wait_for(lambda s: s["ended"].count(name) > before and s["in_flight"] == 0)
    if name == "/sleep":
        assert any("its client has disconnected" in text for text in state["ended"])
    assert "Traceback" not in service.log.read_text()


def test_a_background_task_goes_on_behind_the_answer(service: Service) -> None:
    assert service.get("/behind") == (200, "soon")
    service.wait_for(lambda state: "[0.3, 0.0]" in state["ended"])


# --- the middleware alone -------------------------------------------------------------------------


def call(app: Any, messages: list[Any], scope: dict[str, Any]) -> list[Any]:
    """Run an application on what a client sends; what it answers."""
    sent: list[Any] = []
    left = list(messages)

    async def receive() -> Any:
        if not left:
            await asyncio.sleep(HANG_GUARD_S)
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), HANG_GUARD_S))
    return sent


REQUEST = {"type": "http.request", "body": b"", "more_body": False}


def test_options_and_time_of_a_request() -> None:
    found: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(options.resolve())

    call(LambdaMapMiddleware(app, chunksize=7, request_timeout=9), [REQUEST], {"type": "http"})
    call(LambdaMapMiddleware(app, request_timeout=None), [REQUEST], {"type": "http"})
    call(LambdaMapMiddleware(app, chunksize=7), [REQUEST], {"type": "lifespan"})
    event = {"requestContext": {"timeEpoch": time.time() * 1000}}
    call(LambdaMapMiddleware(app), [REQUEST], {"type": "http", "aws.event": event})
    assert found[0].chunksize == 7
    assert 0 < found[0].timeout <= 9
    assert found[1].timeout is None
    assert (found[2].chunksize, found[2].timeout) == ("auto", None)
    assert 0 < found[3].timeout <= 28
    assert options.resolve().timeout is None


@pytest.mark.parametrize(
    ("given", "says"),
    [({"chunksze": 1}, "unknown option"), ({"request_timeout": -1}, "request_timeout must be")],
)
def test_what_cannot_be(given: dict[str, Any], says: str) -> None:
    with pytest.raises(lambdamap.ConfigError, match=says):
        LambdaMapMiddleware(lambda *_: None, **given)  # type: ignore[arg-type, return-value]


def test_messages_reach_the_application_in_order() -> None:
    parts = [{"type": "http.request", "body": bytes([n]), "more_body": n < 4} for n in range(5)]
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            seen.append(message)
        seen.append(await receive())  # again and again

    call(LambdaMapMiddleware(app), [*parts, {"type": "http.disconnect"}], {"type": "http"})
    assert seen == [*parts, {"type": "http.disconnect"}]


def test_an_error_of_the_server_reaches_the_application() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(OSError):
            await receive()
            return
        raise KeyError("told")

    async def receive() -> Any:
        raise OSError("gone")

    with pytest.raises(KeyError):
        asyncio.run(LambdaMapMiddleware(app)({"type": "http"}, receive, None))  # type: ignore[arg-type]


# --- behind Mangum --------------------------------------------------------------------------------


def test_mangum_wrapped_answers_requests_and_does_its_own_work(sandbox_kind: Any) -> None:
    event = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/squares",
        "rawQueryString": "n=6",
        "headers": {"host": "x.execute-api.eu-central-1.amazonaws.com"},
        "requestContext": {
            "http": {"method": "GET", "path": "/squares", "sourceIp": "192.0.2.1"},
            "stage": "$default",
            "timeEpoch": int(time.time() * 1000),
        },
        "isBase64Encoded": False,
    }
    with (
        LocalLambda(
            kind=sandbox_kind,
            handler="asgi_service.handler",
            function_name="web",
            sandboxes=2,
            self_invocation=True,
        ) as function,
        lambdamap.configure(
            endpoint_url=function.endpoint_url,
            region="us-east-1",
            credentials=(function.access_key, function.secret_key),
        ),
    ):
        [answer] = lambdamap.invoke_map("web", [event])
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, [0, 1, 4, 9, 16, 25])
        assert function.stats["invocations"] == 7
        # And a caller's maps, as any worker.
        assert lambdamap.my_map(tasks.square, range(5), 2, function="web") == [0, 1, 4, 9, 16]
