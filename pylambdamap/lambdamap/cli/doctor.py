"""``lambdamap doctor``: what a map needs, looked at piece by piece, one line each.

It goes the way that a map goes: the same options, credentials, TLS, proxy and signature. Nothing
secret is shown.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import re
import resource
import sys
import time
import urllib.parse
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from lambdamap._version import __version__
from lambdamap.cli.common import FLAGS, in_options, map_option, map_options, resolved
from lambdamap.errors import LambdaMapError
from lambdamap.options import DECLARED, WHERE

if TYPE_CHECKING:
    from lambdamap._net import Completion
    from lambdamap.backends.route import Route
    from lambdamap.options import Options

__all__ = ["Finding", "doctor", "examine", "run"]

_ANSWER_S = 30.0
_CONNECT_S = 5.0
_OF_AWS = re.compile(r"(?:.+\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonwebservices\.com\.cn)")
_SPARE_FILES = 64  # descriptors that a process needs beside its connections
_DEFAULT_CONCURRENCY = 256
_ZAPPA_TASK = "lambdamap.worker.entry.zappa_task"
_OK, _NOTE, _FAIL = "ok", "note", "FAIL"


class Finding(NamedTuple):
    """One line: how it is, of what, the facts, and for a failure the mend."""

    state: str
    subject: str
    text: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.state:<5} {self.subject:<12} {' '.join(self.text.split())}"
        return f"{line}: {self.mend}" if self.mend else line


Report = Callable[[Finding], None]


@click.command()
@map_options(*(name for name in FLAGS if DECLARED[name].group == WHERE))
@map_option("timeout", help="Seconds for each of its requests; default: 30.")
@click.option(
    "--invoke/--no-invoke",
    default=None,
    help="Ask the worker for its versions by one real invocation, which runs none of its functions; "
    "a handler that is not lambdamap's does run. Default: yes, but on a terminal it asks first.",
)
@click.pass_context
def doctor(ctx: click.Context, /, invoke: bool | None, **given: Any) -> None:
    """Check the libraries, the credentials and the way to the function.

    One line for each thing that a map needs, with the mend where something is wrong. The exit
    status is 1 when something is.
    """
    ctx.exit(run(resolved(given), invoke=invoke, say=lambda line: click.echo(in_options(line))))


def run(
    options: Options | None = None,
    *,
    invoke: bool | None = None,
    say: Callable[[str], object] = click.echo,
) -> int:
    """Print the findings; 0 when nothing fails, else 1.

    Parameters
    ----------
    options
        Of the maps to come; default: those that are configured now.
    invoke
        Also ask the worker for its versions, by one invocation. None: yes, but on a terminal the
        user is asked before a handler runs that may not be lambdamap's.
    say
        Is called with each line.
    """
    failed = False

    def report(finding: Finding) -> None:
        nonlocal failed
        failed = failed or finding.state == _FAIL
        say(str(finding))

    ask = invoke is None and sys.stdin is not None and sys.stdin.isatty()
    agree = (lambda: click.confirm("Invoke it?", default=True, err=True)) if ask else None
    examine(report, options, invoke=invoke is not False, agree=agree)
    return int(failed)


def examine(
    report: Report,
    options: Options | None = None,
    *,
    invoke: bool = True,
    agree: Callable[[], bool] | None = None,
) -> None:
    """Report each finding as soon as it is known. agree: is called after it was said that a handler
    will run, which may not be lambdamap's; False leaves that out."""
    report(Finding(_OK, "python", f"{platform.python_version()}, {sys.executable}"))
    if not _native(report):
        return
    if options is None:
        from lambdamap.options import resolve

        try:
            options = resolve()
        except LambdaMapError as error:
            report(Finding(_FAIL, "options", str(error)))
            return
    _limits(report, options)
    route = _route(report, options)
    if route is None:
        return
    options = dataclasses.replace(options, connect_timeout=min(options.connect_timeout, _CONNECT_S))
    knows_dry_run = _is_of_aws(route) or route.name == "local"
    if invoke and route.name != "local":
        report(Finding(_NOTE, "invocation", _announced(route, knows_dry_run), _LEAVE_OUT))
        invoke = agree is None or agree()
    if not invoke and not knows_dry_run:
        text = f"{route.function} is not asked for: this endpoint may answer DryRun by running it"
        report(Finding(_NOTE, "function", text))
        return
    if _function(report, route, options, knows_dry_run) and invoke:
        _worker(report, route, options)


