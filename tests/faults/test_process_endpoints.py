"""Where requests may go: hostile names (row 59), proxies (row 60), redirects (row 30), schemes."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from certificates import Authority
from driver import api_options, invoke, open_target
from proxy import Proxy
from scripted import Server, reply, run

KEYS = ("AKID", "secret")
# Names of this machine that are not recognized as loopback, so proxies apply to them.
DIRECT = "127.1"
NAMED = "lambda.proxied.example"


# --- row 59: hostile names -----------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make Python's sockets fail, and allow no native target to be opened."""
    from lambdamap import _net

    def refuse(*args: object, **kwargs: object) -> Any:
        raise AssertionError("a socket was made")

    monkeypatch.setattr(_net, "open_target", refuse)
    monkeypatch.setattr(socket, "socket", refuse)


HOSTILE_FUNCTIONS = [
    "a/../b", "..", ".", "f%2e", "f%2F..", "f\r\nX: y", "f\n", "f\0", "f g", "f?Qualifier=x", "f#x",
    "x" * 300, "ä", "f:", ":f", "f:$OTHER", "f:v1:v2", "", "arn:aws:lambda:evil.com/:1:function:f",
    "arn:aws:lambda:us-east-1:123456789012:function:../f", "arn:aws:s3:::bucket",
    "arn:aws:lambda:us-east-1@evil.com:123456789012:function:f", 7, b"f",
]  # fmt: skip
HOSTILE_REGIONS = [
    "evil.com/", "us-east-1.evil.com", "us-east-1/../", "us-east-1\r\nX: y", "us-east-1@evil.com",
    "us_east_1", "", "US-EAST-1", "us-east-1#", "us-east-1?", "us-east-1:443", "a" * 300, "..", 1,
    "us-east-1 ", "\u0131s-east-1",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_FUNCTIONS)
def test_row_59_hostile_function_names(name: Any, no_sockets: None) -> None:
    with pytest.raises(ValueError, match=r"function"):
        lambdamap.map(abs, [1], function=name, region="us-east-1", credentials=KEYS)


@pytest.mark.parametrize("region", HOSTILE_REGIONS)
def test_row_59_hostile_regions(
    region: Any, no_sockets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="region"):
        lambdamap.map(abs, [1], function="f", region=region, credentials=KEYS)
    if isinstance(region, str) and region and "\0" not in region:
        for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
            monkeypatch.setenv(name, region)
            with pytest.raises(ValueError, match="region"):
                lambdamap.map(abs, [1], function="f", credentials=KEYS)


@pytest.mark.parametrize("part", ["access_key", "secret_key", "token"])
def test_row_59_hostile_credentials(part: str, no_sockets: None) -> None:
    keys = {"access_key": "A", "secret_key": "S", "token": "T"}
    keys[part] += "\r\nX-Evil: yes"
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        lambdamap.map(abs, [1], function="f", region="us-east-1", credentials=keys)
    assert "Evil" not in str(caught.value)


def test_row_59_the_native_layer_refuses_as_well() -> None:
    """Whatever Python lets through cannot add a line to a request or change its host."""
    hostile = [
        {"host": "a/b"}, {"host": "a@b"}, {"host": "a?b"}, {"host": "a\r\nb"}, {"host": "a b"},
        {"path": "/a b"}, {"path": "/a\r\nX: y"}, {"query": "a\n"}, {"region": "a\r"},
        {"access_key": "a\n"}, {"token": "a\n"}, {"headers": [("A", "b\r\nX: y")]},
        {"headers": [("A: b\r\nC", "d")]}, {"host": "a\0b"}, {"path": "/a\0b"},
    ]  # fmt: skip
    for change in hostile:
        with pytest.raises(
            ValueError, match=r"not allowed in a request|outside printable|null character"
        ):
            open_target("http://127.0.0.1:9", **change)


# --- row 60: proxies -----------------------------------------------------------------------------


@pytest.fixture
def tls_server(serve: Callable[..., Server], authority: Authority) -> Server:
    return serve(tls=authority.context(f"DNS:{NAMED},IP:127.0.0.1"), then=run())


def options_of(server: Server, host: str, authority: Authority, **changes: Any) -> dict[str, Any]:
    url = f"{'https' if server.tls else 'http'}://{host}:{server.port}"
    return api_options(server, endpoint_url=url, ca_bundle=str(authority.ca_file), **changes)


