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

_inside: pytest.StashKey[dict[str, str]] = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests that are marked own_network run in one, all of the session's together."""
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
    """Makes the two ends; `scheme` says how they talk."""

    def __init__(self, scheme: str, serve: Callable[..., Server], authority: Authority) -> None:
        self.scheme = scheme
        self._serve = serve
        self._authority = authority

    def server(self, *args: Any, **kwargs: Any) -> Server:
        if self.scheme == "tls":
            kwargs.setdefault("tls", self._authority.context())
        return self._serve(*args, **kwargs)

    @property
    def ca_file(self) -> Any:
        return self._authority.ca_file

    def target(self, server: Server, **changes: Any) -> Any:
        return open_target(server.url, ca_file=self._authority.ca_file, **changes)

    def options(self, server: Server, **changes: Any) -> dict[str, Any]:
        """Of a `lambdamap.map` that goes to the server."""
        if self.scheme == "tls":
            changes.setdefault("ca_bundle", str(self._authority.ca_file))
        return api_options(server, **changes)

    def map(
        self, server: Server, function: Callable[..., Any], data: Any, **options: Any
    ) -> lambdamap.Results:
        return lambdamap.map(function, data, **self.options(server, **options))


@pytest.fixture
def plain_site(serve: Callable[..., Server], authority: Authority) -> Site:
    """For what is decided above the connection: plain HTTP alone."""
    return Site("plain", serve, authority)


@pytest.fixture(params=["plain", "tls"])
def site(
    request: pytest.FixtureRequest, serve: Callable[..., Server], authority: Authority
) -> Site:
    return Site(request.param, serve, authority)


@pytest.fixture
def periods() -> Iterator[Callable[..., None]]:
    """Shortens what the dispatcher waits for, until the test ends."""
    from lambdamap import _net

    before = _net.debug_periods()
    yield lambda **seconds: void(_net.debug_periods(**seconds))
    _net.debug_periods(**before)


def void(_: object) -> None:
    """For lambdas whose value nobody wants."""


@pytest.fixture(params=[False, True], ids=["once", "idempotent"])
def idempotent(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
