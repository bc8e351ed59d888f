"""Hypothesis profiles, and what every test starts from: no AWS settings of the machine's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from certificates import Authority
from leaks import nothing_left
from scripted import Server

settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("soak", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job: tests of Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        ours = name.startswith(("AWS_", "LAMBDAMAP_", "_X_AMZN_")) and name != "LAMBDAMAP_VENV"
        if ours or name.upper() in _PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)


@pytest.fixture(params=["builtin", "awslambdaric"])
def sandbox_kind(request: pytest.FixtureRequest) -> str:
    """Both things that run a handler on the local Lambda."""
    kind: str = request.param
    return kind


@pytest.fixture
def local(sandbox_kind: str) -> Iterator[None]:
    """Maps of this test run on the process's own local Lambda, of either kind."""
    import lambdamap

    with lambdamap.configure(backend="local", local=sandbox_kind):
        yield


@pytest.fixture
def late_kills(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sandboxes of a local Lambda are killed some seconds after the end of the time that they were
    told: a worker that has stopped in time may be slow to say so, on a machine that stands still."""
    from lambdamap.local.pool import Pool

    kill = Pool._timed_out

    def kill_late(pool: Pool, sandbox: Any) -> None:
        loop = asyncio.get_running_loop()
        sandbox.timer = loop.call_later(10, kill, pool, sandbox)

    monkeypatch.setattr(Pool, "_timed_out", kill_late)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of this run."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Threads, sockets, maps and bytes are back at the start when the test ends."""
    with nothing_left():
        yield


@pytest.fixture
def serve_beside() -> Iterator[Callable[..., Server]]:
    """As `serve`, beside the local Lambda of other tests, which may open and close sockets meanwhile."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Server(*args, **kwargs))


@pytest.fixture
def serve(no_leaks: None) -> Iterator[Callable[..., Server]]:
    """Makes scripted servers that are stopped at the end of the test; leaks fail it."""
    servers: list[Server] = []

    def make(*args: Any, kind: type[Server] = Server, **kwargs: Any) -> Server:
        servers.append(kind(*args, **kwargs))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()
    for server in servers:
        assert not server.bad_signatures, server.bad_signatures


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event that is set at the end of the test, for what it lets wait."""
    event = threading.Event()
    yield event
    event.set()
