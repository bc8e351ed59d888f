"""A scripted server and a native target for it, over plain HTTP and over TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from certificates import Authority
from driver import open_target
from scripted import Server


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

    def target(self, server: Server, **changes: Any) -> Any:
        return open_target(server.url, ca_file=self._authority.ca_file, **changes)

    def options(self) -> dict[str, Any]:
        return {"ca_bundle": str(self._authority.ca_file)} if self.scheme == "tls" else {}


@pytest.fixture(params=["plain", "tls"])
def site(
    request: pytest.FixtureRequest, serve: Callable[..., Server], authority: Authority
) -> Site:
    return Site(request.param, serve, authority)


@pytest.fixture(params=[False, True], ids=["once", "idempotent"])
def idempotent(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