def test_row_60_through_a_proxy(
    tls_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy gets a CONNECT with the name; only the endpoint sees the request inside."""
    with Proxy(tls_server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        options = options_of(tls_server, NAMED, authority, max_concurrency=2)
        assert list(lambdamap.map(tasks.square, range(6), **options)) == [0, 1, 4, 9, 16, 25]
        assert proxy.connects
        assert set(proxy.connects) == {f"{NAMED}:{tls_server.port}"}
        text = "".join(proxy.heads).lower()
        assert "x-amz" not in text and "authorization" not in text
    assert tls_server.complete == 6
    assert tls_server.requests[0].headers["host"] == f"{NAMED}:{tls_server.port}"


def test_row_60_a_user_and_a_password(
    tls_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tls_server.port, user="jane:p4ss-CANARY") as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        options = options_of(tls_server, NAMED, authority)
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
    assert "proxy-authorization" not in tls_server.requests[0].headers


def test_row_60_the_proxy_wants_a_password(
    tls_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 407 is a configuration error: the map stops at once, and nothing was sent."""
    with Proxy(tls_server.port, user="jane:p4ss-CANARY") as proxy:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
        options = options_of(tls_server, NAMED, authority, idempotent=True, max_concurrency=4)
        with pytest.raises(lambdamap.ConfigError, match="407") as e:
            list(lambdamap.map(tasks.square, range(50), **options))
        assert (e.value.ran, e.value.attempts) == ("NOT", 1)
        assert len(proxy.connects) <= 8  # at most those already in flight
    assert tls_server.connections == []


def test_row_60_a_wrong_password_is_not_shown(
    tls_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tls_server.port, user="jane:right") as proxy:
        monkeypatch.setenv("https_proxy", f"http://jane:wr0ng-CANARY@127.0.0.1:{proxy.port}")
        with pytest.raises(lambdamap.ConfigError) as caught:
            list(lambdamap.map(tasks.square, [3], **options_of(tls_server, NAMED, authority)))
    assert "CANARY" not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("status", [403, 502, 302])
def test_row_60_a_proxy_that_refuses(
    status: int,
    idempotent: bool,
    tls_server: Server,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Proxy(tls_server.port, status) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        options = options_of(tls_server, NAMED, authority, idempotent=idempotent)
        options["connect_timeout"] = 0.5
        with pytest.raises(lambdamap.ConnectError, match=str(status)) as caught:
            list(lambdamap.map(tasks.square, [3], **options))
        assert (caught.value.ran, caught.value.attempts) == ("NOT", 0)
        assert len(proxy.connects) >= 3
    assert tls_server.connections == []


@pytest.mark.parametrize("no_proxy", [DIRECT, "other.example, .1", "*", "example,127.1"])
def test_row_60_no_proxy_matches(
    no_proxy: str, tls_server: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy(tls_server.port) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        options = options_of(tls_server, DIRECT, authority)
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
        assert proxy.connects == []


def test_row_60_loopback_and_the_upper_case_variable(
    serve: Callable[..., Server], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loopback never uses a proxy; HTTP_PROXY may come from a request's header (CGI)."""
    server = serve()
    with Proxy(server.port) as proxy:
        for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert list(lambdamap.map(tasks.square, [3], **api_options(server))) == [9]
        monkeypatch.delenv("http_proxy")
        direct = options_of(server, DIRECT, authority)
        assert list(lambdamap.map(tasks.square, [3], **direct)) == [9]
        assert proxy.connects == []
        monkeypatch.setenv("http_proxy", proxy.url)
        direct = options_of(server, DIRECT, authority)
        assert list(lambdamap.map(tasks.square, [3], **direct)) == [9]
        assert proxy.connects == [f"127.0.0.1:{server.port}"]  # libcurl writes it in full


def test_row_60_networks_in_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    from lambdamap.backends import proxies

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:8080")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, [fd00::]/8, fd00::/8, 192.0.2.7, nonsense/99")
    assert proxies.find("https", "10.1.2.3") is None
    assert proxies.find("https", "192.0.2.7") is None
    assert proxies.find("https", "fd12::1") is None
    assert proxies.find("https", "11.1.2.3") == ("http://proxy:8080", "proxy", 8080)
    assert proxies.find("https", "2001:db8::1") == ("http://proxy:8080", "proxy", 8080)
    assert proxies.find("https", "::1") is None
    assert proxies.find("https", "127.0.0.9") is None


@pytest.mark.parametrize("value", ["socks5://h:1", "http://", "http://h:x", "http://h ost", "h:0"])
def test_row_60_no_proxy_url(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lambdamap.backends import proxies

    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(lambdamap.ConfigError, match="HTTPS_PROXY"):
        proxies.find("https", "lambda.us-east-1.amazonaws.com")


# --- elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_row_30_redirects_are_never_followed(
    status: int, serve: Callable[..., Server], idempotent: bool
) -> None:
    """The second host receives no connection, so it never sees credentials."""
    elsewhere = serve()
    server = serve(then=reply(b"{}", status, Location=f"{elsewhere.url}/2015-03-31/"))
    with pytest.raises(lambdamap.LambdaMapError, match=str(status)):
        list(lambdamap.map(tasks.square, [3], **api_options(server, idempotent=idempotent)))
    assert elsewhere.connections == []
    assert server.complete <= (3 if idempotent else 1)


def test_ipv6_literals(serve: Callable[..., Server], authority: Authority) -> None:
    for tls in (None, authority.context()):
        server = serve(family=socket.AF_INET6, tls=tls)
        options = options_of(server, "[::1]", authority)
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
        assert server.requests[0].headers["host"] == f"[::1]:{server.port}"


def test_netrc_and_cookies_are_not_for_us(
    serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login canary password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    server = serve(then=reply(b"{}", Set_Cookie="canary=1; Path=/"))
    target = open_target(server.url)
    invoke(target)
    invoke(target)
    assert server.complete == 2
    for request in server.requests:
        assert "canary" not in str(request.headers)
        assert "cookie" not in request.headers
        assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")


def test_ca_bundle_may_be_a_folder(
    serve: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    import subprocess

    folder = tmp_path / "hashed"
    folder.mkdir()
    (folder / "ca.pem").write_bytes(authority.ca_file.read_bytes())
    subprocess.run(["openssl", "rehash", str(folder)], check=True)
    server = serve(tls=authority.context())
    options = api_options(server, ca_bundle=str(folder))
    assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
    with pytest.raises(lambdamap.ConfigError, match="/nowhere"):
        lambdamap.map(tasks.square, [3], **api_options(server, ca_bundle="/nowhere"))
