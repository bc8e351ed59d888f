"""The local Lambda against other users of the machine: a stranger takes next to nothing of the process
that called `map`, and keeps nobody out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdamap.local import LocalLambda, front, http, listener
from lambdamap.local.pool import Pool
from outside import run_script

HANG_S = 30
PATH = "/2015-03-31/functions/f/invocations"
LINE = f"POST {PATH} HTTP/1.1\r\nHost: x\r\n".encode()


@pytest.fixture
def function() -> Iterator[LocalLambda]:
    with LocalLambda(handler="tasks.handler", sandboxes=1) as running:
        yield running


def dial(function: LocalLambda) -> socket.socket:
    return socket.create_connection(("127.0.0.1", function.port), timeout=HANG_S)


def closed(peer: socket.socket) -> bool:
    """Whether the peer closes, whatever it still sends."""
    with contextlib.suppress(ConnectionError):
        while peer.recv(65536):
            pass
    return True


def answer(peer: socket.socket) -> tuple[int, bytes]:
    """Status and body of a reply."""
    got = b""
    while b"\r\n\r\n" not in got:
        data = peer.recv(65536)
        if not data:
            return 0, got
        got += data
    head, _, body = got.partition(b"\r\n\r\n")
    found = re.search(rb"(?i)content-length: (\d+)", head)
    while found is not None and len(body) < int(found[1]):
        body += peer.recv(65536)
    return int(head.split()[1]), body


def signed_head(
    function: LocalLambda,
    body: bytes,
    length: int | None = None,
    hashed: bool = True,
    secret: str | None = None,
) -> bytes:
    """The head of a request for this body; hashed: the body's hash is one of the signed headers."""
    request = AWSRequest("POST", function.endpoint_url + PATH, data=body)
    if hashed:
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
    keys = Credentials(function.access_key, secret or function.secret_key)
    SigV4Auth(keys, "lambda", "us-east-1").add_auth(request)
    lines = [f"POST {PATH} HTTP/1.1", f"Host: 127.0.0.1:{function.port}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def on_loop(function: LocalLambda, ask: Callable[[Any], Any]) -> Any:
    """What the server's `Front` has, asked on its own thread."""
    return function._on_loop(lambda _: ask(function._front))


def kept(function: LocalLambda) -> tuple[int, int]:
    """Bytes of bodies that count as the user's, and as those of who has only the access key."""
    found = on_loop(function, lambda front: (front._bodies.used, front._unproven.used))
    return found[0], found[1]


def runtime_port(function: LocalLambda) -> int:
    return function._listeners[1].port


def wait_for(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def map_options(function: LocalLambda, **more: Any) -> dict[str, Any]:
    return {
        "function": "f",
        "endpoint_url": function.endpoint_url,
        "region": "us-east-1",
        "credentials": (function.access_key, function.secret_key),
        **more,
    }


# --- heads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (LINE + b"Content-Length: 6000000\r\n\r\n", 403),
        (LINE + b"Content-Length: 6000000\r\nExpect: 100-continue\r\n\r\n", 403),
        (LINE + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabc", 403),
        (LINE + b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", 403),
        (LINE + b"Authorization: Bearer x\r\nContent-Length: 9\r\n\r\n", 403),
        (LINE + b"Origin: http://evil.example\r\nContent-Length: 9\r\n\r\n", 403),
        (b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", 404),
        # As our own sandboxes write theirs.
        (LINE[:-2] + b":1\r\nContent-Length: 6000000\r\n\r\n", 403),
    ],
)
def test_a_head_is_judged_before_its_body(function: LocalLambda, head: bytes, status: int) -> None:
    with dial(function) as peer:
        peer.sendall(head)
        found, body = answer(peer)  # without one byte of the body; and no 100 before it
        assert found == status
        assert "message" in json.loads(body)
        assert closed(peer)
    assert kept(function) == (0, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"POST /%b/2018-06-01/runtime/init/error",
        b"POST /%b/2018-06-01/runtime/invocation/00000000-0000-0000-0000-000000000000/response",
        b"GET /%b/2018-06-01/runtime/invocation/next",
        b"POST /2018-06-01/runtime/init/error",
        b"POST " + PATH.encode(),
    ],
)
@pytest.mark.parametrize("more", [b"", b"X-Other: 1\r\n"])
def test_a_guess_at_a_sandboxs_token(function: LocalLambda, line: bytes, more: bytes) -> None:
    line = line.replace(b"%b", b"A" * 24)
    head = line + b" HTTP/1.1\r\nHost: x:1\r\n" + more + b"Content-Length: 6000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", runtime_port(function)), HANG_S) as peer:
        peer.sendall(head)
        assert answer(peer)[0] == 404
        assert closed(peer)


