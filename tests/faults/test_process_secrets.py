"""No secret leaks into anything that a person may see or pass on.

Canaries are placed wherever secrets can be, then everything that can be shown is shown.
"""

from __future__ import annotations

import gc
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lambdamap
import tasks
from certificates import Authority
from driver import api_options, open_map, open_target
from lambdamap.backends.credentials import Credentials, find
from lambdamap.options import resolve
from outside import run_script
from proxy import Proxy
from scripted import Server, aws_error, fin, function_error, reply, throttle

SECRET = "CANARYsecretKEY/abcdefghijklmnopqrst"
TOKEN = "CANARYsessionTOKEN//////////example"
PASSWORD = "CANARYproxyPASSWORD"
PAYLOAD = "payload-of-a-user"
CANARY = "CANARY"
KEYS = {"access_key": "AKIDVISIBLE", "secret_key": SECRET, "token": TOKEN}


def shown(thing: object) -> str:
    """Return all texts that Python makes of an object by itself."""
    texts = [repr(thing), str(thing), ascii(thing), f"{thing}", f"{thing!r}", format(thing)]
    if isinstance(thing, BaseException):
        texts += traceback.format_exception(thing)
        texts.append(repr(getattr(thing, "__notes__", "")))
        texts.append(repr(vars(thing)))
    return "\n".join(texts)


def pickled(thing: object) -> bytes:
    """Return the pickle of an object; empty if it has none."""
    try:
        return b"".join(pickle.dumps(thing, protocol) for protocol in range(6))
    except Exception as error:
        return shown(error).encode()


# --- values ----------------------------------------------------------------------------------------


def test_credentials_do_not_show() -> None:
    keys = Credentials("AKIDVISIBLE", SECRET, TOKEN, None, "argument")
    for thing in (keys, [keys], {"keys": keys}, keys._replace(source="other")):
        assert CANARY not in shown(thing)
        assert CANARY.encode() not in pickled(thing)
    assert CANARY not in shown(find(KEYS, None))


def test_options_do_not_show() -> None:
    options = resolve(credentials=KEYS, region="us-east-1")
    assert CANARY not in shown(options)
    assert CANARY.encode() not in pickled(options)


def test_a_route_and_a_target_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    from lambdamap.backends import aws

    monkeypatch.setenv("HTTPS_PROXY", f"http://jane:{PASSWORD}@proxy.example:3128")
    options = resolve(credentials=KEYS, region="us-east-1", function="f")
    route = aws.route(options, "f")
    assert CANARY not in shown(route)
    assert CANARY.encode() not in pickled(route)
    target = open_target("http://127.0.0.1:9", secret_key=SECRET, token=TOKEN)
    flight = open_map(target)
    for thing in (target, flight):
        assert CANARY not in shown(thing)
        assert CANARY.encode() not in pickled(thing)


@pytest.mark.parametrize("name", ["secret_key", "token"])
@pytest.mark.parametrize("value", [f"{SECRET}\n", f"{SECRET}é", [SECRET], {"key": SECRET}])
def test_credentials_that_are_refused(name: str, value: Any) -> None:
    with pytest.raises(lambdamap.ConfigError) as caught:
        find({**KEYS, name: value}, None)
    assert CANARY not in shown(caught.value).replace(repr(caught.tb), "")