_LEAVE_OUT = "--no-invoke leaves this out"


def _is_of_aws(route: Route) -> bool:
    return _OF_AWS.fullmatch(urllib.parse.urlsplit(route.url).hostname or "") is not None


def _announced(route: Route, knows_dry_run: bool) -> str:
    text = f"{route.function} will be invoked once, to ask for its versions"
    if not knows_dry_run:
        text += ", after a DryRun, which an emulator may also run"
    return f"{text}; a handler that is not lambdamap's runs with an event that it does not know"


def _native(report: Report) -> bool:
    """Whether both extension modules load."""
    try:
        from lambdamap import _codec
    except ImportError as error:
        text = f"the codec does not load ({error})"
        report(Finding(_FAIL, "lambdamap", text, "install lambdamap anew for this Python"))
        return False
    report(Finding(_OK, "lambdamap", f"{__version__}, protocol {_codec.PROTOCOL}"))
    try:
        from lambdamap import _net
    except ImportError as error:
        text = f"the dispatcher does not load ({error})"
        mend = "install libcurl 7.76 or later and OpenSSL, then lambdamap anew"
        report(Finding(_FAIL, "libcurl", text, mend))
        return False
    report(Finding(_OK, "libcurl", _net.CURL_VERSION))
    report(Finding(_OK, "OpenSSL", _net.TLS_VERSION))
    return True


def _limits(report: Report, options: Options) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = options.max_concurrency or _DEFAULT_CONCURRENCY
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    files = "any number of" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    text = f"{files} open files, {memory / 2**30:.1f} GB, up to {wanted:,} invocations at once"
    if soft != resource.RLIM_INFINITY and soft < wanted + _SPARE_FILES:
        enough = hard == resource.RLIM_INFINITY or hard >= wanted + _SPARE_FILES
        mend = f"run `ulimit -n {wanted + _SPARE_FILES}` first" if enough else (
            f"lower max_concurrency to {max(1, soft - _SPARE_FILES)}, or have the limit raised"
        )  # fmt: skip
        report(Finding(_FAIL, "limits", text, mend))
        return
    report(Finding(_OK, "limits", text))


# --- the way to the function --------------------------------------------------------------------


def _route(report: Report, options: Options) -> Route | None:
    """The route that a map would take, if there is one to look at."""
    from lambdamap import backends

    try:
        name = backends.choose(options)
    except LambdaMapError as error:
        report(Finding(_FAIL, "backend", str(error)))
        return None
    if name in ("inline", "executor"):
        report(Finding(_OK, "backend", f"{name}: maps run without a Lambda"))
        return None
    if name == "aws":
        return _aws_route(report, options)
    from lambdamap.backends import local

    report(Finding(_OK, "backend", f"a Lambda on this machine ({options.local})"))
    try:
        return local.route(options)
    except (OSError, ModuleNotFoundError) as error:
        report(Finding(_FAIL, "function", f"the local Lambda does not start: {error}"))
        return None


def _aws_route(report: Report, options: Options) -> Route | None:
    from lambdamap import backends
    from lambdamap.backends import aws, credentials, endpoints

    function = options.function or backends.own_function() or ""
    keys = None
    try:
        keys = credentials.find(options.credentials, options.profile)
        report(Finding(_OK, "credentials", f"{keys.source}{_until(keys.expires_at)}"))
    except LambdaMapError as error:
        report(Finding(_FAIL, "credentials", str(error)))
    try:
        region = aws.region_of(function, options)
    except LambdaMapError as error:
        report(Finding(_FAIL, "region", str(error)))
        return None
    report(Finding(_OK, "region", region))
    try:
        url, _ = endpoints.resolve(options, region)
    except LambdaMapError as error:
        report(Finding(_FAIL, "endpoint", str(error)))
        return None
    report(Finding(_OK, "endpoint", url))
    return None if keys is None else aws.route(options, function)


def _until(expires_at: float | None) -> str:
    if expires_at is None:
        return ""
    return f", valid for {max(0, int((expires_at - time.time()) / 60))} minutes"