@pytest.mark.parametrize("hashed", [True, False])
def test_a_wrong_secret(function: LocalLambda, hashed: bool) -> None:
    body = b"x" * 100_000
    with dial(function) as peer:
        peer.sendall(signed_head(function, body, hashed=hashed, secret="guessed"))
        if not hashed:
            peer.sendall(body)  # the signature cannot be checked before
        status, said = answer(peer)
        assert (status, b"does not match" in said) == (403, True)
        assert closed(peer)
    assert kept(function) == (0, 0)


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("size", [2, 100, 50_000, 3_000_000])
def test_rightly_signed(function: LocalLambda, hashed: bool, size: int) -> None:
    body = b'"' + b"a" * (size - 2) + b'"'
    with dial(function) as peer:
        peer.sendall(signed_head(function, body, hashed=hashed) + body)
        status, said = answer(peer)
        assert (status, len(json.loads(said)["event"])) == (200, size - 2)
    assert kept(function) == (0, 0)


def test_a_body_that_is_not_the_signed_one(function: LocalLambda) -> None:
    head = signed_head(function, b'"the one"')
    with dial(function) as peer:
        peer.sendall(head + b'"another"')
        status, said = answer(peer)
        assert (status, b"does not match" in said) == (403, True)
    assert kept(function) == (0, 0)
    assert function.stats["invocations"] == 0


def test_a_head_is_good_for_one_body(function: LocalLambda) -> None:
    """Shown again, it counts as what it is then: something overheard."""
    length = 5_000_000
    head = signed_head(function, b"1", length)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(dial(function))
        first.sendall(head)
        wait_for(lambda: kept(function) == (length, 0))
        for _ in range(30):
            stack.enter_context(dial(function)).sendall(head)
        fit = front._UNPROVEN_BYTES // length
        wait_for(lambda: kept(function) == (length * (1 + fit), length * fit))
        own = stack.enter_context(dial(function))
        own.sendall(signed_head(function, b"2") + b"2")
        assert answer(own)[0] == 200
    wait_for(lambda: kept(function) == (0, 0))