def test_options_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are shown, except those of credentials and of URLs with a password."""
    with pytest.raises(lambdamap.ConfigError) as caught:
        lambdamap.map(abs, [1], function="f", region="nowhere", credentials=KEYS)
    assert CANARY not in str(caught.value) + repr(caught.value)
    with pytest.raises(lambdamap.ConfigError) as caught:
        lambdamap.map(
            abs, [1], function="f", region="us-east-1", credentials=KEYS,
            endpoint_url=f"https://jane:{PASSWORD}@host",
        )  # fmt: skip
    assert CANARY not in str(caught.value) + repr(caught.value)
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://jane:{PASSWORD}@host:1")
    with pytest.raises(lambdamap.ConfigError) as caught:
        lambdamap.map(abs, [1], function="f", region="us-east-1", credentials=KEYS)
    assert CANARY not in str(caught.value) + repr(caught.value)


# --- maps that fail --------------------------------------------------------------------------------

ENDS: dict[str, Any] = {
    "answered": None,
    "lost": fin(),
    "denied": aws_error(403, "AccessDeniedException", "User is not authorized"),
    "signature": aws_error(403, "InvalidSignatureException", "The signature does not match"),
    "not found": aws_error(404, "ResourceNotFoundException"),
    "throttled": throttle(x_amz_retry_after="1"),
    "service": aws_error(500, "ServiceException"),
    "html": reply("<html>a proxy</html>", 502),
    "raised": function_error({"errorMessage": "boom", "errorType": "ValueError"}),
    "no json": reply("hello"),
}


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "lambdamap.wire")
    return lambda: "\n".join(f"{r.getMessage()} {vars(r)}" for r in caplog.records)


@pytest.mark.parametrize("end", ENDS)
def test_maps_that_end_in_every_way(
    end: str, serve: Callable[..., Server], everything_logged: Callable[[], str]
) -> None:
    """Its exception, its cause, the results' repr, stats, all log records with all attributes."""
    script = [] if ENDS[end] is None else [ENDS[end]] * 8
    server = serve(script, check_signatures=False)
    options = api_options(server, credentials=KEYS, max_attempts=2, timeout=5, idempotent=True)
    caught: BaseException | None = None
    results = None
    try:
        results = lambdamap.map(tasks.identity, [PAYLOAD], **options)
        assert list(results) == [PAYLOAD]
    except Exception as error:
        caught = error
    things: list[Any] = [results, results and results.stats, everything_logged()]
    while caught is not None:
        things.append(caught)
        again = pickle.loads(pickle.dumps(caught))
        things.append(again)
        caught = caught.__cause__ or caught.__context__
    for thing in things:
        text = shown(thing)
        assert CANARY not in text, text
        assert "Signature=" not in text
        assert PAYLOAD not in text
    assert server.requests[0].headers["x-amz-security-token"] == TOKEN
    del things
    gc.collect()


def test_a_traceback_with_locals(serve: Callable[..., Server]) -> None:
    """Tools that show the local variables of each frame (Sentry, rich, cgitb) find no secret."""
    server = serve(then=aws_error(404, "ResourceNotFoundException"), check_signatures=False)
    options = api_options(server, credentials=find(KEYS, None))
    try:
        list(lambdamap.map(tasks.identity, [1], **options))
    except lambdamap.FunctionNotFoundError as error:
        found = traceback.TracebackException.from_exception(error, capture_locals=True)
        text = "".join(found.format())
    assert "FunctionNotFoundError" in text
    assert CANARY not in text


def test_doctor_and_debug_state(serve: Callable[..., Server]) -> None:
    from lambdamap import _net

    server = serve(check_signatures=False)
    list(lambdamap.map(tasks.identity, [1], **api_options(server, credentials=KEYS)))
    assert CANARY not in json.dumps(_net.debug_state())


# --- what libraries would do -----------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["SSLKEYLOGFILE"])
def test_session_keys_are_not_written(
    variable: str, serve: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    """libcurl would write them for anyone who can set a variable of the process."""
    server = serve(tls=authority.context())
    keys = tmp_path / "keys"
    done = run_script(
        """
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
        print("fine")
        """,
        api_options(server, ca_bundle=str(authority.ca_file)),
        environment={variable: str(keys)},
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
    assert not keys.exists() or keys.read_bytes() == b""


def test_nothing_is_written(
    serve: Callable[..., Server], authority: Authority, tmp_path: Path
) -> None:
    """A map creates no file: no log, no cache, no cookie jar, no alt-svc or HSTS list."""
    server = serve(
        tls=authority.context(),
        then=reply("{}", Strict_Transport_Security="max-age=9", Alt_Svc='h3=":443"'),
    )
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    done = run_script(
        f"""
        os.chdir({str(work)!r})
        assert list(lambdamap.invoke_map(options.pop("function"), [3], **options)) == [{{}}]
        """,
        {
            name: value
            for name, value in api_options(server, ca_bundle=str(authority.ca_file)).items()
            if name != "chunksize"
        },
        environment={"HOME": str(home), "TMPDIR": str(work), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert list(home.iterdir()) == list(work.iterdir()) == []


def test_a_proxy_never_sees_the_token(
    serve: Callable[..., Server], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(tls=authority.context("DNS:lambda.proxied.example"), check_signatures=False)
    with Proxy(server.port, user=f"jane:{PASSWORD}") as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        options = api_options(
            server, credentials=KEYS, ca_bundle=str(authority.ca_file),
            endpoint_url=f"https://lambda.proxied.example:{server.port}",
        )  # fmt: skip
        assert list(lambdamap.map(tasks.square, [3], **options)) == [9]
        assert proxy.heads and all(TOKEN not in head for head in proxy.heads)
    assert all(PASSWORD not in str(request.headers) for request in server.requests)