def _function(report: Report, route: Route, options: Options, knows_dry_run: bool) -> bool:
    """Whether this caller may invoke it, as far as the endpoint says."""
    answer = _ask(route, options, b"{}", dry_run=True)
    name = route.function
    if isinstance(answer, Exception):
        report(Finding(_FAIL, "function", f"{name}: {_plain(answer)}"))
    elif answer.status == 204:
        report(Finding(_OK, "function", f"{name} may be invoked (DryRun)"))
        return True
    elif answer.status == 200:  # such as the runtime interface emulator
        text = f"{name} answers; the endpoint ran it instead of a DryRun, which it does not know"
        report(Finding(_NOTE, "function", text))
        return True
    elif answer.status in (400, 405, 501) and not knows_dry_run:  # such as serverless-offline
        text = (
            f"{name}: the endpoint takes no DryRun, so only an invocation shows whether it is there"
        )
        report(Finding(_NOTE, "function", text))
        return True
    else:
        report(Finding(_FAIL, "function", f"{name}: {_plain(_error_of(answer))}"))
    return False


def _worker(report: Report, route: Route, options: Options) -> None:
    """Its versions: a protocol that no worker speaks makes it answer with them and run nothing."""
    from lambdamap import _codec
    from lambdamap.shipping import envelope

    head = {"protocol": 0, "version": __version__, "by_value": 0, "on_error": "raise"}
    event = {"command": _ZAPPA_TASK, "lambdamap": head, "p": ""}
    answer = _ask(route, options, json.dumps(event).encode(), dry_run=False)
    if isinstance(answer, Exception) or answer.failure:
        error = answer if isinstance(answer, Exception) else _error_of(answer)
        report(Finding(_FAIL, "worker", _plain(error)))
        return
    try:
        theirs = envelope.load(answer.body or b"")["lambdamap"]
        version, python, protocol = theirs["version"], theirs["python"], theirs["protocol"]
    except (ValueError, TypeError, KeyError):
        text = "the function answers, but does not run lambdamap"
        mend = (
            "set its handler to lambdamap.worker.entry.handler, or wrap its own with "
            "lambdamap.worker.wrap; any other function can be called with invoke_map"
        )
        report(Finding(_FAIL, "worker", text, mend))
        return
    text = f"lambdamap {version}, Python {python}"
    mine = "%d.%d" % sys.version_info[:2]
    if protocol != _codec.PROTOCOL:
        mend = "deploy the same release on both sides"
        report(Finding(_FAIL, "worker", f"{text}, protocol {protocol}", mend))
    elif python != mine:
        mend = "functions that travel by value need the same Python on both sides"
        report(Finding(_NOTE, "worker", f"{text} (here {mine})", mend))
    elif version != __version__:
        report(Finding(_NOTE, "worker", f"{text} (here {__version__})"))
    else:
        report(Finding(_OK, "worker", text))
    if isinstance(allowed := theirs.get("allow"), str):
        report(Finding(_OK, "allowed", allowed))


def _ask(route: Route, options: Options, body: bytes, *, dry_run: bool) -> Completion | Exception:
    """One invocation by the native way, or why it cannot be made."""
    from lambdamap import _net
    from lambdamap.backends.route import open_target

    ms = int(1000 * (options.timeout or options.invocation_timeout or _ANSWER_S))
    try:
        headers = (("X-Amz-Invocation-Type", "DryRun"),) if dry_run else ()
        port = _net.open_map(
            open_target(route, options, headers),
            head=None,
            map_id=uuid.uuid4().hex,
            compression=False,
            idempotent=False,
            invocation_timeout_ms=ms,
            timeout_ms=ms,
            max_result_bytes=1 << 20,
            max_reply_bytes=1 << 20,
            notes=False,
            trace=False,
            bound_id="",
        )
    except LambdaMapError as error:
        return error
    port.submit(body, 0, 1)
    while (completion := port.take()) is None:
        port.wait(1.0)
    return completion


def _error_of(completion: Completion) -> Exception:
    from lambdamap.flight import failures

    return failures.of_chunk(completion)


def _plain(error: Exception) -> str:
    """The message of a chunk's error with its mend, and without its items and whether they have run,
    which mean nothing here."""
    text = str(error).removeprefix("item 0: ")
    found = re.fullmatch(r"(.*) \[f [\w ]+(?:; (.*))?\]", text, re.DOTALL)
    return ": ".join(filter(None, found.groups())) if found else text
