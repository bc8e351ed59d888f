"""A scripted server and a native target for it, over plain HTTP and over TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import lambdamap
import netns
from certificates import Authority
from driver import api_options, open_target
from scripted import Server
from scripted_h2 import H2Server

_inside: pytest.StashKey[dict[str, str]] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run the tests marked own_network in a private network, all of a session's in the same one."""
    if pyfuncitem.get_closest_marker("own_network") is None or netns.inside():
        return None
    if (reason := netns.why_not()) is not None:
        pytest.skip(reason)
    session = pyfuncitem.session
    if _inside not in session.stash:
        items = [item for item in session.items if item.get_closest_marker("own_network")]
        session.stash[_inside] = netns.run_inside(items)
    if failed := session.stash[_inside][pyfuncitem.name]:
        pytest.fail(failed, pytrace=False)
    return True


class Site:
    """Creates the server and its clients; `scheme` is "http" or "https"."""

    def __init__(self, scheme: str, serve: Callable[..., Server], authority: Authority) -> None:
        self.scheme = scheme
        self._serve = serve
        self._authority = authority

    def server(self, *args: Any, **kwargs: Any) -> Server:
        if self.scheme != "plain":
            kwargs.setdefault("tls", self._authority.context())
        if self.scheme == "h2":
            kwargs.setdefault("kind", H2Server)
        return self._serve(*args, **kwargs)

    @property
    def ca_file(self) -> Any:
        return self._authority.ca_file

    def target(self, server: Server, **changes: Any) -> Any:
        if self.scheme == "h2":
            changes.setdefault("http_version", None)
        return open_target(server.url, ca_file=self._authority.ca_file, **changes)

    def options(self, server: Server, **changes: Any) -> dict[str, Any]:
        """Return options of a `lambdamap.map` for the server."""
        if self.scheme != "plain":
            changes.setdefault("ca_bundle", str(self._authority.ca_file))
        if self.scheme == "h2":
            changes.setdefault("http_version", "auto")
        return api_options(server, **changes)

    def map(
        self, server: Server, function: Callable[..., Any], data: Any, **options: Any
    ) -> lambdamap.Results:
        return lambdamap.map(function, data, **self.options(server, **options))


@pytest.fixture
def plain_site(serve: Callable[..., Server], authority: Authority) -> Site:
    """For tests of what is decided above the connection: plain HTTP only."""
    return Site("plain", serve, authority)


@pytest.hookimpl(tryfirst=True)  # or the order of a test's parameters depends on what is collected
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A row is tried over plain HTTP, over TLS, and over HTTP/2 unless its bytes are HTTP/1.1's."""
    marks = list(metafunc.definition.iter_markers())
    if any(mark.name == "parametrize" and mark.args[0] == "site" for mark in marks):
        return
    if "site" in metafunc.fixturenames:
        http1 = any(mark.name == "http1" for mark in marks)
        schemes = ["plain", "tls"] if http1 else ["plain", "tls", "h2"]
        metafunc.parametrize("site", schemes, indirect=True)


@pytest.fixture
def site(
    request: pytest.FixtureRequest, serve: Callable[..., Server], authority: Authority
) -> Site:
    return Site(request.param, serve, authority)


@pytest.fixture
def periods() -> Iterator[Callable[..., None]]:
    """Shorten the dispatcher's periods until the test ends."""
    from lambdamap import _net

    before = _net.debug_periods()
    yield lambda **seconds: void(_net.debug_periods(**seconds))
    _net.debug_periods(**before)


def void(_: object) -> None:
    """Discard a value, in a lambda."""


@pytest.fixture(params=[False, True], ids=["once", "idempotent"])
def idempotent(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