def test_an_expected_continue_comes_when_the_head_is_good(function: LocalLambda) -> None:
    for hashed in (True, False):
        body = b'"%b"' % (b"x" * 40_000)
        head = signed_head(function, body, hashed=hashed)
        with dial(function) as peer:
            peer.sendall(head[:-2] + b"Expect: 100-continue\r\n\r\n")
            assert peer.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
            peer.sendall(body)
            assert answer(peer)[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("size", [10, 1_000_000, 5_000_000])
def test_curl(function: LocalLambda, size: int, tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b'"' + b"x" * size + b'"')
    command = ["curl", "-sS", "--aws-sigv4", "aws:amz:us-east-1:lambda", "--user"]
    command += [f"{function.access_key}:{function.secret_key}", "--data-binary"]
    command += [f"@{tmp_path}/body", function.endpoint_url + PATH]
    done = subprocess.run(command, capture_output=True, timeout=HANG_S, check=True)
    assert len(json.loads(done.stdout)["event"]) == size


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"P", LINE, LINE + b"X: "])
def test_who_shows_no_head_is_dropped(
    function: LocalLambda, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_STRANGER_S", 0.2)
    with dial(function) as peer:
        peer.sendall(start)
        assert closed(peer)


def test_drops_do_not_wait_for_a_pause_of_the_stranger(
    function: LocalLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it sends, byte by byte, the time runs from its coming."""
    monkeypatch.setattr(http, "_STRANGER_S", 0.3)
    with dial(function) as peer, contextlib.suppress(ConnectionError):
        ends = time.monotonic() + HANG_S
        peer.sendall(LINE + b"X: ")
        while time.monotonic() < ends:
            peer.sendall(b"x")
            time.sleep(0.01)
        pytest.fail("it may go on for ever")


def test_a_body_that_proves_its_signature_comes_soon(
    function: LocalLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_UNPROVEN_BODY_S", 0.2)
    with dial(function) as peer:
        peer.sendall(signed_head(function, b"x" * 50_000, hashed=False) + b"x")
        assert closed(peer)
    wait_for(lambda: kept(function) == (0, 0))


def test_the_users_own_connections_stay(
    function: LocalLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_STRANGER_S", 0.2)
    with dial(function) as own, dial(function) as stranger:
        for number in (b"1", b"2"):
            own.sendall(signed_head(function, number) + number)
            assert answer(own)[0] == 200
            assert closed(stranger)


# --- room ---------------------------------------------------------------------------------------


def test_bodies_wait_for_room(function: LocalLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    """More large requests at once than there is room for: all are answered."""
    on_loop(function, lambda front: setattr(front._bodies, "limit", 6_300_000))
    on_loop(function, lambda front: setattr(front._unproven, "limit", 6_300_000))

    def ask(number: int) -> tuple[int, int]:
        body = b'"%b"' % (b"x" * (2_000_000 + number))
        with dial(function) as peer:
            peer.sendall(signed_head(function, body, hashed=number % 2 == 0) + body)
            status, said = answer(peer)
            return status, len(json.loads(said)["event"])

    with ThreadPoolExecutor(20) as threads:
        assert list(threads.map(ask, range(20))) == [(200, 2_000_000 + n) for n in range(20)]
    assert kept(function) == (0, 0)


def test_strangers_have_few_slots(function: LocalLambda, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "_MAX_STRANGERS", 10)
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(dial(function)) for _ in range(40)]
        assert all(closed(peer) for peer in peers[:30])
        assert len(function._listeners[0].filenos()) == 1 + 10
        with dial(function) as own:
            own.sendall(signed_head(function, b"1") + b"1")
            assert answer(own)[0] == 200


def test_crowded_connections_end_after_their_reply(
    function: LocalLambda, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More callers than there may be connections: each has its turn."""
    monkeypatch.setattr(listener, "_MAX_OPEN", 16)

    def ask(number: int) -> int:
        body = b"%d" % number
        with dial(function) as peer:
            peer.sendall(signed_head(function, body, hashed=False) + body)
            status, said = answer(peer)
            wait_for(lambda: number < 40 or function.stats["invocations"] >= 100)
            return int(json.loads(said)["event"]) if status == 200 else status

    with ThreadPoolExecutor(100) as threads:
        assert list(threads.map(ask, range(100))) == list(range(100))


@pytest.mark.parametrize("kind", ["idle", "churn", "loris", "unsigned", "chunked", "token", "head"])
def test_a_map_while_strangers_attack(kind: str, tmp_path: Path) -> None:
    """Its memory and its descriptors stay; what is its own goes on."""
    done = run_script(
        """
        import subprocess
        import test_local_strangers as own
        from lambdamap.local import LocalLambda

        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))

        def peak():
            status = open("/proc/self/status").read()
            return int(status.split("VmHWM:")[1].split()[0]) // 1024

        function = LocalLambda(sandboxes=2).start()
        keys = own.map_options(function, timeout=100, max_concurrency=8)
        port = own.runtime_port(function) if KIND == "token" else function.port
        items = list(range(200))
        assert lambdamap.my_map(tasks.square, items, 1, **keys) == [n * n for n in items]
        large = [b"x" * 3_000_000] * 4
        assert lambdamap.my_map(tasks.size, large, 1, **keys) == [3_000_000] * 4
        for _ in range(20):
            assert lambdamap.my_map(tasks.size, large, 1, **keys) == [3_000_000] * 4
        before = peak()
        head = own.signed_head(function, b"1", 6_000_001, hashed=False, secret="guessed")
        command = [sys.executable, "-m", "strangers", str(port), KIND]
        command.append(head.decode("latin-1"))
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as strangers:
            strangers.stdout.readline()
            taken = 0
            ends = time.monotonic() + 3
            while time.monotonic() < ends:
                assert lambdamap.my_map(tasks.square, items, 1, **keys) == [n * n for n in items]
                assert lambdamap.my_map(tasks.size, large, 1, **keys) == [3_000_000] * 4
                assert open("/dev/null").close() is None
                taken = max(taken, len(os.listdir("/proc/self/fd")))
            assert strangers.poll() is None
            strangers.stdin.close()
        print(json.dumps([peak() - before, taken]))
        function.stop()
        """,
        before=f"KIND = {kind!r}; sys.path.insert(0, {str(Path(__file__).parent)!r})",
        flags=(),
    )
    assert done.returncode == 0, done.stderr
    megabytes, descriptors = json.loads(done.stdout)
    assert megabytes < 100
    assert descriptors < 400
    assert done.stderr.count("\n") < 20


def test_strangers_take_fewer_descriptors_when_few_are_left() -> None:
    done = run_script(
        """
        import resource, subprocess
        import test_local_strangers as own
        from lambdamap.local import LocalLambda
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
        function = LocalLambda(sandboxes=2).start()
        keys = own.map_options(function, timeout=100, max_concurrency=4)
        assert lambdamap.my_map(tasks.square, [3], 1, **keys) == [9]
        files = [open("/dev/null") for _ in range(880)]
        command = [sys.executable, "-m", "strangers", str(function.port), "idle"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe) as strangers:
            strangers.stdout.readline()
            ends = time.monotonic() + 2
            while time.monotonic() < ends:
                assert lambdamap.my_map(tasks.square, range(20), 1, **keys)[-1] == 361
                open("/dev/null").close()
            strangers.stdin.close()
        function.stop()
        """,
        before=f"sys.path.insert(0, {str(Path(__file__).parent)!r})",
        flags=(),
    )
    assert done.returncode == 0, done.stderr


def test_a_process_without_descriptors_says_so_once() -> None:
    """The user's own files have taken them all: no spin, no flood, and it goes on later."""
    done = run_script(
        """
        import logging, resource, socket
        from lambdamap.local import LocalLambda
        logging.basicConfig()
        function = LocalLambda(sandboxes=1).start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        files = []
        try:
            while True:
                files.append(open("/dev/null"))
        except OSError:
            pass
        files.pop().close()
        peer = socket.create_connection(("127.0.0.1", function.port))
        time.sleep(0.5)  # in which asyncio's own server would write thousands of lines
        del files[:]
        keys = dict(function="f", endpoint_url=function.endpoint_url, region="us-east-1",
                    credentials=(function.access_key, function.secret_key))
        print(lambdamap.my_map(tasks.square, [3], **keys))
        function.stop()
        """,
        flags=(),
    )
    assert (done.returncode, done.stdout) == (0, "[9]\n"), done.stderr
    assert done.stderr.count("cannot accept connections") == 1
    assert done.stderr.count("\n") < 5


# --- what our own code raises -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("context", "status"),
    [
        (b'{"custom":{"a":"b"}}', 200),
        (b'{"custom":{"a":' + b"[" * 1200 + b"]" * 1200 + b"}}", 400),
        (b'{"a":' * 500 + b"1" + b"}" * 500, 400),
        (b"[1]", 400),
        (b"\xff", 400),
        (b"{" + b" " * 3000 + b"}", 400),
    ],
)
def test_client_contexts(context: bytes, status: int) -> None:
    import base64

    with LocalLambda(handler="tasks.handler", sandboxes=1, auth=False) as function:
        line = LINE + b"X-Amz-Client-Context: " + base64.b64encode(context)
        with dial(function) as peer:
            peer.sendall(line + b"\r\nContent-Length: 1\r\n\r\n1")
            assert answer(peer)[0] in (status, 200)
            peer.sendall(LINE + b"Content-Length: 1\r\n\r\n2")  # and the connection goes on
            assert answer(peer)[0] == 200


@pytest.mark.parametrize("place", ["judge", "submit"])
def test_whatever_our_code_raises_is_answered(
    function: LocalLambda,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*_: Any) -> Any:
        raise RecursionError("too deep")

    caplog.set_level(logging.WARNING, "lambdamap")
    for _ in range(3):
        with monkeypatch.context() as patch, dial(function) as peer:
            if place == "judge":
                assert function._front is not None
                patch.setattr(function._front._verifier, "check_headers", broken)
            else:
                patch.setattr(Pool, "submit", broken)
            peer.sendall(signed_head(function, b"1", hashed=False) + b"1")
            status, body = answer(peer)
            assert (status, json.loads(body)["Type"]) == (500, "Service")
    assert [record.exc_info is not None for record in caplog.records] == [True]  # once
    assert "RecursionError" in caplog.records[0].message
    with dial(function) as peer:
        peer.sendall(signed_head(function, b"1") + b"1")
        assert answer(peer)[0] == 200
    assert kept(function) == (0, 0)
